"""Time as an argument."""

from __future__ import annotations

import time
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """What tells the time to a job; tests move one by hand."""

    def now(self) -> float:
        """Return the time in seconds since the epoch; it never goes back."""
        ...


class SystemClock:
    """The machine's clock: epoch seconds that advance with `time.perf_counter`, so that durations are exact."""

    __slots__ = ("offset",)

    def __init__(self) -> None:
        self.offset: float = time.time() - time.perf_counter()
        """Seconds to add to `time.perf_counter()`."""

    def now(self) -> float:
        """Return the time in seconds since the epoch."""
        return self.offset + time.perf_counter()

"""Wall-clock and CPU seconds of a block, and what the rest of the machine did meanwhile."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import psutil  # type: ignore[import-untyped]  # ships no types

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

__all__ = ["Stopwatch", "wait_until_quiet"]


class Stopwatch:
    """Measures a `with` block."""

    def __init__(self) -> None:
        self.figures: dict[str, Any] = {}
        """After the block: `seconds`, `cpu_seconds` of this process, `other_cpu_seconds` of all others."""

    def __enter__(self) -> Self:
        """Start."""
        self._machine, self._own, self._began = _machine_cpu(), time.process_time(), time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        seconds = time.perf_counter() - self._began
        own = time.process_time() - self._own
        others = max(_machine_cpu() - self._machine - own, 0.0)
        self.figures = {"seconds": seconds, "cpu_seconds": own, "other_cpu_seconds": others}


def wait_until_quiet(share: float, limit: float) -> float:
    """Wait until the machine does nothing much.

    Args:
        share: Share of all CPUs that may be busy.
        limit: Seconds to wait at most.

    Returns:
        The share that was busy in the last half second; in a shorter time if the limit is less.
    """
    deadline = time.monotonic() + limit
    while True:
        busy = float(psutil.cpu_percent(interval=min(0.5, limit))) / 100
        if busy <= share or time.monotonic() > deadline:
            return busy


def _machine_cpu() -> float:
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0) + getattr(times, "steal", 0.0)
    # Guests are in `user` already.
    return float(sum(times) - idle - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0))

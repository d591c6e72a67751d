"""How often a worker process that ends by itself is started again."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RESTARTS", "Patience"]

RESTARTS = 3
"""Within a minute, without an item done in between."""
_WITHIN_SECONDS = 60.0


class Patience:
    """Counts how often a process ended.

    Args:
        now: Tells the time, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._ends: deque[float] = deque()

    def allows(self, *, has_worked: bool) -> bool:
        """Take in that it ended, and tell whether to start it again.

        Args:
            has_worked: Whether it has done an item since it was started.
        """
        now = self._now()
        if has_worked:
            self._ends.clear()
        while self._ends and now - self._ends[0] > _WITHIN_SECONDS:
            self._ends.popleft()
        self._ends.append(now)
        return len(self._ends) <= RESTARTS

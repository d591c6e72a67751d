"""Something to do when the last of several futures is done."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Countdown"]


class Countdown:
    """Calls `then` when it was called for the last of several futures.

    Args:
        count: How many there are.
        then: Called once, on the thread that calls for the last.
    """

    __slots__ = ("_left", "_lock", "_then")

    def __init__(self, count: int, then: Callable[[], None]) -> None:
        self._left = count
        self._lock = threading.Lock()
        self._then = then

    def __call__(self) -> None:
        """Note that one more is done."""
        with self._lock:
            self._left -= 1
            done = self._left == 0
        if done:
            self._then()

"""The items of a job that are not handed out yet."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import operator
import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["WorkQueue"]


class WorkQueue:
    """Items waiting to run; `pull` may be called by many workers at once.

    Args:
        indices: The items, in order. A `range` is not copied.
        rate: Items to hand out per second, at most; `None` for no limit.
        now: Tells the time in seconds.
    """

    may_get_more = False
    """Whether a lane that finds nothing is to wait for more: not in the kernel, where a new lane is soon made."""

    def __init__(self, indices: Iterable[int], *, rate: float | None, now: Callable[[], float]) -> None:
        # next() on a range's iterator and deque.popleft() are atomic: the common way out of here takes no lock.
        self._fresh = iter(indices)
        self._ready: deque[int] = deque()
        self._later: list[tuple[float, int]] = []
        self._lock = threading.Lock()
        self._now = now
        self._spacing = 1.0 / rate if rate else 0.0
        self._next_start = 0.0
        self._halted = threading.Event()

    def pull(self) -> int | None:
        """Take the next item, waiting for its turn where there is a rate; `None` if none is ready or it is halted."""
        if self._halted.is_set():
            return None
        if self._spacing and not self._wait_for_turn():
            return None
        return self._take()

    def try_pull(self) -> int | None:
        """Take the next item if it may start now; never waits."""
        if self._halted.is_set() or self.seconds_to_turn() > 0:
            return None
        if self._spacing and len(self):
            with self._lock:
                self._next_start = max(self._next_start, self._now()) + self._spacing
        return self._take()

    def try_pull_many(self, most: int) -> list[int]:
        """Take up to so many items that may start now; never waits."""
        pulled: list[int] = []
        if not self._spacing:
            # The common way, without a call for each item.
            while self._ready and len(pulled) < most and not self._halted.is_set():
                with contextlib.suppress(IndexError):
                    pulled.append(self._ready.popleft())
            if not self._halted.is_set():
                pulled.extend(itertools.islice(self._fresh, max(most - len(pulled), 0)))
            return pulled
        while len(pulled) < most and (index := self.try_pull()) is not None:
            pulled.append(index)
        return pulled

    def put(self, indices: Iterable[int]) -> None:
        """Add items that can run now."""
        self._ready.extend(indices)

    def put_later(self, index: int, when: float) -> None:
        """Add an item that can run from the time `when` on."""
        with self._lock:
            heapq.heappush(self._later, (when, index))

    def release_due(self) -> float | None:
        """Make ready what has become due; return the seconds to the next one, or `None`."""
        if not self._later:
            return None
        with self._lock:
            now = self._now()
            while self._later and self._later[0][0] <= now:
                self._ready.append(heapq.heappop(self._later)[1])
            return self._later[0][0] - now if self._later else None

    def halt(self) -> None:
        """Hand out nothing more until `go_on`; wakes who waits for a turn."""
        self._halted.set()

    def go_on(self) -> None:
        """Hand out items again."""
        with self._lock:
            # Those who waited have given up their turns, which are ahead of what has been started.
            self._next_start = min(self._next_start, self._now() + self._spacing)
        self._halted.clear()

    def drain(self) -> list[int]:
        """Take out everything, also what is to run later."""
        with self._lock:
            later = [index for _, index in self._later]
            self._later.clear()
        taken = later
        while (index := self._take()) is not None:
            taken.append(index)
        return taken

    def seconds_to_turn(self) -> float:
        """Return the seconds until the rate lets another item start; 0 if it may start now."""
        return max(self._next_start - self._now(), 0.0) if self._spacing else 0.0

    def __len__(self) -> int:
        """Return the number of items that can be pulled now."""
        return len(self._ready) + operator.length_hint(self._fresh)

    def _take(self) -> int | None:
        # An exception for each fresh item would cost as much as everything else here.
        if self._ready:
            with contextlib.suppress(IndexError):
                return self._ready.popleft()
        return next(self._fresh, None)

    def _wait_for_turn(self) -> bool:
        if not len(self):
            return False
        with self._lock:
            start = max(self._next_start, self._now())
            self._next_start = start + self._spacing
        delay = start - self._now()
        return delay <= 0 or not self._halted.wait(delay)

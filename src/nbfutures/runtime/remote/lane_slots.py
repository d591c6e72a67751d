"""The slots of the job's limits that a lane has for its items."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbfutures.runtime.limits.no_limit import NoLimit

__all__ = ["LaneSlots"]


class LaneSlots:
    """Takes slots for the items of a lane that may run now, and gives back what none needs; with the lane's lock held.

    Args:
        limit: The job's limits.
        most: How many of the lane's items run at once.
    """

    def __init__(self, limit: NoLimit, most: int) -> None:
        self._limit = limit
        self._most = most
        self.held = 0
        """Slots that it has: one for each item that may run now."""
        self._stuck = 0
        """Items that were given up on and go on all the same."""

    def take(self, wanted: int, outstanding: int) -> int:
        """Take slots for up to so many items more, and return how many may be sent.

        Args:
            wanted: How many items could be sent.
            outstanding: How many were sent and have not ended.
        """
        if self.held < self._most:
            self.held += self._limit.take(min(wanted, self._most - self.held))
        # Who runs one item after the other may be sent many at once.
        return wanted if self.held == self._most else min(wanted, self.held - outstanding - self._stuck)

    def give_spare(self, outstanding: int) -> None:
        """Give back the slots that no item needs any more."""
        needed = min(outstanding + self._stuck, self._most)
        if self.held > needed:
            self._limit.give(self.held - needed)
            self.held = needed

    def keep_for_stuck(self) -> None:
        """Keep one for an item that is outstanding no more and goes on all the same."""
        self._stuck += 1

    def give_all(self) -> None:
        """Give back all: the worker is gone."""
        self._limit.give(self.held)
        self.held = self._stuck = 0

"""What the lanes of a job in processes send, and how much at once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from nbfutures.runtime.remote.given import Sealer
from nbfutures.runtime.remote.packing import pack_arguments, pack_function

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nbfutures.runtime.contracts import Run
    from nbfutures.runtime.lanes.lane_work import LaneWork

__all__ = ["Supply"]

_CHUNK_SECONDS = 0.1
"""Work that is sent ahead: enough to keep the worker busy, little enough to be given back."""
_MOST_ITEMS = 20_000
_FIRST_ITEMS = 4
_FEWER = 8
_CHUNK_BYTES = 8_000_000
"""Arguments that one worker has, as they are sent; but at least what it runs and the next item."""
_LEAST_ITEMS = 2


class Supply:
    """The items of a job on their way into processes; may be asked from any thread.

    Args:
        run: The job.
        work: What the lanes share.
        lanes: How many lanes there are, at most.
        slots: Coroutines at once in each.
        in_flight: Items at once in all of them, where the user has set it.
    """

    def __init__(self, run: Run, work: LaneWork, *, lanes: int, slots: int, in_flight: int | None) -> None:
        self._run = run
        self.work = work
        self._lanes = lanes
        self._slots = slots
        self._each = max(in_flight // lanes, 1) if in_flight else _MOST_ITEMS
        if run.options.rate is not None and not work.is_async:
            # What is sent ahead would start when the worker likes.
            self._each = 1
        self._limit = _MOST_ITEMS
        """Items in one process at once, after one has died and nobody knows of which item."""
        self._item_bytes = 0.0
        self._lock = threading.Lock()
        self._packed: tuple[Any, bytes, int] | None = None
        self._sealer = Sealer()

    @property
    def is_waiting(self) -> bool:
        """Whether there are items to send."""
        return len(self.work.queue) > 0

    def share(self, outstanding: int, seconds: float | None) -> int:
        """Return how many items a lane is to have.

        Args:
            outstanding: How many it has.
            seconds: How long its items take; `None` if that is not known.
        """
        # Towards the end each takes its part of the rest, so that all end together.
        queue = self.work.queue
        part = _MOST_ITEMS if queue.may_get_more else max(-(-len(queue) // self._lanes), 1)
        if self.work.is_async:
            # All at once, so that none waits for another.
            return min(self._slots, self._each, self._limit, outstanding + part)
        if seconds is None:
            wanted = _FIRST_ITEMS
        else:
            wanted = int(min(max(_CHUNK_SECONDS / max(seconds, 1e-7), 1), _MOST_ITEMS)) + 1
        if self._item_bytes:
            wanted = min(wanted, max(int(_CHUNK_BYTES / self._item_bytes), _LEAST_ITEMS))
        return min(wanted, self._each, self._limit, part)

    def pull(self, most: int) -> list[int]:
        """Take up to so many items that may start now."""
        return self.work.queue.try_pull_many(most)

    def note_size(self, items: int, size: int) -> None:
        """Take in how many bytes some items took on their way."""
        each = size / items
        self._item_bytes = max(each, (self._item_bytes + each) / 2)

    def put_back(self, indices: list[int]) -> None:
        """Put back what was not run."""
        self.work.queue.put(indices)

    def extras(self, indices: Sequence[int]) -> dict[int, tuple[int, int]]:
        """Return the round and the attempts so far of each item that has either."""
        if not self._run.rounds and not self.work.has_tries:
            return {}
        return {index: (self.work.state.round_of(index), self.work.tries(index)) for index in indices}

    def packed_function(self) -> tuple[bytes, int]:
        """Return the job's function and what all its calls have in common, and how much code that brings along.

        Raises:
            PicklingError: If that cannot be; the message names what is to blame.
        """
        with self._lock:
            work = self.work.work
            function = work.function
            if self._packed is None or self._packed[0] is not function:
                self._sealer = Sealer()
                data = pack_function(function, work.sendable_statics, work.layout, work.name, self._sealer)
                self._packed = (function, data, len(self._sealer.code))
            return self._packed[1:]

    def packed_arguments(self, indices: list[int], known: int) -> tuple[bytes, int]:
        """Return what calls are given, for a worker that has so much of the code in it, and how much it has then.

        Raises:
            ItemSkippedError: If an item depends on something that did not complete.
            Exception: If something cannot be pickled.
        """
        with self._lock:
            data = pack_arguments(self.work.work.sendable_arguments(indices), self._sealer, known)
            return data, len(self._sealer.code)

    def note_death(self, held: int) -> None:
        """Send fewer items at once: a process died, and which of so many items ended it is not known."""
        self._limit = max(held // _FEWER, 1)

    def note_progress(self, ended: int) -> None:
        """Send more items at once again, as they end."""
        if self._limit < _MOST_ITEMS:
            self._limit += ended

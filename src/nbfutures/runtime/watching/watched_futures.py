"""Task runs that other code makes: each is an item of the job."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbfutures.errors import ItemCancelledError
from nbfutures.model.item import Item
from nbfutures.model.outcome import OutcomeKind
from nbfutures.runtime.background.delayed import DelayedFuture
from nbfutures.runtime.outcomes import outcome_of, outcome_of_call
from nbfutures.runtime.tasks.cache_keys import UncachedNote
from nbfutures.runtime.tasks.cancelling import take_back
from nbfutures.runtime.watching.delayed_calls import DelayedCalls

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefect.futures import PrefectFuture

    from nbfutures.model.outcome import Outcome
    from nbfutures.runtime.contracts import Run
    from nbfutures.runtime.feed import Feed
    from nbfutures.runtime.outcomes import Ending, Observed

__all__ = ["WatchedFutures", "refuse_if_cancelled"]

_COUNT_SECONDS = 0.1
_LEFT = "Cancelled before it ran: the flow was cancelled."


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    """A task run that has not ended."""

    seen: Observed
    future: PrefectFuture[Any] | None
    can_leave: bool
    """Whether it is seen at once when its function begins, and can be kept from that."""


class WatchedFutures:
    """Task runs that become known one by one; each is an item of the job. Safe to use from any thread.

    Args:
        run: The job.
        feed: Tells when a future is done.
        items: Where the items are kept.
    """

    def __init__(self, run: Run, feed: Feed, items: list[Item]) -> None:
        self.run = run
        self.is_open = True
        """Whether task runs are taken in."""
        self.has_left = False
        """Whether some were cancelled that were about to begin: the flow may wait for them in vain."""
        self.delayed = DelayedCalls(run)
        """Those of them that workers are to run."""
        self._uncached = UncachedNote(run)
        self._feed = feed
        self._items = items
        self._entries: dict[int, _Entry] = {}
        self._lock = threading.Lock()
        self._counted = 0.0

    def add(
        self, future: PrefectFuture[Any], seen: Observed, arguments: Mapping[str, Any], *, can_leave: bool = False
    ) -> None:
        """Take in a future; it is told when it is done.

        Args:
            future: The future.
            seen: What is seen of it.
            arguments: What is told of its call.
            can_leave: Whether `seen` tells at once when its function begins, and can keep it from that.
        """
        index = self._add(_Entry(seen, future, can_leave), arguments)
        self._feed.watch(future, lambda: self._on_done(index, future, seen))

    def follow(self, index: int, future: PrefectFuture[Any], seen: Observed) -> None:
        """Take in the future of an item that is known already."""
        self._entries[index] = _Entry(seen, future, can_leave=False)
        self._feed.watch(future, lambda: self._on_done(index, future, seen))

    def add_call(self, seen: Observed, arguments: Mapping[str, Any]) -> int:
        """Take in a task that is called here and now; return its item, for `end_call`."""
        return self._add(_Entry(seen, None, can_leave=True), arguments)

    def end_call(self, index: int, ending: Ending, seen: Observed) -> None:
        """Tell how a call ended."""
        self._settle(index, outcome_of_call(ending, index, **self._told(index, seen)))

    def close(self) -> None:
        """Take in nothing more: what still calls tasks, such as a thread that the flow has left, is on its own."""
        self.is_open = False

    def running(self) -> int:
        """Return how many are being worked on."""
        entries = list(self._entries.values())
        return sum(entry.seen.started is not None and entry.seen.ended is None for entry in entries)

    @property
    def is_busy(self) -> bool:
        """Whether some have not ended."""
        return bool(self._entries)

    def cancel_queued(self) -> None:
        """Take back what no worker has started, where the runner can."""
        take_back([entry.future for entry in list(self._entries.values()) if entry.future is not None])

    def leave(self) -> None:
        """Settle as cancelled what has not begun though it was given to a worker, and have it not begin.

        Prefect holds it back, such as by a tag limit, or nobody is there that could run it.
        """
        left = {}
        for index, entry in list(self._entries.items()):
            is_left = entry.can_leave and entry.seen.started is None and entry.seen.leave()
            if is_left and self._entries.pop(index, None) is not None:
                left[index] = entry
        if not left:
            return
        self.has_left = True
        delayed = [entry.future for entry in left.values() if isinstance(entry.future, DelayedFuture)]
        if delayed:
            self.delayed.leave(delayed, _LEFT)
        self.run.settle_unrun(left, OutcomeKind.CANCELLED, ItemCancelledError(_LEFT))

    def _add(self, entry: _Entry, arguments: Mapping[str, Any]) -> int:
        with self._lock:
            index = len(self._items)
            # Before the state tells of it: who sees the item there may ask for it here.
            self._items.append(Item(index, arguments))
            self._entries[index] = entry
            self.run.state.grow(1)
        self._count_running()
        return index

    def _count_running(self) -> None:
        # Looking at all of them for each of them would cost the square of their number.
        now = time.monotonic()
        if now - self._counted > _COUNT_SECONDS or not self._entries:
            self._counted = now
            self.run.state.set_running(self.running())

    def _on_done(self, index: int, future: PrefectFuture[Any], seen: Observed) -> None:
        self._settle(index, outcome_of(future, index, **self._told(index, seen)))

    def _told(self, index: int, seen: Observed) -> dict[str, Any]:
        self._uncached.tell(seen)
        state = self.run.state
        return {"now": state.clock.now(), "round_": state.round_of(index), "observed": seen}

    def _settle(self, index: int, outcome: Outcome) -> None:
        if self._entries.pop(index, None) is None:
            return  # It was left meanwhile.
        self._count_running()
        self.run.settle([outcome])


def refuse_if_cancelled(run: Run) -> None:
    """Raise `ItemCancelledError` if the job was cancelled."""
    if run.stopped.is_set():
        raise ItemCancelledError("The job was cancelled: nothing more is submitted.")

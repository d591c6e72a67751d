"""Task runs that other code makes: each is an item of the job."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from nbfutures.errors import ItemCancelledError
from nbfutures.model.item import Item
from nbfutures.runtime.outcomes import outcome_of, outcome_of_call
from nbfutures.runtime.tasks.cancelling import take_back

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefect.futures import PrefectFuture

    from nbfutures.model.outcome import Outcome
    from nbfutures.runtime.contracts import Run
    from nbfutures.runtime.feed import Feed
    from nbfutures.runtime.outcomes import Ending, Observed

__all__ = ["WatchedFutures", "refuse_if_cancelled"]

_COUNT_SECONDS = 0.1


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
        self._feed = feed
        self._items = items
        self._seen: dict[int, Observed] = {}
        """Of those that have not ended."""
        self._futures: dict[int, PrefectFuture[Any]] = {}
        self._lock = threading.Lock()
        self._counted = 0.0

    def add(self, future: PrefectFuture[Any], seen: Observed, arguments: Mapping[str, Any]) -> None:
        """Take in a future; it is told when it is done."""
        index = self._add(seen, arguments, future)
        self._feed.watch(future, lambda: self._on_done(index, future))

    def follow(self, index: int, future: PrefectFuture[Any], seen: Observed) -> None:
        """Take in the future of an item that is known already."""
        self._seen[index] = seen
        self._futures[index] = future
        self._feed.watch(future, lambda: self._on_done(index, future))

    def add_call(self, seen: Observed, arguments: Mapping[str, Any]) -> int:
        """Take in a task that is called here and now; return its item, for `end_call`."""
        return self._add(seen, arguments, None)

    def end_call(self, index: int, ending: Ending) -> None:
        """Tell how a call ended."""
        self._settle(index, outcome_of_call(ending, index, **self._told(index)))

    def close(self) -> None:
        """Take in nothing more: what still calls tasks, such as a thread that the flow has left, is on its own."""
        self.is_open = False

    def running(self) -> int:
        """Return how many are being worked on."""
        return sum(seen.started is not None and seen.ended is None for seen in list(self._seen.values()))

    def cancel_queued(self) -> None:
        """Take back what no worker has started, where the runner can."""
        take_back(list(self._futures.values()))

    def _add(self, seen: Observed, arguments: Mapping[str, Any], future: PrefectFuture[Any] | None) -> int:
        with self._lock:
            index = len(self._items)
            # Before the state tells of it: who sees the item there may ask for it here.
            self._items.append(Item(index, arguments))
            self._seen[index] = seen
            if future is not None:
                self._futures[index] = future
            self.run.state.grow(1)
        self._count_running()
        return index

    def _count_running(self) -> None:
        # Looking at all of them for each of them would cost the square of their number.
        now = time.monotonic()
        if now - self._counted > _COUNT_SECONDS or not self._seen:
            self._counted = now
            self.run.state.set_running(self.running())

    def _on_done(self, index: int, future: PrefectFuture[Any]) -> None:
        self._settle(index, outcome_of(future, index, **self._told(index)))

    def _told(self, index: int) -> dict[str, Any]:
        state = self.run.state
        return {"now": state.clock.now(), "round_": state.round_of(index), "observed": self._seen[index]}

    def _settle(self, index: int, outcome: Outcome) -> None:
        del self._seen[index]
        self._futures.pop(index, None)
        self._count_running()
        self.run.settle([outcome])


def refuse_if_cancelled(run: Run) -> None:
    """Raise `ItemCancelledError` if the job was cancelled."""
    if run.stopped.is_set():
        raise ItemCancelledError("The job was cancelled: nothing more is submitted.")

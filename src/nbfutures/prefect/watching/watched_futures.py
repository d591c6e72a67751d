"""Task runs that other code makes: each is an item of the job."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbfutures.engine.job_note import JobNote
from nbfutures.errors import ItemCancelledError
from nbfutures.model.item import Item
from nbfutures.model.outcome import OutcomeKind
from nbfutures.prefect.background.api_loop import api_loop
from nbfutures.prefect.background.delayed import DelayedFuture
from nbfutures.prefect.background.records import mark_cancelled
from nbfutures.prefect.background.runs import tell_cancelled
from nbfutures.prefect.background.worker_presence import Attendance
from nbfutures.prefect.outcomes import outcome_of, outcome_of_call
from nbfutures.prefect.tasks.cache_keys import UncachedNote
from nbfutures.prefect.tasks.task_window import take_back

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from prefect.futures import PrefectFuture
    from prefect.tasks import Task

    from nbfutures.engine.contracts import Run
    from nbfutures.model.outcome import Outcome
    from nbfutures.prefect.feed import Feed
    from nbfutures.prefect.outcomes import Ending, Observed

__all__ = ["WatchedFutures", "refuse_if_cancelled"]

_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class _Delayed:
    task: Task[Any, Any]
    seen: Observed
    flow_run_id: UUID | None

    @property
    def is_waiting(self) -> bool:
        return self.seen.started is None and self.seen.ended is None


class DelayedCalls:
    """Says on a job that what its flow has delayed waits for a worker. Safe to use from any thread.

    Args:
        run: The job.
    """

    def __init__(self, run: Run) -> None:
        self._note = JobNote(run.state)
        self._waiting: list[_Delayed] = []
        self._flow_run_ids: set[UUID] = set()
        self._lock = threading.Lock()
        self._looking: concurrent.futures.Future[None] | None = None

    def add(self, task: Task[Any, Any], seen: Observed, flow_run_id: UUID | None) -> None:
        """Take in a task run that was delayed, and the flow run that did it."""
        with self._lock:
            self._waiting.append(_Delayed(task, seen, flow_run_id))
            if flow_run_id is not None:
                self._flow_run_ids.add(flow_run_id)
            if self._looking is None or self._looking.done():
                self._looking = api_loop().start(self._look())

    def close(self) -> None:
        """Look no longer."""
        with self._lock:
            looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
        self._note.tell("")

    def leave(self, futures: Sequence[DelayedFuture], why: str) -> None:
        """Have workers not begin task runs, and Prefect know it."""
        self.close()
        with self._lock:
            flow_run_ids = list(self._flow_run_ids)
        for flow_run_id in flow_run_ids:
            mark_cancelled(flow_run_id, is_cancelled=True)
        for future in futures:
            future.leave(why)
        tell_cancelled([future.task_run_id for future in futures], why)

    async def _look(self) -> None:
        attendances: dict[str, Attendance] = {}
        try:
            while True:
                await asyncio.sleep(_LOOK_SECONDS)
                with self._lock:
                    self._waiting = [one for one in self._waiting if one.is_waiting]
                    tasks = {one.task.task_key: one.task for one in self._waiting}
                for key in attendances.keys() - tasks.keys():
                    attendances.pop(key).close()
                for key in tasks.keys() - attendances.keys():
                    attendances[key] = Attendance(api_loop(), tasks[key])
                notes = [one.note(is_needed=True) for one in attendances.values()]
                self._note.tell(next(filter(None, notes), ""))
        finally:
            for one in attendances.values():
                one.close()


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

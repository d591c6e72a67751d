"""The task runs of a job that workers elsewhere run: what is known of them, and how they ended."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from prefect.states import Cancelled, Cancelling, Running

from nbfutures.errors import ItemCancelledError, WorkerDiedError
from nbfutures.model.outcome import OutcomeKind
from nbfutures.prefect.background.api_loop import ApiLoop, api_loop
from nbfutures.prefect.background.records import mark_cancelled
from nbfutures.prefect.background.watcher import run_watcher
from nbfutures.prefect.background.worker_presence import Attendance
from nbfutures.prefect.outcomes import Observed, outcome_of_state

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable, Iterable, Sequence
    from uuid import UUID

    from prefect.client.schemas.objects import State
    from prefect.tasks import Task

    from nbfutures.engine.contracts import Run
    from nbfutures.model.outcome import Outcome
    from nbfutures.prefect.background.watcher import Told

__all__ = ["BackgroundRuns", "Entry", "run_id_of", "tell_cancelled"]

_MOST = 500


def tell_cancelled(run_ids: Sequence[UUID], why: str) -> None:
    """Have task runs called cancelled in Prefect, one by one, some hundred at most. Does not block.

    It is for those who look at Prefect's pages: workers go by the flow run.
    """
    api_loop().start(_tell(run_ids[:_MOST], why))


async def _tell(run_ids: Sequence[UUID], why: str) -> None:
    # Prefect's own workers run what is in their queue all the same.
    client = await api_loop().client()
    for run_id in run_ids:
        try:
            await client.set_task_run_state(run_id, Cancelled(message=why), force=True)
        except Exception:  # noqa: S112 - it may not exist yet
            continue


_CANCELLED = "Cancelled before it ran. Run it with job.retry()."
_TELL_SECONDS = 10.0


def run_id_of(flow_run_id: UUID, index: int, round_: int) -> UUID:
    """Return the id of the task run of an item: who knows the flow run finds the items again."""
    return uuid.uuid5(flow_run_id, f"item {index}, round {round_}")


@dataclass(slots=True, eq=False)
class Entry:
    """One item that is with the workers."""

    index: int
    run_id: UUID
    round: int
    seen: Observed
    is_there: bool = False
    """Whether Prefect is known to have its task run."""


class BackgroundRuns:
    """Follows task runs that workers elsewhere run. Its methods may be called from any thread.

    Args:
        run: The job.
        flow_run_ids: The flow runs that the task runs belong to.
        task: What the workers have to serve; `None` if that is not known.
        wake: Called when there is something to take in; it must not block.
    """

    def __init__(
        self, run: Run, flow_run_ids: Sequence[UUID], task: Task[Any, Any] | None, wake: Callable[[], None]
    ) -> None:
        self.loop: ApiLoop = api_loop()
        self.watcher = run_watcher()
        self._run = run
        self._flow_run_ids = list(flow_run_ids)
        self._wake = wake
        self._entries: dict[int, Entry] = {}
        self._ended: deque[tuple[Entry, State[Any]]] = deque()
        self._is_cancel_told = False
        self._telling: concurrent.futures.Future[None] | None = None
        self.attendance = Attendance(self.loop, task)

    # --- what is followed ------------------------------------------------------------------------------------------

    def follow(self, entries: Iterable[Entry]) -> None:
        """Begin to follow task runs, which may not exist yet."""
        told = {entry.index: entry for entry in entries}
        self._entries.update(told)
        self.watcher.watch({entry.run_id: partial(self._on_state, entry) for entry in told.values()})

    def drop(self, index: int) -> Entry | None:
        """Follow a task run no longer."""
        entry = self._entries.pop(index, None)
        if entry is not None:
            self.watcher.forget([entry.run_id])
        return entry

    def drop_all(self) -> None:
        """Follow nothing any longer."""
        self.watcher.forget([entry.run_id for entry in self._entries.values()])
        self._entries.clear()
        self.attendance.close()

    def __len__(self) -> int:
        """Return how many items are with the workers."""
        return len(self._entries)

    def running(self) -> int:
        """Return how many items are being worked on."""
        return sum(entry.seen.started is not None for entry in list(self._entries.values()))

    def is_running(self, index: int) -> bool:
        """Tell whether the item is being worked on."""
        entry = self._entries.get(index)
        return entry is not None and entry.seen.started is not None

    def is_there(self, index: int) -> bool:
        """Tell whether the item has ended, or Prefect is known to have its task run."""
        entry = self._entries.get(index)
        return entry is None or entry.is_there

    def waiting(self) -> list[Entry]:
        """Return the items that nobody has begun, as far as is known."""
        return [entry for entry in list(self._entries.values()) if entry.seen.started is None]

    # --- what is told of them --------------------------------------------------------------------------------------

    def take_in(self) -> None:
        """Settle the items that ended, and say whether somebody works for the job."""
        outcomes: list[Outcome] = []
        while self._ended:
            entry, state = self._ended.popleft()
            if self._entries.get(entry.index) is not entry:
                continue
            del self._entries[entry.index]
            now = self._run.state.clock.now()
            made = outcome_of_state(state, entry.index, now=now, round_=entry.round, observed=entry.seen)
            if state.is_crashed():
                made = made.replace(
                    error=WorkerDiedError(f"Item {entry.index}: {state.message} Run it again with job.retry().")
                )
            outcomes.append(made.replace(task_run_id=entry.run_id))
        if outcomes:
            self._run.settle(outcomes)
        self._attend()

    def _on_state(self, entry: Entry, told: Told) -> None:
        """Take in what the watcher tells; on its thread."""
        entry.is_there = True
        entry.seen.note(told.state, told.task_run)
        entry.seen.worker = told.worker or entry.seen.worker
        if told.state.is_final():
            self._ended.append((entry, told.state))
            self._wake()

    def _attend(self) -> None:
        """Say on the job that it waits for a worker, or that it does so no longer."""
        state = self._run.state
        is_waiting = bool(self._entries) and not self.running() and not state.is_done
        note = self.attendance.note(is_needed=is_waiting)
        if note or self.attendance.is_own(state.note):
            state.set_note(note)
        state.workers = self.attendance.workers

    # --- cancelling ------------------------------------------------------------------------------------------------

    def cancel_waiting(self) -> None:
        """Settle as cancelled what nobody has begun, and tell Prefect and the workers. Does not block.

        What runs ends by itself; where no worker is left that could, it is settled, too.
        """
        if not self._is_cancel_told:
            self._is_cancel_told = True
            for flow_run_id in self._flow_run_ids:
                mark_cancelled(flow_run_id, is_cancelled=True)
            self._telling = self.loop.start(self._set(Cancelling()))
        stopped = [entry for entry in self.waiting() if self.drop(entry.index) is not None]
        if stopped:
            self._run.settle_unrun(
                [entry.index for entry in stopped], OutcomeKind.CANCELLED, ItemCancelledError(_CANCELLED)
            )
            tell_cancelled([entry.run_id for entry in stopped], _CANCELLED)
        if self._entries and self.attendance.is_deserted(time.monotonic()):
            left = [entry for entry in list(self._entries.values()) if self.drop(entry.index) is not None]
            told = "Cancelled while it ran: no worker is left that could end it. Run it again with job.retry()."
            self._run.settle_unrun([entry.index for entry in left], OutcomeKind.CANCELLED, ItemCancelledError(told))
            tell_cancelled([entry.run_id for entry in left], _CANCELLED)

    def go_on(self) -> None:
        """Have workers begin items again, after a cancel. Blocks for a call of the API, at most 20 s."""
        if self._is_cancel_told:
            self._is_cancel_told = False
            for flow_run_id in self._flow_run_ids:
                mark_cancelled(flow_run_id, is_cancelled=False)
            if self._telling is not None:
                # The one that is told last holds.
                with contextlib.suppress(Exception):
                    self._telling.result(_TELL_SECONDS)
            self.loop.run(self._set(Running()), _TELL_SECONDS)

    async def _set(self, state: State[Any]) -> None:
        client = await self.loop.client()
        for flow_run_id in self._flow_run_ids:
            await client.set_flow_run_state(flow_run_id, state, force=True)

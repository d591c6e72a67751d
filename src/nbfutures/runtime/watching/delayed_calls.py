"""What a watched flow gives to workers by `.delay()`: whether somebody works for it, and its cancelling."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbfutures.runtime.background.api_loop import api_loop
from nbfutures.runtime.background.attendance import Attendance
from nbfutures.runtime.background.left import tell_cancelled
from nbfutures.runtime.background.records import mark_cancelled
from nbfutures.runtime.jobs.job_note import JobNote

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Sequence
    from uuid import UUID

    from prefect.tasks import Task

    from nbfutures.runtime.background.delayed import DelayedFuture
    from nbfutures.runtime.contracts import Run
    from nbfutures.runtime.outcomes import Observed

__all__ = ["DelayedCalls"]

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

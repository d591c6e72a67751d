"""Items of an attached job whose task runs nobody has seen yet: to be submitted by a kernel, or never."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbfutures.errors import ItemCancelledError
from nbfutures.model.outcome import OutcomeKind
from nbfutures.runtime.background.reading import read_by_id
from nbfutures.runtime.jobs.job_note import JobNote

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Sequence
    from uuid import UUID

    from prefect.client.schemas.objects import TaskRun

    from nbfutures.runtime.background.attached_work import Found
    from nbfutures.runtime.background.runs import BackgroundRuns
    from nbfutures.runtime.contracts import Run

__all__ = ["Unseen"]

_LATE_SECONDS = 15.0
"""In which Prefect's server has recorded what a kernel sent just before its end, also where its database is busy."""
_NEVER = "Its kernel ended before it was submitted. Run it with job.retry()."
_NOTE = "waiting for the kernel that began it to submit"


class Unseen:
    """Tells which items were never submitted, once that is certain: their kernel is gone, and there is no task run.

    Args:
        run: The job.
        runs: Its items that are followed.
        found: What Prefect knew of them.
    """

    def __init__(self, run: Run, runs: BackgroundRuns, found: Found) -> None:
        self._run = run
        self._runs = runs
        self._found = found
        self._note = JobNote(run.state)
        self._left = {index: run_id for index, run_id in found.runs.items() if run_id not in found.task_runs}
        self._gone_since: float | None = None
        """When it was first seen that the kernels of those that are left are gone."""
        self._asking: concurrent.futures.Future[list[TaskRun]] | None = None

    def look(self, now: float) -> None:
        """Look at those that are left. Does not block; on the job's thread.

        Args:
            now: Seconds of a monotonic clock.
        """
        if self._asking is not None:
            if self._asking.done():
                self._take_answer(self._asking)
                self._asking = None
            return
        if not self._left:
            return
        self._left = {index: run_id for index, run_id in self._left.items() if not self._runs.is_there(index)}
        is_gone = all(self._found.is_abandoned(index) for index in self._left)
        self._note.tell_if_free("" if is_gone else f"{_NOTE} {len(self._left):,} of its items")
        if not is_gone:
            self._gone_since = None
        elif self._gone_since is None:
            self._gone_since = now
        elif now - self._gone_since > _LATE_SECONDS and self._left:
            self._asking = self._runs.loop.start(self._ask(list(self._left.values())))

    async def _ask(self, ids: Sequence[UUID]) -> list[TaskRun]:
        return await read_by_id(await self._runs.loop.client(), ids)

    def _take_answer(self, answer: concurrent.futures.Future[list[TaskRun]]) -> None:
        if answer.cancelled() or answer.exception() is not None:
            return  # Nothing is certain; it is asked again.
        there = {task_run.id for task_run in answer.result()}
        left, self._left = self._left, {}
        never = [
            index
            for index, run_id in left.items()
            if run_id not in there and not self._runs.is_there(index) and self._runs.drop(index) is not None
        ]
        self._run.settle_unrun(never, OutcomeKind.CANCELLED, ItemCancelledError(_NEVER))

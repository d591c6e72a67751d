"""What the buttons of a job's card do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbfutures.model.events import JobPhase

if TYPE_CHECKING:
    from nbfutures.api.job import Job
    from nbfutures.views.failures import Failure

__all__ = ["JobActions"]


class JobActions:
    """What can be done with a job by its card.

    Args:
        job: The job.
    """

    def __init__(self, job: Job) -> None:
        self._job = job

    def available(self) -> list[str]:
        """Return what can be done now."""
        job = self._job
        owns_calls = job._run.work.owns_calls
        if job.is_done:
            snapshot = job.snapshot
            is_complete = snapshot.counts.settled == snapshot.counts.completed and not snapshot.crashed
            return ["retry"] if owns_calls and not is_complete else []
        if job.phase is JobPhase.CANCELLING:
            return []
        if not owns_calls:
            return ["cancel"]
        return ["resume" if job.phase is JobPhase.PAUSED else "pause", "cancel"]

    def do(self, action: str) -> None:
        """Do one of them."""
        if action == "pause":
            self._job.pause()
        elif action == "resume":
            self._job.resume()
        elif action == "cancel":
            self._job.cancel()
        elif action == "retry":
            self._job.retry()

    def failure(self, index: int) -> Failure:
        """Return why the item failed."""
        return self._job.failure(index)

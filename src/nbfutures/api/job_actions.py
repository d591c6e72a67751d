"""What the buttons of a job's card do."""

from __future__ import annotations

import threading
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from nbfutures.model.events import JobPhase
from nbfutures.runtime.ui import ui_password

if TYPE_CHECKING:
    from collections.abc import Callable

    from nbfutures.runtime.jobs.job_run import JobRun
    from nbfutures.views.failures import Failure

__all__ = ["JobActions"]


class JobActions:
    """What can be done with a job by its card.

    Args:
        run: The job as the runtime holds it.
        retry: Runs again what did not complete.
        failure: Returns why an item failed.
    """

    def __init__(self, run: JobRun, retry: Callable[[], Any], failure: Callable[[int], Failure]) -> None:
        self._run = run
        self._retry = retry
        self.failure = failure

    def available(self) -> list[str]:
        """Return what can be done now."""
        state = self._run.state
        owns_calls = self._run.work.owns_calls
        if state.is_done:
            snapshot = state.snapshot()
            is_complete = snapshot.counts.settled == snapshot.counts.completed and not snapshot.crashed
            return ["retry"] if owns_calls and not is_complete else []
        if state.phase is JobPhase.CANCELLING:
            return []
        if not owns_calls or self._run.options.background:
            # What is with workers elsewhere cannot be held.
            return ["cancel"]
        return ["resume" if state.phase is JobPhase.PAUSED else "pause", "cancel"]

    def password(self) -> str | None:
        """Return what the login of Prefect's interface asks for, where it is our own server's."""
        return ui_password(self._run.session)

    def do(self, action: str) -> None:
        """Do one of them."""
        if action == "pause":
            self._run.pause()
        elif action == "resume":
            self._run.resume()
        elif action == "cancel":
            self._run.cancel()
        elif action == "retry":
            if self._run.caller is None:
                self._retry()
            else:
                # It runs to its end there, and a card has to answer meanwhile.
                threading.Thread(
                    target=copy_context().run, args=(self._retry,), name="nbfutures retry", daemon=True
                ).start()

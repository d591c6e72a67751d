"""What becomes of a session's jobs when the process ends."""

from __future__ import annotations

import atexit
import builtins
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nbfutures.runtime.contracts import Run

__all__ = ["ExitJobs", "flush_summaries"]

_DRAIN_SECONDS = 10.0


class ExitJobs:
    """Has jobs end before Prefect's services do, and tells of those that had no chance to run.

    Args:
        jobs: The session's, also those that it will have.
    """

    def __init__(self, jobs: Sequence[Run]) -> None:
        self._jobs = jobs
        self._warns = False
        self._drained = False

    def warn_at_exit(self) -> None:
        """Have a script that ends before its jobs have run say so."""
        if not self._warns:
            self._warns = True
            _register(self._warn)

    def drain_at_exit(self) -> None:
        """Have the jobs end while Prefect's services run; to be called once these have registered for the end."""
        try:
            _register(self._drain)
        except RuntimeError:
            return

    def _drain(self) -> None:
        if self._drained:
            return
        self._drained = True
        # The items of background jobs are with workers elsewhere, and go on.
        running = [
            run
            for run in self._jobs
            if run.thread is not None and run.thread.is_alive() and (run.state.is_done or not run.options.background)
        ]
        if not _is_notebook():
            # A script ends when its work does, as with `concurrent.futures`.
            for run in running:
                if run.thread is not None:
                    run.thread.join()
            flush_summaries(_DRAIN_SECONDS)
            return
        for run in running:
            run.cancel("Cancelled since the kernel ended.")
        deadline = time.monotonic() + _DRAIN_SECONDS
        for run in running:
            if run.thread is not None:
                run.thread.join(max(deadline - time.monotonic(), 0.0))
        flush_summaries(deadline - time.monotonic())

    def _warn(self) -> None:
        # Prefect cannot be started any more once the interpreter ends: a job that waited for it has not run.
        for run in self._jobs:
            if not run.state.is_done and not run.options.background and not _is_notebook():
                sys.stderr.write(
                    f"nbfutures: the script ended before {run.name!r} had run. Wait for it at the end: job.wait().\n"
                )


def flush_summaries(timeout: float) -> None:
    """Wait until the summaries of jobs are sent, if there are any; at most so many seconds."""
    summaries = sys.modules.get("nbfutures.runtime.flow_runs.summaries")
    if summaries is not None:
        summaries.flush_summaries(timeout)


def _register(call: Callable[[], None]) -> None:
    # `atexit` is too late: by then Prefect can send nothing any more.
    getattr(threading, "_register_atexit", atexit.register)(call)


def _is_notebook() -> bool:
    return hasattr(builtins, "__IPYTHON__")

"""Says on a job that its items use a limit which does not exist: Prefect's own `concurrency` lets them pass."""

from __future__ import annotations

import logging
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nbfutures.runtime.jobs.job_note import JobNote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nbfutures.runtime.contracts import Run

__all__ = ["missing_limits_told"]

_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")
# What Prefect logs of it, and all that it tells.
_MISSING = re.compile(r"Concurrency limits \['(?P<first>.*?)'.*\] do not exist")


@contextmanager
def missing_limits_told(run: Run) -> Iterator[None]:
    """Within it, what Prefect logs of limits that do not exist is told on the job, with what to do.

    Args:
        run: The job. Of its items in other processes, nothing is heard here.
    """
    listener = _Listener(run)
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addHandler(listener)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(listener)
        if listener.told and not run.state.note:
            # A job's end takes its note back; this one is still worth reading.
            run.state.set_note(listener.told)


class _Listener(logging.Handler):
    def __init__(self, run: Run) -> None:
        super().__init__(logging.WARNING)
        self._run = run
        self._note = JobNote(run.state)
        self.told = ""
        """What was told."""

    def emit(self, record: logging.LogRecord) -> None:
        """Take in a line of Prefect's log."""
        found = _MISSING.match(record.getMessage())
        if found is not None and str(getattr(record, "flow_run_id", "")) == str(self._run.flow_run_id):
            name = found["first"]
            self.told = (
                f"Prefect has no limit {name!r} and lets items pass. Create it, for example with 4 slots: "
                f"%limit {name} 4"
            )
            self._note.tell(self.told)

"""Says on a job of which nothing moves that limits are in use: Prefect tells nobody that a call waits for a slot."""

from __future__ import annotations

import logging
import threading
import time
from contextvars import Context
from typing import TYPE_CHECKING, Self

from nbfutures.engine.job_note import JobNote
from nbfutures.prefect.limits.prefect_limits import is_some_full
from nbfutures.prefect.shared_client import shared_client

if TYPE_CHECKING:
    from nbfutures.engine.contracts import Run

__all__ = ["SlotWaits"]

_STILL_SECONDS = 3.0
"""Nothing has moved when no item has ended for so long, while some run."""
_LIMITS_IN_USE = "limits in use: %limit shows which"
_logger = logging.getLogger(__name__)


class SlotWaits:
    """Within it, a job of which nothing moves says so where a limit of Prefect's is full.

    Args:
        run: The job.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._note = JobNote(run.state)
        self._over = threading.Event()
        # Not in the context of the flow run, whose client may be closed before this one is done.
        self._thread = threading.Thread(
            target=Context().run, args=(self._main,), name=f"nbfutures slots {run.name}", daemon=True
        )

    def __enter__(self) -> Self:
        """Begin to look."""
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        """Look no longer, and take back what was told. Does not block."""
        self._over.set()
        self._note.tell_if_free("")

    def _main(self) -> None:
        state = self._run.state
        settled, since = -1, time.monotonic()
        while not self._over.wait(_STILL_SECONDS / 3):
            counts = state.counts
            if counts.settled != settled or state.is_done or self._run.is_halted:
                settled, since = counts.settled, time.monotonic()
                self._note.tell_if_free("")
                continue
            if time.monotonic() - since < _STILL_SECONDS:
                continue
            since = time.monotonic()
            try:
                with shared_client() as client:
                    told = _LIMITS_IN_USE if is_some_full(client) else ""
            except Exception:
                # Others say that Prefect does not answer; or the session was closed.
                _logger.debug("Cannot tell whether limits are in use", exc_info=True)
                continue
            self._note.tell_if_free(told)
            if self._over.is_set():
                self._note.tell_if_free("")

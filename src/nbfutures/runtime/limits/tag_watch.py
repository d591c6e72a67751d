"""Says on a job that its task runs wait for a tag limit: Prefect holds them back itself, and tells nobody."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING

from prefect.context import TagsContext

from nbfutures.errors import UnknownLimitError
from nbfutures.runtime.jobs.job_note import JobNote
from nbfutures.runtime.limits.note import waiting_for
from nbfutures.runtime.limits.prefect_limits import TAG_PREFIX, read_named
from nbfutures.runtime.shared_client import shared_client

if TYPE_CHECKING:
    from nbfutures.runtime.calls.work import CallWork
    from nbfutures.runtime.contracts import Run

__all__ = ["TagWatch"]

_PATIENCE_SECONDS = 1.0
_AGAIN_SECONDS = 2.0
_logger = logging.getLogger(__name__)


class TagWatch:
    """Asks Prefect about the limits of a job's tags where its task runs do not begin.

    Made within the job's flow run, whose tags count.

    Args:
        run: The job.
        work: Its calls.
    """

    def __init__(self, run: Run, work: CallWork) -> None:
        own = work.target.tags if work.is_task else ()
        self._tags = sorted({*own, *run.options.tags, *TagsContext.get().current_tags})
        self._note = JobNote(run.state)
        self._name = run.name
        self._since: float | None = None
        self._next_look = 0.0
        self._thread: threading.Thread | None = None

    def look(self, *, is_held_back: bool) -> None:
        """Take in whether there are task runs of which none has begun. Never blocks.

        Args:
            is_held_back: Whether that is so now.
        """
        if not self._tags:
            return
        if not is_held_back:
            if self._since is not None:
                self._since = None
                self._note.tell("")
            return
        now = time.monotonic()
        if self._since is None:
            self._since, self._next_look = now, now + _PATIENCE_SECONDS
        if now < self._next_look or (self._thread is not None and self._thread.is_alive()):
            return
        self._next_look = now + _AGAIN_SECONDS
        self._thread = threading.Thread(
            target=Context().run, args=(self._ask,), name=f"nbfutures tags {self._name}", daemon=True
        )
        self._thread.start()

    def _ask(self) -> None:
        found = []
        try:
            with shared_client() as client:
                for tag in self._tags:
                    with suppress(UnknownLimitError):
                        found += read_named(client, [f"{TAG_PREFIX}{tag}"])
        except Exception:
            _logger.debug("Prefect did not answer about tags", exc_info=True)
            return
        # They may have begun meanwhile.
        if self._since is not None:
            self._note.tell(waiting_for(found))

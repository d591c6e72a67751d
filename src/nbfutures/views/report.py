"""A job's text and HTML, made from its state at each refresh for no more than what is new."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from nbfutures.model.events import JobEvent, Reopened
from nbfutures.views.grouping import FailureGroup, FailureTally
from nbfutures.views.html import first_and_last, job_html
from nbfutures.views.markdown import job_markdown
from nbfutures.views.text import job_text

if TYPE_CHECKING:
    from nbfutures.model.item import ItemSource
    from nbfutures.model.job_state import JobState

__all__ = ["JobReport"]

_GROUPS = 5
_MARKDOWN_GROUPS = 20


class JobReport:
    """Turns a job's state into what a notebook shows. Safe to use from any thread.

    Args:
        state: The job's state.
        source: Where the inputs of failed items are read from.
    """

    def __init__(self, state: JobState, source: ItemSource) -> None:
        self._state = state
        self._source = source
        # A user's `repr` may run with it held, and show the job.
        self._lock = threading.RLock()
        self._tally = FailureTally(source)
        self._position = 0
        self._is_stale = False
        state.subscribe(self._on_event)

    def bundle(self) -> dict[str, str]:
        """Return the job as it stands now, by MIME type: `text/plain` and `text/html`."""
        snapshot = self._state.snapshot()
        groups, more = self.failures(_GROUPS)
        results = first_and_last(self._state) if snapshot.is_done else []
        return {
            "text/plain": job_text(snapshot, groups, more),
            "text/html": job_html(snapshot, groups, more, results),
        }

    def markdown(self) -> str:
        """Return the job as it stands now as Markdown, without inputs and values of its items."""
        return job_markdown(self._state.snapshot(), *self.failures(_MARKDOWN_GROUPS))

    def failures(self, limit: int) -> tuple[list[FailureGroup], int]:
        """Return the failures in groups, the largest first, and how many groups there are besides.

        Args:
            limit: Groups at most.
        """
        with self._lock:
            self._count_failures()
            groups = self._tally.top(limit)
            return groups, len(self._tally) - len(groups)

    def _count_failures(self) -> None:
        while True:
            if self._is_stale:
                self._is_stale = False
                self._tally = FailureTally(self._source)
                self._position = 0
            told, self._position = self._state.settled_since(self._position)
            if self._tally.add(told):
                return
            # An item that was counted has ended otherwise; this may be the last refresh, so that it is put right now.
            self._is_stale = True

    def _on_event(self, event: JobEvent) -> None:
        if isinstance(event, Reopened):
            self._is_stale = True

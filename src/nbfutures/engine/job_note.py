"""What a job says that it waits for, said and taken back by the same."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbfutures.model.job_state import JobState

__all__ = ["JobNote"]


class JobNote:
    """Says on a job what it waits for; takes back only what it has said itself. Safe to use from any thread.

    Args:
        state: The job's.
    """

    def __init__(self, state: JobState) -> None:
        self._state = state
        self._told = ""
        self._lock = threading.Lock()

    def tell_if_free(self, note: str) -> None:
        """Say something where nobody else says anything, such as that Prefect does not answer: that stays."""
        with self._lock:
            if self._state.note in ("", self._told) and not (note and self._state.is_done):
                self._state.set_note(note)
                self._told = note

    def tell(self, note: str) -> None:
        """Say something; nothing, to take back what was said."""
        with self._lock:
            before, self._told = self._told, note
            if before != note and (note or self._state.note == before) and not self._state.is_done:
                self._state.set_note(note)

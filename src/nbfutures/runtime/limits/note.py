"""What a job says that it waits for, said and taken back by the same."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nbfutures.model.job_state import JobState
    from nbfutures.model.limits import LimitRecord

__all__ = ["JobNote", "waiting_for"]


class JobNote:
    """Says on a job what it waits for; takes back only what it has said itself. Safe to use from any thread.

    Args:
        state: The job's.
    """

    def __init__(self, state: JobState) -> None:
        self._state = state
        self._told = ""
        self._lock = threading.Lock()

    def tell(self, note: str) -> None:
        """Say something; nothing, to take back what was said."""
        with self._lock:
            before, self._told = self._told, note
            if before != note and (note or self._state.note == before) and not self._state.is_done:
                self._state.set_note(note)


def waiting_for(limits: Iterable[LimitRecord]) -> str:
    """Return what to say where a job waits for a slot: which limit is full; nothing if none is."""
    full = next((one for one in limits if one.is_active and one.slots <= one.in_use), None)
    if full is None:
        return ""
    what = f"the tag {full.name!r}" if full.is_tag else repr(full.name)
    return f"waiting for a slot of {what} ({full.in_use:,} of {full.slots:,} in use)"

"""What is to be called when an item, or the whole job, is done."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from nbfutures.model.events import JobEvent, JobPhase, PhaseChanged, Settled

if TYPE_CHECKING:
    from collections.abc import Callable

    from nbfutures.model.job_state import JobState

__all__ = ["DoneCallbacks"]

_logger = logging.getLogger(__name__)


class DoneCallbacks:
    """The done-callbacks of one job, each called once. Safe to use from any thread.

    Args:
        state: The job's.
    """

    def __init__(self, state: JobState) -> None:
        self._state = state
        self._of_items: dict[int, list[Callable[[], None]]] = {}
        self._lock = threading.Lock()
        state.subscribe(self._on_event)

    def add_for_item(self, index: int, then: Callable[[], None]) -> None:
        """Have `then` called when the item ended, on the thread that tells it, or at once if it has."""
        with self._lock:
            if self._state.outcome(index) is None:
                self._of_items.setdefault(index, []).append(then)
                return
        then()

    def add_for_job(self, then: Callable[[], None]) -> None:
        """Have `then` called when the job is done, on the thread that tells it, or at once if it is."""
        called = threading.Lock()

        def tell(event: JobEvent) -> None:
            if isinstance(event, PhaseChanged) and event.phase is JobPhase.DONE and called.acquire(blocking=False):
                unsubscribe()
                then()

        unsubscribe = self._state.subscribe(tell)
        if self._state.is_done:
            tell(PhaseChanged(JobPhase.DONE))

    def _on_event(self, event: JobEvent) -> None:
        if not isinstance(event, Settled):
            return
        # Asked with the lock held: who is just adding a callback has either seen the outcome, or is seen here.
        with self._lock:
            if not self._of_items:
                return
            due = [then for one in event.outcomes for then in self._of_items.pop(one.index, ())]
        for then in due:
            try:
                then()
            except Exception:
                _logger.exception("A done-callback of an item of %s raised", self._state.name)

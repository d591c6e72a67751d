"""Takes a job's outcomes into a timeline, in pieces."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from nbfutures.model.events import JobEvent, Reopened
from nbfutures.model.outcome import OutcomeKind
from nbfutures.views.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from nbfutures.model.job_state import JobState
    from nbfutures.model.outcome import Outcome
    from nbfutures.views.timeline import TimelineSnapshot

__all__ = ["TimelineReader"]

_SHARE = 20_000
"""Outcomes taken at once, while the job's state is held."""


class TimelineReader:
    """Follows a job. For one thread.

    Args:
        state: The job's state.
        seconds: How long one `read` may take.
        clock: Returns the time in seconds; it never goes back.
    """

    def __init__(self, state: JobState, *, seconds: float = 0.3, clock: Callable[[], float] = time.monotonic) -> None:
        self._state = state
        self._seconds = seconds
        self._clock = clock
        self._twice: set[int] = set()
        """Items that were told more than once: read from the start, their last outcome comes up each time."""
        self._is_stale = False
        self._timeline = Timeline()
        self._position = 0
        self._seen: set[int] = set()
        """Of the items that were told twice, and of those that did not complete, which are in it."""
        self._unsubscribe = state.subscribe(self._on_event)

    def read(self) -> TimelineSnapshot:
        """Take in what was told since the last call, as much as there is time for, and return the timeline."""
        if self._is_stale:
            self._is_stale = False
            self._timeline, self._position, self._seen = Timeline(), 0, set()
        deadline = self._clock() + self._seconds
        while True:
            told, self._position = self._state.settled_since(self._position, _SHARE)
            self._timeline.add(self._fresh(told))
            if not told or self._clock() > deadline:
                return self._timeline.snapshot()

    @property
    def is_complete(self) -> bool:
        """Whether everything that was told so far is in it."""
        return not self._is_stale and not self._state.has_settled_since(self._position)

    def close(self) -> None:
        """Follow the job no more."""
        self._unsubscribe()

    def _fresh(self, told: Iterable[Outcome]) -> Iterator[Outcome]:
        for outcome in told:
            index = outcome.index
            if index in self._seen:
                if index not in self._twice:
                    # It has ended in another way since: what is drawn of it has to go.
                    self._twice.add(index)
                    self._is_stale = True
                continue
            if outcome.kind is not OutcomeKind.COMPLETED or outcome.round or index in self._twice:
                self._seen.add(index)
            yield outcome

    def _on_event(self, event: JobEvent) -> None:
        if isinstance(event, Reopened):
            # What runs again would be there twice.
            self._twice.update(event.indices)
            self._is_stale = True

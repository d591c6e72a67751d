"""A job's outcomes as arrays: read once, drawn several times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from nbfutures.model.outcome import OutcomeKind
from nbfutures.views.snapshot import describe
from nbfutures.views.words import count_words, number_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from nbfutures.model.job_snapshot import Counts
    from nbfutures.model.job_state import JobState
    from nbfutures.model.outcome import Outcome

    Numbers = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]

__all__ = ["JobRecords"]


@dataclass(frozen=True, slots=True)
class JobRecords:
    """What a job's plots are drawn from."""

    name: str
    """Cut and cleaned, on one line."""
    workers: int
    """Number of workers that the job may use."""
    outcomes: Sequence[Outcome]
    """Of the items that have ended, in the order of the items."""
    origin: float
    """When the job was submitted, in seconds since the epoch."""
    started: Numbers
    """When the items started that have run, in seconds after `origin`."""
    ended: Numbers
    """When the same items ended, in seconds after `origin`."""
    completed: Flags
    """Which of them completed."""
    failed: Flags
    """Which of them failed."""
    counts: Counts
    is_done: bool

    @classmethod
    def of(cls, state: JobState) -> Self:
        """Read a job as it stands now."""
        job = state.snapshot()
        outcomes = [outcome for outcome in state.outcomes() if outcome is not None]
        times = np.array(
            [(one.started, one.ended) for one in outcomes if one.started is not None and one.ended is not None],
            dtype=np.float64,
        ).reshape(-1, 2)
        kinds = [one.kind for one in outcomes if one.started is not None and one.ended is not None]
        known = np.isfinite(times).all(axis=1)
        started = times[known, 0]
        # The clock may have been set back in between.
        ended = np.maximum(times[known, 1], started)
        # Futures that somebody else made may be older than the job that tracks them.
        origin = min(state.created, started.min()) if started.size else state.created
        return cls(
            name=describe(job)["title"],
            workers=job.workers,
            outcomes=outcomes,
            origin=origin,
            started=started - origin,
            ended=ended - origin,
            completed=np.array([kind is OutcomeKind.COMPLETED for kind in kinds], dtype=np.bool_)[known],
            failed=np.array([kind is OutcomeKind.FAILED for kind in kinds], dtype=np.bool_)[known],
            counts=job.counts,
            is_done=job.is_done,
        )

    @property
    def has_run(self) -> bool:
        """Whether an item has run."""
        return self.started.size > 0

    @property
    def start(self) -> float:
        """When the first item started, in seconds after `origin`."""
        return float(self.started.min())

    @property
    def end(self) -> float:
        """When the last item ended, in seconds after `origin`."""
        return float(self.ended.max())

    @property
    def seconds(self) -> Numbers:
        """How long the items ran."""
        return self.ended - self.started

    @property
    def progress(self) -> str:
        """How much of the job there is to see, in words; empty once it is done."""
        if self.is_done:
            return ""
        return f"{number_words(self.counts.settled)} of {count_words(self.counts.total, 'item')} so far"

    @property
    def nothing(self) -> str:
        """Why there is nothing to draw, in words."""
        counts = self.counts
        if self.is_done and not counts.total:
            return "The job has no items"
        if not self.is_done:
            return "No item has ended yet"
        parts = [
            f"{number_words(number)} {kind}"
            for kind, number in (("cancelled", counts.cancelled), ("skipped", counts.skipped))
            if number
        ]
        return f"No item ran: {', '.join(parts)}" if parts else "No item ran"

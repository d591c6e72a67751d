"""What the lanes of one job share."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nbfutures.model.outcome import Outcome
from nbfutures.runtime.limits.no_limit import NO_LIMIT, NoLimit

if TYPE_CHECKING:
    from collections.abc import Callable

    from nbfutures.model.job_state import JobState
    from nbfutures.model.outcome import OutcomeKind
    from nbfutures.runtime.calls.work import CallWork
    from nbfutures.runtime.work_queue import WorkQueue

__all__ = ["LANE_SECONDS", "LaneWork"]

LANE_SECONDS = 1.0
"""A task run takes no further item after this long: 5-10 ms for the task run itself are then 1 % at most."""


@dataclass(slots=True)
class LaneWork:
    """What the lanes of one job share."""

    work: CallWork
    """The calls; its function may be replaced while lanes run."""
    queue: WorkQueue
    state: JobState
    wake: Callable[[], None]
    """Wakes the dispatcher; cheap when it is awake."""
    limit: NoLimit = NO_LIMIT
    """Asked for a slot before an item starts, or, by who works through one item at a time, before it begins."""
    is_async: bool = False
    quota: int | None = None
    """Items for one lane at most; `None` for as many as fit in `lane_seconds`."""
    lane_seconds: float = LANE_SECONDS
    """A lane takes no further item after this long."""
    retries: int = 0
    retry_delay: float = 0.0
    timeout: float | None = None
    fail_fast: bool = False
    queued: float = 0.0
    """When the items were submitted."""
    cpu_clock: Callable[[], float] = time.thread_time
    """Tells the CPU seconds of the calling thread."""
    stopped: threading.Event = field(default_factory=threading.Event)
    """Set while the job is being cancelled: nothing is tried again then."""
    tried: dict[tuple[int, int], int] = field(default_factory=dict)
    """Item and its round to the number of attempts that failed and were followed by another."""

    @property
    def has_tries(self) -> bool:
        """Whether some item was tried before."""
        return bool(self.tried)

    def tries(self, index: int) -> int:
        """Return how often the item was tried before, in this round."""
        return self.tried.get((index, self.state.round_of(index)), 0) if self.tried else 0

    def takes_another_try(self, index: int) -> bool:
        """Tell whether the item is to be tried again after a failure, and count that."""
        tries = self.tries(index)
        if tries >= self.retries or self.stopped.is_set():
            return False
        self.tried[index, self.state.round_of(index)] = tries + 1
        return True

    def ended_from_outside(
        self, index: int, kind: OutcomeKind, error: BaseException, started: float | None, worker: str | None = None
    ) -> Outcome:
        """Return the outcome of an item of which its lane will not tell how it ended.

        Args:
            index: The item.
            kind: How it ended.
            error: Why.
            started: When its attempt began, if that is known.
            worker: Where it ran, if that is worth telling.
        """
        return Outcome(
            index=index,
            kind=kind,
            error=error,
            queued=self.queued,
            started=started,
            ended=self.state.clock.now(),
            worker=worker,
            attempts=self.tries(index) + 1,
            round=self.state.round_of(index),
        )

    def unrun(self, index: int, kind: OutcomeKind, error: BaseException) -> Outcome:
        """Return the outcome of an item that never ran, as far as is known.

        Args:
            index: The item.
            kind: How it ended.
            error: Why.
        """
        now, round_ = self.state.clock.now(), self.state.round_of(index)
        return Outcome(index, kind, None, error, self.queued, None, now, round=round_)

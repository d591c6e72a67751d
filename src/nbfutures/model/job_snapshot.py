"""A job at one moment: what others than its state get to see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nbfutures.model.events import JobPhase

if TYPE_CHECKING:
    from nbfutures.model.dry_run import DryRunReport

__all__ = ["Counts", "JobSnapshot"]


@dataclass(frozen=True, slots=True)
class Counts:
    """How many items are where; the six add up to `total`."""

    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    skipped: int = 0
    running: int = 0
    waiting: int = 0

    @property
    def settled(self) -> int:
        """Number of items that ended, in whatever way."""
        return self.completed + self.failed + self.cancelled + self.skipped

    @property
    def total(self) -> int:
        """Number of items."""
        return self.settled + self.running + self.waiting


@dataclass(frozen=True, slots=True)
class JobSnapshot:
    """A job at one moment, for those who show it."""

    name: str
    phase: JobPhase
    counts: Counts
    workers: int
    """Number of workers that the job may use; 0 if nobody knows."""
    elapsed: float
    """Seconds from the submission to now, or to the end, without those between an end and a retry."""
    rate: float | None
    """Items per second: those settled over the last ten seconds, or those that ran over the whole run once done;
    `None` before the first."""
    seconds_left: float | None
    """Estimated seconds to the end; `None` where nothing is known, 0 when done."""
    speed_up: float | None
    """Sum of the items' seconds over the wall-clock seconds in which they ran; `None` before the first."""
    note: str = ""
    """What the job waits for or why it ended, in a sentence; empty if there is nothing to say."""
    links: tuple[tuple[str, str], ...] = ()
    """Pages about the job: what they are called, and their addresses."""
    crashed: bool = False
    """Whether the job as a whole could not go on."""
    is_cancelled: bool = False
    """Whether it is a flow that was cancelled."""
    is_flow: bool = False
    """Whether it is a flow, which may end well without any item."""

    is_open_ended: bool = False
    """Whether more items may come."""
    dry_run: DryRunReport | None = None
    """What a dry run tells of the whole job; `None` before its end, and for any other job."""

    @property
    def is_done(self) -> bool:
        """Whether every item is settled."""
        return self.phase is JobPhase.DONE

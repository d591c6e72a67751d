"""What a job tells those who listen."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbfutures.model.outcome import Outcome

__all__ = ["JobEvent", "JobPhase", "PhaseChanged", "Reopened", "Settled", "is_turn"]


class JobPhase(StrEnum):
    """Where a job stands as a whole."""

    STARTING = "starting"
    """It waits for Prefect or for what it depends on."""
    RUNNING = "running"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    """Nothing new is started; what runs is ending."""
    DONE = "done"
    """Every item is settled."""


@dataclass(frozen=True, slots=True)
class Settled:
    """Items ended."""

    outcomes: tuple[Outcome, ...]
    """Only those that changed something, in the order in which they were told."""


@dataclass(frozen=True, slots=True)
class Reopened:
    """Items were given back to run once more."""

    indices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PhaseChanged:
    """The job as a whole moved on."""

    phase: JobPhase


JobEvent = Settled | Reopened | PhaseChanged


def is_turn(event: JobEvent) -> bool:
    """Tell whether the job has ended with this, or runs once more: what is final has changed."""
    return isinstance(event, Reopened) or (isinstance(event, PhaseChanged) and event.phase is JobPhase.DONE)

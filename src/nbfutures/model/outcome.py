"""How an item ended."""

from __future__ import annotations

from enum import StrEnum
from types import TracebackType  # noqa: TC003 - read at run time by NamedTuple's annotations
from typing import Any, NamedTuple
from uuid import UUID  # noqa: TC003 - read at run time by NamedTuple's annotations

__all__ = ["CapturedOutput", "Outcome", "OutcomeKind"]


class OutcomeKind(StrEnum):
    """The four ways in which an item can end."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


_RANK = {
    OutcomeKind.CANCELLED: 0,
    OutcomeKind.SKIPPED: 1,
    OutcomeKind.FAILED: 2,
    OutcomeKind.COMPLETED: 3,
}


class CapturedOutput(NamedTuple):
    """What an item printed."""

    stdout: str = ""
    """Text written to `sys.stdout`, cut in the middle when it was long."""
    stderr: str = ""
    """Text written to `sys.stderr`, cut in the middle when it was long."""


# A named tuple, not a frozen dataclass: one is made for every item, and this is built eight times faster.
class Outcome(NamedTuple):
    """How one item ended, with all that is known of it; immutable."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody asks of an outcome
    """The item's position in the job, from 0."""
    kind: OutcomeKind
    """How it ended."""
    value: Any = None
    """What the function returned; `None` unless completed."""
    error: BaseException | None = None
    """What was raised, or why it was cancelled or skipped; `None` when completed."""
    queued: float | None = None
    """When it was submitted, in seconds since the epoch."""
    started: float | None = None
    """When its last attempt began, in seconds since the epoch; `None` if it never ran."""
    ended: float | None = None
    """When it was settled, in seconds since the epoch."""
    cpu_seconds: float | None = None
    """CPU seconds that its thread used in the last attempt (`time.thread_time`); `None` where not known."""
    worker: str | None = None
    """Name of the worker that ran it."""
    attempts: int = 0
    """How often it was tried; 0 if it never ran."""
    output: CapturedOutput | None = None
    """What it printed; `None` if nothing."""
    task_run_id: UUID | None = None
    """Prefect's id of the task run that it was part of."""
    round: int = 0
    """How often the item had been given back for a retry before this."""
    traceback: TracebackType | None = None
    """Where the error was raised; the error's own grows with each time that it is raised again."""

    @property
    def seconds(self) -> float | None:
        """Seconds from the start to the end of the last attempt; `None` if it never ran."""
        if self.started is None or self.ended is None:
            return None
        return self.ended - self.started

    def supersedes(self, other: Outcome) -> bool:
        """Tell whether this outcome replaces another one of the same item, whichever was told first.

        A value wins over an error, and either over "cancelled", so that no work that was done is lost.
        """
        if self.kind is not other.kind:
            return _RANK[self.kind] > _RANK[other.kind]
        return (self.ended or 0.0) < (other.ended or 0.0)

    # The fields hold anything, so that comparing tuples would compare data frames: two outcomes are equal when same.
    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def __hash__(self) -> int:
        return object.__hash__(self)

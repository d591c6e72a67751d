"""How an item ended."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from types import TracebackType
    from uuid import UUID

__all__ = ["ATOMS", "AtomicOutcome", "CapturedOutput", "Outcome", "OutcomeKind"]


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
    """What an item wrote, and the programs that it started; with carriage returns and colours, as it was written."""

    stdout: str = ""
    """Text written to `sys.stdout`, cut in the middle when it was long."""
    stderr: str = ""
    """Text written to `sys.stderr`, cut in the middle when it was long."""


# One is made for every item: a msgspec record is made in a tenth of the time that a frozen dataclass takes. Equal are
# two that are the same: the fields hold anything, also data frames.
class Outcome(msgspec.Struct, frozen=True, eq=False):
    """How one item ended, with all that is known of it; immutable."""

    index: int
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
    """What it wrote to `sys.stdout` and `sys.stderr`; `None` if nothing."""
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

    def replace(self, **changes: Any) -> Outcome:
        """Return a copy with some fields changed."""
        return Outcome(**(msgspec.structs.asdict(self) | changes))


class AtomicOutcome(Outcome, frozen=True, eq=False, gc=False):
    """How an item completed whose value is of one of the `ATOMS`.

    Python's garbage collector does not look through these: 100,000 outcomes had it go through all that the kernel
    holds, for 0.2 s. Nothing is lost by that, since none of the fields can lead back to the outcome.
    """


ATOMS = frozenset({bool, int, float, complex, str, bytes, type(None)})
"""Types whose values hold no others."""

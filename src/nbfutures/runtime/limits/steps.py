"""What a job can do next about its slots, one record for each; and a lease of some."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

__all__ = ["Acquire", "End", "Lease", "Lose", "Release", "Renew", "Step", "Turn", "Wait"]


@dataclass(slots=True, eq=False)
class Lease:
    """Slots that Prefect has given, until it is not renewed. Times are those of a clock that only goes forward."""

    id: UUID
    slots: int
    since: float
    """When it was given, or its last turn began."""
    renewed: float
    """When it was renewed last."""
    next_renewal: float
    """When that is to be done again."""


@dataclass(frozen=True, slots=True)
class Acquire:
    """Ask for up to so many slots more."""

    slots: int


@dataclass(frozen=True, slots=True)
class Release:
    """Give back a lease, which has been taken out."""

    lease: Lease
    is_turn: bool = False
    """Whether that is to let others go first."""


@dataclass(frozen=True, slots=True)
class Renew:
    """Renew a lease."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Turn:
    """See whether others may wait for a lease that has been held for long."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Lose:
    """Forget a lease, which has been taken out: it could not be renewed in time."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing for so many seconds, or until something changes."""

    seconds: float


@dataclass(frozen=True, slots=True)
class End:
    """Nothing is left to be done."""


Step = Acquire | Release | Renew | Turn | Lose | Wait | End

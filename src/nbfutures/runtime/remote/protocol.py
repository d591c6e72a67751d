"""What the kernel tells a lane in another process when it starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbfutures.runtime.remote.surroundings import Surroundings

__all__ = ["LaneSettings"]


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """How a lane runs its items, and what it needs of the kernel's surroundings."""

    worker: str
    """Name of the worker, for the outcomes."""
    mark: str | None
    """Path of the file in which the worker notes what it runs; `None` if the kernel cannot read it."""
    surroundings: Surroundings | None
    """What to take over from the kernel; `None` where the process is not the lane's own."""
    is_async: bool
    slots: int
    """Coroutines at once."""
    retries: int
    retry_delay: float
    """Seconds."""
    timeout: float | None
    """Seconds."""
    fail_fast: bool
    queued: float
    """When the items were submitted, in seconds since the epoch."""

"""What a job says that waits for a slot."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nbfutures.model.limits import LimitRecord

__all__ = ["waiting_for"]


def waiting_for(limits: Iterable[LimitRecord]) -> str:
    """Return what to say where a job waits for a slot: which limit is full; nothing if none is."""
    full = next((one for one in limits if one.is_active and one.slots <= one.in_use), None)
    return "" if full is None else f"waiting for a slot of {full.name!r} ({full.in_use:,} of {full.slots:,} in use)"

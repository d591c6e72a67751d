"""What a job says that waits for a slot."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nbfutures.model.limits import LimitRecord

__all__ = ["waiting_for", "waiting_for_slot"]


def waiting_for(limits: Iterable[LimitRecord]) -> str:
    """Return what to say where a job waits for a slot: which limit is full; nothing if none is."""
    full = next((one for one in limits if one.is_active and one.slots <= one.in_use), None)
    return "" if full is None else waiting_for_slot(full)


def waiting_for_slot(limit: LimitRecord) -> str:
    """Return what to say where a job waits for a slot of this limit."""
    what = f"the tag {limit.name!r}" if limit.is_tag else repr(limit.name)
    return f"waiting for a slot of {what} ({limit.in_use:,} of {limit.slots:,} in use)"

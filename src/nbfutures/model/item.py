"""One call: its index and its arguments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Item", "ItemSource"]


@dataclass(frozen=True, slots=True)
class Item:
    """One call of the job's function."""

    index: int
    """Position in the job, from 0."""
    arguments: Mapping[str, Any]
    """Parameter name to argument, without the function's own defaults."""


class ItemSource(Protocol):
    """Where a job's items come from; an item is made when it is asked for, so that a million cost nothing."""

    def __len__(self) -> int:
        """Return the number of items."""
        ...

    def item(self, index: int) -> Item:
        """Return the item at `index`."""
        ...

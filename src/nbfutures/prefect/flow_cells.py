"""Tasks that a `%%flow` cell defines: the notebook does not know them, so that they cannot be served."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FLOW_CELL", "is_of_a_flow_cell"]

FLOW_CELL = "__flow_cell__"
"""Among the variables of such a cell."""


def is_of_a_flow_cell(fn: Callable[..., Any]) -> bool:
    """Tell whether a `%%flow` cell has defined a function."""
    return FLOW_CELL in getattr(inspect.unwrap(fn), "__globals__", {})

"""What an object of the user's has, asked so that it cannot answer: a client or a mock has every attribute."""

from __future__ import annotations

import inspect
from typing import Any

__all__ = ["own_attribute", "type_has"]

_NOTHING = object()


def type_has(kind: type, name: str) -> bool:
    """Tell whether a type has something of this name that is not `None`, which says for a method that there is none."""
    return any(vars(base).get(name) is not None for base in kind.__mro__)


def own_attribute(value: Any, name: str) -> Any:
    """Return an attribute that an object really has, else `None`, without asking its `__getattr__`."""
    try:
        return getattr(value, name) if inspect.getattr_static(value, name, _NOTHING) is not _NOTHING else None
    except Exception:  # a property, or `__getattribute__`
        return None

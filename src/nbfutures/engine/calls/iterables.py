"""What `map` maps over, and what it gives to every call as one thing; the table in the README says the same.

It is asked of a value's type: to call `iter` may ask a database, and a mock has every method.
"""

from __future__ import annotations

import array
import enum
import inspect
import io
import os
import sys
import types
import warnings
from collections import UserString, deque
from collections.abc import Iterator, Mapping, MappingView, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from nbfutures.engine.calls.prefect_types import stands_for_futures
from nbfutures.model.attributes import type_has

__all__ = ["Taken", "how_taken", "is_iterable_type", "is_mapped_alone", "warn_of"]

_ONE_THING = (str, bytes, bytearray, memoryview, UserString, io.IOBase, os.PathLike, enum.Enum, types.GenericAlias)
_COLLECTIONS = (list, tuple, AbstractSet, range, deque, array.array, Iterator, MappingView, Sequence)
_RECORDS = ("__dataclass_fields__", "__attrs_attrs__", "__struct_fields__", "n_sequence_fields")
"""What the types of dataclasses, of attrs, of msgspec and of the likes of `os.stat_result` have."""
_ALIEN = frozenset(
    {
        ("pydantic", "BaseModel"),
        ("unittest", "NonCallableMock"),
        ("mock", "NonCallableMock"),
        ("tempfile", "_TemporaryFileWrapper"),
    }
)
"""Top-level module and class of other things that are one, though they can be iterated over."""


class Taken(enum.Enum):
    """How an argument of `map` is taken."""

    WHOLE = enum.auto()
    """Every call receives it."""
    MAPPED = enum.auto()
    """One element for each call."""
    LIKELY_MAPPED = enum.auto()
    """The same; but its type is not known as a collection, so that it may be meant as one thing."""
    LIKELY_WHOLE = enum.auto()
    """Every call receives it if there is something else to map over; else it is mapped over."""


def how_taken(value: Any) -> Taken:
    """Tell how an argument of `map` is taken."""
    kind = type(value)
    if issubclass(kind, types.AsyncGeneratorType) or stands_for_futures(kind):
        return Taken.MAPPED
    if not is_iterable_type(kind) or _is_one_thing(kind):
        return Taken.WHOLE
    # Classes with members, as enumerations; tables; and what only answers to `[0]`, `[1]`, which may never end.
    if (
        issubclass(kind, type | Mapping)
        or _is_table(kind)
        or not (type_has(kind, "__iter__") or type_has(kind, "__len__"))
    ):
        return Taken.LIKELY_WHOLE
    if issubclass(kind, _COLLECTIONS):
        return Taken.MAPPED
    if type_has(kind, "__array__"):
        return Taken.WHOLE if _shape(value) == () else Taken.MAPPED
    return Taken.LIKELY_MAPPED


def is_mapped_alone(value: Any) -> bool:
    """Tell whether `map` maps over a value if there is nothing else."""
    return how_taken(value) is not Taken.WHOLE


def warn_of(name: str, value: Any, *, is_mapped: bool, length: int, is_alone: bool) -> None:
    """Warn where an argument could be meant in two ways, and say which was taken.

    Args:
        name: The argument.
        value: What was given.
        is_mapped: Whether it is mapped over.
        length: How many items there are.
        is_alone: Whether nothing else is mapped over.
    """
    taken, kind = how_taken(value), type(value).__name__
    if taken is Taken.LIKELY_WHOLE and is_mapped:
        if _is_table(type(value)):
            told = (
                f"{name} is a {kind}, and iterating over one gives its column names, for Prefect too. For its rows, "
                f"map over {name}.itertuples(index=False), or over columns: f({name}['a'], {name}['b'])."
            )
        elif isinstance(value, Mapping):
            told = (
                f"{name} is a {kind}: its keys are mapped over. Write list({name}), or {name}.values(); for both, "
                f"nbf.starmap(f, {name}.items())."
            )
        else:
            return
    elif taken is Taken.LIKELY_WHOLE and length in _lengths(value):
        told = (
            f"{name} ({kind}) is given to every call as a whole, though its length fits that of the others. To say "
            f"that this is right: nbf.unmapped({name}); to map over it: list({name})."
        )
    elif taken is Taken.LIKELY_MAPPED and is_mapped and not is_alone:
        told = (
            f"{name} ({kind}) is mapped over, since it can be iterated over and its length fits that of the others. "
            f"To give it to every call as a whole: nbf.unmapped({name}); to say that this is right: list({name})."
        )
    else:
        return
    warnings.warn(told, stacklevel=_frames_to_the_user())


def is_iterable_type(kind: type) -> bool:
    """Tell whether values of a type can be iterated over, as far as the type tells."""
    if type_has(kind, "__iter__"):
        return True
    # Python's older protocol; `__iter__ = None` says that it does not hold.
    return type_has(kind, "__getitem__") and inspect.getattr_static(kind, "__iter__", True) is True


def _is_one_thing(kind: type) -> bool:
    if issubclass(kind, _ONE_THING) or kind.__module__ == "typing":
        return True
    if any(type_has(kind, name) for name in _RECORDS) or (issubclass(kind, tuple) and type_has(kind, "_fields")):
        return True
    if type_has(kind, "read") and type_has(kind, "readline"):
        return True
    return any((base.__module__.partition(".")[0], base.__name__) in _ALIEN for base in kind.__mro__)


def _is_table(kind: type) -> bool:
    return any(base.__name__ in {"DataFrame", "LazyFrame"} for base in kind.__mro__)


def _shape(value: Any) -> Any:
    return value.shape if type_has(type(value), "shape") else None


def _lengths(value: Any) -> set[int]:
    """Return what may be taken for a value's number of elements: of a table, its columns and its rows."""
    try:
        shape = _shape(value) if _is_table(type(value)) else None
        return {*shape} if isinstance(shape, tuple) else {len(value)}
    except Exception:  # of the user's class
        return set()


def _frames_to_the_user() -> int:
    """Return how far up the stack the caller of this package is, for `warnings.warn` in the function that asks."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith("nbfutures."):
        frame, level = frame.f_back, level + 1
    return level

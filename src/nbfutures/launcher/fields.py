"""What a form asks for: one field for each parameter, read from the signature and the type hints."""

from __future__ import annotations

import collections.abc
import enum
import inspect
import numbers
import os
import types
import typing
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

from nbfutures.engine.calls.work import function_of, is_prefect_task, name_of
from nbfutures.errors import MapArgumentsError
from nbfutures.views.clean import short_repr

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Field", "Kind", "Target", "is_alike", "read_target"]

EMPTY = inspect.Parameter.empty
_LISTS = (list, tuple, set, frozenset, collections.abc.Iterable, collections.abc.Iterator)


class Kind(enum.Enum):
    """What a field takes as one value; the value is what people call it."""

    INTEGER = "whole number"
    NUMBER = "number"
    BOOLEAN = "yes or no"
    TEXT = "text"
    PATH = "path"
    CHOICE = "choice"
    LIST = "list"
    TABLE = "DataFrame"
    ANY = "any value"

    @property
    def is_expression(self) -> bool:
        """Whether one value is written as Python: a number, a variable's name, or an expression."""
        return self in {Kind.INTEGER, Kind.NUMBER, Kind.LIST, Kind.TABLE, Kind.ANY}


_EXACT: dict[type, Kind] = {
    bool: Kind.BOOLEAN,
    int: Kind.INTEGER,
    float: Kind.NUMBER,
    str: Kind.TEXT,
    os.PathLike: Kind.PATH,
    numbers.Integral: Kind.INTEGER,
    numbers.Real: Kind.NUMBER,
    numbers.Number: Kind.NUMBER,
}
"""Of a class derived from one of these a form could not write the values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """What a form asks for."""

    name: str
    """The parameter's name."""
    kind: Kind
    """What it takes as one value."""
    choices: tuple[Any, ...] = ()
    """The values of a choice."""
    default: Any = EMPTY
    """The parameter's default; `inspect.Parameter.empty` if it has none."""
    is_optional: bool = False
    """Whether `None` is a value of its type."""
    is_guess: bool = False
    """Whether only the default speaks for the type, so that a value of another type is not wrong."""
    is_positional_only: bool = False
    is_keyword_only: bool = False
    expected: type | None = None
    """The class that the hint names, for a DataFrame."""

    @property
    def is_required(self) -> bool:
        """Whether the call needs it."""
        return self.default is EMPTY


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a form submits."""

    target: Any
    """The function, task or flow as it was given."""
    name: str
    """What people call it."""
    sort: str
    """function, async function, Prefect task or Prefect flow."""
    about: str
    """The first line of its docstring; empty if it has none."""
    fields: tuple[Field, ...]
    """In the order of the signature."""
    left_out: tuple[str, ...]
    """Parameters such as `*args`, which a form does not offer."""

    @property
    def is_flow(self) -> bool:
        """Whether it is run as a flow, which has no items of its own."""
        return self.sort == "Prefect flow"


def read_target(target: Any) -> Target:
    """Read what a form for `target` asks for.

    Args:
        target: A function, a Prefect task or a Prefect flow.

    Returns:
        Its name, what it is, and its fields.

    Raises:
        MapArgumentsError: If it is none of them, or has no signature.
    """
    fn = function_of(target)
    if not callable(fn):
        raise MapArgumentsError(
            f"launcher() takes a function, a Prefect task or a flow, got {type(target).__name__}. "
            f"Write nbf.launcher(my_function) without calling it, or nbf.launcher() to choose one of the notebook's."
        )
    name = name_of(target)
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (ValueError, TypeError):
        raise MapArgumentsError(
            f"{name}() tells no parameter names, so that there is nothing to make a form of. "
            f"Wrap it: def call(x): return {name}(x); then nbf.launcher(call)."
        ) from None
    variadic = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return Target(
        target=target,
        name=name,
        sort=_sort(target, fn),
        about=next(iter((inspect.getdoc(fn) or "").strip().splitlines()), "") if inspect.isroutine(fn) else "",
        fields=tuple(_field(fn, parameter) for parameter in parameters if parameter.kind not in variadic),
        left_out=tuple(
            variadic[parameter.kind] + parameter.name for parameter in parameters if parameter.kind in variadic
        ),
    )


def is_alike(one: Target, other: Target) -> bool:
    """Tell whether one form fits both: the same fields, with the same choices and defaults."""
    return one.sort == other.sort and _outline(one) == _outline(other)


def _outline(target: Target) -> list[Any]:
    # Defaults by their words: values such as DataFrames cannot be compared.
    return [
        (
            field.name,
            field.kind,
            field.choices,
            field.is_optional,
            field.is_guess,
            field.is_positional_only,
            field.is_keyword_only,
            field.is_required or short_repr(field.default),
        )
        for field in target.fields
    ]


def _sort(target: Any, fn: Callable[..., Any]) -> str:
    if is_prefect_task(target):
        return "Prefect task"
    if fn is not target:
        return "Prefect flow"
    return "async function" if inspect.iscoroutinefunction(fn) else "function"


def _field(fn: Callable[..., Any], parameter: inspect.Parameter) -> Field:
    found = _read_hint(_hint(fn, parameter), parameter.default)
    default = parameter.default
    if found.kind is Kind.BOOLEAN and (found.is_optional or (default is not EMPTY and not isinstance(default, bool))):
        # A box to tick has two states.
        found = found._replace(kind=Kind.CHOICE, choices=(True, False))
    choices = found.choices
    if found.kind is Kind.CHOICE and found.is_optional and None not in choices:
        choices = (*choices, None)
    return Field(
        name=parameter.name,
        kind=found.kind,
        choices=choices,
        default=default,
        is_optional=found.is_optional,
        is_guess=parameter.annotation is EMPTY,
        is_positional_only=parameter.kind is inspect.Parameter.POSITIONAL_ONLY,
        is_keyword_only=parameter.kind is inspect.Parameter.KEYWORD_ONLY,
        expected=found.expected,
    )


def _hint(fn: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """Return the type hint of a parameter, or `EMPTY` if there is none or it cannot be evaluated."""
    if parameter.annotation is EMPTY:
        return EMPTY
    # One at a time, so that one name that is not defined does not cost the others their types.
    carrier = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    called = inspect.unwrap(getattr(fn, "func", fn))
    names = getattr(called, "__globals__", None)
    if names is None:
        # An object with `__call__`.
        names = getattr(getattr(type(called), "__call__", None), "__globals__", {})  # noqa: B004 - its names are wanted
    try:
        return typing.get_type_hints(carrier, globalns=names)[parameter.name]
    except Exception:  # whatever evaluating a text may raise
        return EMPTY


class _Found(NamedTuple):
    """What a hint says."""

    kind: Kind
    choices: tuple[Any, ...] = ()
    is_optional: bool = False
    expected: type | None = None


def _read_hint(hint: Any, default: Any) -> _Found:
    while True:
        # NewType, and `type X = ...` of Python 3.12.
        inner = getattr(hint, "__supertype__", getattr(hint, "__value__", EMPTY) if _is_alias(hint) else EMPTY)
        if inner is EMPTY:
            break
        hint = inner
    if hint is EMPTY or hint is Any:
        return _read_default(default) if hint is EMPTY else _Found(Kind.ANY)
    origin = typing.get_origin(hint)
    if origin in {typing.Union, types.UnionType}:
        return _read_union(typing.get_args(hint))
    if origin is typing.Literal:
        choices = tuple(typing.get_args(hint))
        return _Found(Kind.CHOICE, choices, is_optional=None in choices)
    kind = origin or hint
    return _read_class(kind) if isinstance(kind, type) else _Found(Kind.ANY)


def _is_alias(hint: Any) -> bool:
    return type(hint).__name__ == "TypeAliasType"


def _read_default(default: Any) -> _Found:
    """Guess from the default of a parameter without a type hint."""
    if default is EMPTY:
        return _Found(Kind.ANY)
    if default is None:
        return _Found(Kind.ANY, is_optional=True)
    found = _read_class(type(default))
    # A default of 1 does not say that 1.5 is wrong, and a list not that a Series is.
    kinds = {Kind.INTEGER: Kind.NUMBER, Kind.LIST: Kind.ANY, Kind.TABLE: Kind.ANY}
    return found._replace(kind=kinds.get(found.kind, found.kind))


def _read_union(members: tuple[Any, ...]) -> _Found:
    found = [_read_hint(member, EMPTY) for member in members if member is not types.NoneType]
    is_optional = len(found) < len(members) or any(one.is_optional for one in found)
    kinds = {one.kind for one in found}
    if len(found) == 1:
        return found[0]._replace(is_optional=is_optional)
    if kinds == {Kind.CHOICE}:
        return _Found(Kind.CHOICE, tuple(choice for one in found for choice in one.choices), is_optional)
    if kinds <= {Kind.INTEGER, Kind.NUMBER}:
        return _Found(Kind.NUMBER, (), is_optional)
    if kinds == {Kind.TEXT, Kind.PATH}:
        return _Found(Kind.PATH, (), is_optional)
    return _Found(kinds.pop() if kinds == {Kind.LIST} else Kind.ANY, (), is_optional)


def _read_class(kind: type) -> _Found:
    if issubclass(kind, enum.Enum):
        members = tuple(kind)
        return _Found(Kind.CHOICE if members else Kind.ANY, members)
    if kind.__name__ == "DataFrame":
        return _Found(Kind.TABLE, expected=kind)
    if issubclass(kind, PurePath):
        return _Found(Kind.PATH)
    if kind in _EXACT:
        return _Found(_EXACT[kind])
    is_list = issubclass(kind, _LISTS) and not issubclass(kind, dict | collections.abc.Mapping | str | bytes)
    return _Found(Kind.LIST if is_list else Kind.ANY)

"""What a notebook's variables are, looked at without running any code of theirs."""

from __future__ import annotations

import ast
import builtins
import enum
import inspect
import numbers
import os
import types
from collections.abc import Sized
from typing import TYPE_CHECKING, Any

from nbfutures.engine.calls.iterables import is_mapped_alone
from nbfutures.engine.calls.work import function_of
from nbfutures.launcher.fields import Field, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["UNKNOWN", "count", "find_targets", "fits", "fitting", "is_same", "peek"]

_COMPARABLE = (bool, int, float, complex, str, bytes, enum.Enum)
_NUMBERS = {Kind.INTEGER, Kind.NUMBER}
_TYPES: dict[Kind, Any] = {
    Kind.INTEGER: numbers.Integral,
    Kind.NUMBER: numbers.Real,
    Kind.BOOLEAN: bool,
    Kind.TEXT: str,
    Kind.PATH: str | os.PathLike,
}
_IPYTHONS = {"In", "Out", "exit", "quit", "open", "get_ipython"}


class _Unknown:
    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Any = _Unknown()
"""Stands for a value that is not known before code runs."""


def peek(text: str, namespace: Mapping[str, Any]) -> Any:
    """Return the value of a name, a literal or a plain `range(...)`; of anything else `UNKNOWN`.

    While people type, nothing runs that could take long or change something.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return UNKNOWN
    if isinstance(tree, ast.Name):
        return namespace.get(tree.id, getattr(builtins, tree.id, UNKNOWN))
    if isinstance(tree, ast.Call):
        return _peek_range(tree, namespace)
    try:
        return ast.literal_eval(tree)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return UNKNOWN


def _peek_range(call: ast.Call, namespace: Mapping[str, Any]) -> Any:
    if not isinstance(call.func, ast.Name) or call.func.id != "range" or "range" in namespace or call.keywords:
        return UNKNOWN
    bounds = [peek(ast.unparse(one), namespace) for one in call.args]
    try:
        return range(*bounds) if all(type(one) is int for one in bounds) else UNKNOWN
    except (TypeError, ValueError):
        return UNKNOWN


def count(value: Any) -> int | None:
    """Return how many elements there are to map over, or `None` if that is not known."""
    if not isinstance(value, Sized):
        return None
    try:
        return len(value)
    except Exception:  # a class of the user's may raise anything
        return None


def fitting(field: Field, namespace: Mapping[str, Any], *, is_mapped: bool) -> tuple[str, ...]:
    """Return the names of the variables that a field can take, in alphabetical order."""
    return tuple(sorted(name for name, value in _variables(namespace) if fits(field, value, is_mapped=is_mapped)))


def find_targets(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the notebook has to submit by name: its own functions, and Prefect tasks and flows."""
    home = namespace.get("__name__", "__main__")
    found = {}
    for name, value in _variables(namespace, functions=True):
        is_own = isinstance(value, types.FunctionType) and value.__module__ == home
        if is_own or function_of(value) is not value:
            found[name] = value
    return dict(sorted(found.items()))


def _variables(namespace: Mapping[str, Any], *, functions: bool = False) -> Iterator[tuple[str, Any]]:
    # A copy: another thread may be running a cell.
    for name, value in list(namespace.items()):
        if name.startswith("_") or name in _IPYTHONS or not name.isidentifier() or inspect.ismodule(value):
            continue
        is_callable = isinstance(value, type) or inspect.isroutine(value) or function_of(value) is not value
        if is_callable == functions:
            yield name, value


def fits(field: Field, value: Any, *, is_mapped: bool = False) -> bool:
    """Tell whether a value is of the type that a field takes, as one value or to map over."""
    is_list = is_mapped_alone(value)
    if is_mapped:
        return is_list
    if field.kind is Kind.CHOICE:
        return any(is_same(value, one) for one in field.choices)
    if field.kind is Kind.LIST:
        return is_list
    kinds = _TYPES.get(field.kind, field.expected or object)
    return isinstance(value, kinds) and (field.kind not in _NUMBERS or not isinstance(value, bool))


def is_same(one: Any, other: Any) -> bool:
    """Tell whether two values of builtin types or of an Enum are the same, type included: `True` is not `1`."""
    if one is other:
        return True
    if type(one) is not type(other) or not isinstance(one, _COMPARABLE):
        return False
    return bool(one == other)

"""What people enter in a field: read as code and as a value, or refused with a reason in words."""

from __future__ import annotations

import ast
import builtins
import difflib
import enum
import inspect
import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbfutures.engine.calls.futures_in import find_futures
from nbfutures.engine.calls.iterables import is_mapped_alone
from nbfutures.engine.calls.prefect_types import stands_for_futures
from nbfutures.launcher.fields import Field, Kind
from nbfutures.launcher.references import refer_to
from nbfutures.launcher.variables import UNKNOWN, fits, is_same, peek
from nbfutures.views.clean import error_message, error_name, one_line, plain, short_repr

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Argument", "EntryError", "Mode", "evaluate", "initial_entry", "read_entry", "told_default"]

_LITERALS = (bool, int, float, complex, str, bytes, list, tuple, dict, set)
_SCALARS = {bool, int, float, complex, str, bytes, type(None)}
_LONGEST_DEFAULT = 60  # characters


class Mode(enum.Enum):
    """How a field is filled in; the value is what people read."""

    VALUE = "one value"
    EXPRESSION = "a variable"
    MAP = "map over"


class EntryError(Exception):
    """What was entered cannot be used; the message says why, and is shown at the field.

    Args:
        message: What to read at the field.
        field: The field's name, if it is another than the one that was read.
    """

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True, eq=False)  # values such as DataFrames cannot be compared
class Argument:
    """A field that has been filled in."""

    field: Field
    code: str | None
    """Python for it, or `None` if the notebook has no name for it."""
    imports: tuple[str, ...] = ()
    """Statements that the code needs first."""
    is_mapped: bool = False
    """Whether its elements are the items."""
    is_scalar: bool = False
    """Whether every item receives it as it stands, also without `unmapped`."""
    value: Any = UNKNOWN
    """The value, or `UNKNOWN` before the code has been evaluated."""


def initial_entry(field: Field) -> Any:
    """Return what a field holds at first: a choice's value, a box's state, or a text."""
    if field.kind is Kind.CHOICE:
        return next((one for one in field.choices if is_same(one, field.default)), UNKNOWN)
    if field.kind is Kind.BOOLEAN:
        return field.default is True
    if field.default is inspect.Parameter.empty or field.default is None:
        return ""
    if field.kind is Kind.TEXT:
        return field.default if isinstance(field.default, str) else ""
    if field.kind is Kind.PATH:
        return str(field.default)
    return _literal(field.default)


def read_entry(field: Field, mode: Mode, entry: Any, namespace: Mapping[str, Any]) -> Argument | None:
    """Read what was entered, without running any of it.

    Args:
        field: The field.
        mode: How it is filled in.
        entry: A choice's value, a box's state, or a text.
        namespace: The notebook's variables.

    Returns:
        The argument; `None` if it is left at its default.

    Raises:
        EntryError: If a value is missing, is no Python, or names a variable that is not there.
    """
    if mode is Mode.VALUE and not field.is_required and is_same(entry, initial_entry(field)):
        return None
    if mode is Mode.VALUE and not field.kind.is_expression:
        return _read_direct(field, entry, namespace)
    text = str(entry).strip()
    if not text:
        if mode is Mode.VALUE and not field.is_required:
            return None
        if mode is Mode.VALUE and field.is_optional:
            return Argument(field, "None", is_scalar=True, value=None)
        raise EntryError(_MISSING[mode] if mode is not Mode.VALUE else f"Needed: {_WANTED[field.kind]}.")
    return _read_expression(field, mode, text, namespace)


def evaluate(argument: Argument, namespace: dict[str, Any]) -> Argument:
    """Return the argument with its value, which is checked; its code is evaluated once.

    Raises:
        EntryError: If the code raises, or its value is none for this field.
    """
    if argument.value is not UNKNOWN:
        return argument
    assert argument.code is not None
    try:
        value = eval(compile(argument.code, f"<{argument.field.name}>", "eval"), namespace)  # noqa: S307 - the user's own code, as in a cell
    except Exception as error:
        raise EntryError(f"{error_name(error)}: {error_message(error)}") from None
    check_value(argument.field, value, is_mapped=argument.is_mapped)
    return replace(argument, value=value)


def check_value(field: Field, value: Any, *, is_mapped: bool) -> None:
    """Raise `EntryError` if a value cannot be what the field asks for. What stands for it, as a future does, can."""
    if _is_future(value):
        return
    found = f"{short_repr(value, 40)} is of type {plain(type(value).__name__, 40)}"
    if is_mapped:
        if isinstance(value, str | bytes | io.IOBase):
            raise EntryError(f"{found}, which is one value. Map over a list, such as [{short_repr(value, 20)}].")
        if not is_mapped_alone(value):
            raise EntryError(f"{found}, which is one value. Map over a list, or choose “one value”.")
        return
    is_none = value is None and (field.is_optional or field.default is None)
    if is_none or field.is_guess or fits(field, value):
        return
    raise EntryError(f"{found}. Needed: {_WANTED[field.kind]}.")


def _is_future(value: Any) -> bool:
    if stands_for_futures(type(value)):
        return True
    # What is inside of a list is not looked at: it may be long.
    return not isinstance(value, list | tuple | set | frozenset | dict) and bool(find_futures(value))


_MISSING = {
    Mode.EXPRESSION: "Needed: the name of a variable, or an expression.",
    Mode.MAP: "Needed: what to map over, such as a list's name or range(10).",
}
_WANTED = {
    Kind.INTEGER: "a whole number",
    Kind.NUMBER: "a number",
    Kind.BOOLEAN: "True or False",
    Kind.TEXT: "a text",
    Kind.PATH: "a path",
    Kind.CHOICE: "one of the choices",
    Kind.LIST: "a list, by the name of its variable",
    Kind.TABLE: "a DataFrame, by the name of its variable",
    Kind.ANY: "a value: a variable's name or an expression, with quotes around a text",
}


def _read_direct(field: Field, entry: Any, namespace: Mapping[str, Any]) -> Argument:
    """Read a value that is no Python text: a choice, a box, a text, a path."""
    if entry is UNKNOWN:
        raise EntryError("Needed: choose one.")
    if entry == "" and isinstance(entry, str) and field.kind in {Kind.TEXT, Kind.PATH}:
        if field.kind is Kind.PATH and not field.is_required:
            raise EntryError("Needed: a path.")
        if field.is_required and field.is_optional:
            return Argument(field, "None", is_scalar=True, value=None)
        if field.is_required:
            empty = " For an empty one choose “a variable” and write ''." if field.kind is Kind.TEXT else ""
            raise EntryError(f"Needed: {_WANTED[field.kind]}.{empty}")
    if field.kind is Kind.PATH:
        named = refer_to(Path, namespace)
        assert named is not None  # it can always be imported
        return Argument(field, f"{named.code}({entry!r})", named.imports, is_scalar=True, value=Path(entry))
    if isinstance(entry, enum.Enum):
        named = refer_to(type(entry), namespace)
        is_scalar = not is_mapped_alone(entry)
        member = f".{entry.name}" if entry.name and entry.name.isidentifier() else f"({entry.value!r})"
        code = None if named is None else named.code + member
        return Argument(field, code, () if named is None else named.imports, is_scalar=is_scalar, value=entry)
    return Argument(field, repr(entry), is_scalar=True, value=entry)


def _read_expression(field: Field, mode: Mode, text: str, namespace: Mapping[str, Any]) -> Argument:
    try:
        tree = ast.parse(text, mode="eval")
        compile(tree, "<entry>", "eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        why = error.msg if isinstance(error, SyntaxError) else str(error)
        raise EntryError(f"This is no Python expression: {why}.") from None
    if isinstance(tree.body, ast.Name):
        _check_name(tree.body.id, namespace)
    is_mapped = mode is Mode.MAP
    known = peek(text, namespace)
    if known is not UNKNOWN:
        check_value(field, known, is_mapped=is_mapped)
    # Known to be no iterable, and no future: a job would be mapped over what comes of one.
    is_scalar = type(known) in _SCALARS
    return Argument(field, _as_argument(text, tree), is_mapped=is_mapped, is_scalar=is_scalar)


def _as_argument(text: str, tree: ast.Expression) -> str:
    """Return the text if it can stand between a call's parentheses as it is, else the same written anew."""
    try:
        call = ast.parse(f"f({text})", mode="eval").body
    except SyntaxError:
        call = None
    stands = isinstance(call, ast.Call) and not call.keywords and "\n" not in text
    if isinstance(call, ast.Call) and stands and [ast.dump(one) for one in call.args] == [ast.dump(tree.body)]:
        return text
    return ast.unparse(tree.body)


def _check_name(name: str, namespace: Mapping[str, Any]) -> None:
    if name in namespace or hasattr(builtins, name):
        return
    close = difflib.get_close_matches(name, [one for one in namespace if not one.startswith("_")], n=1)
    advice = f"did you mean {close[0]}?" if close else f"for a text write {name!r}, with quotes."
    raise EntryError(f"There is no variable {name}; {advice}")


def _literal(value: Any) -> str:
    """Return the Python for a value, if it is short and means the same; else nothing."""
    if type(value) not in _LITERALS:
        return ""
    try:
        text = repr(value)
        return text if len(text) <= _LONGEST_DEFAULT and ast.literal_eval(text) == value else ""
    except Exception:  # what is inside may have any repr
        return ""


def told_default(field: Field) -> str:
    """Return the words for what is used if a field is left empty; nothing if it is required."""
    if field.is_required:
        return "None if left empty" if field.is_optional else ""
    return one_line(short_repr(field.default, 40))

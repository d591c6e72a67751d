"""What goes between the kernel and a worker process, as bytes."""

from __future__ import annotations

import functools
import itertools
import operator
import pickle
from types import CodeType
from typing import TYPE_CHECKING, Any

import cloudpickle
import tblib.pickling_support

from nbfutures.errors import PicklingError
from nbfutures.model.attributes import own_attribute
from nbfutures.model.outcome import ATOMS, AtomicOutcome, Outcome, OutcomeKind
from nbfutures.runtime.remote.weighing import weigh

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nbfutures.model.item import Item
    from nbfutures.runtime.calls.signatures import Layout

__all__ = [
    "pack",
    "pack_function",
    "pack_outcomes",
    "unpack",
    "unpack_outcomes",
    "unpicklable_argument",
    "unreadable_value",
    "unsendable_function",
    "unsendable_item",
    "unsendable_value",
    "words",
]

_SHOWN = 200
_FIELDS = [(name, operator.attrgetter(name)) for name in Outcome.__struct_fields__]
_ERROR, _VALUE = (Outcome.__struct_fields__.index(name) for name in ("error", "value"))
_DIFFERENT = frozenset({"index", "value", "started", "ended", "cpu_seconds"})


def pack(message: Any) -> bytes:
    """Return a message as bytes: also functions and classes that are defined in a notebook."""
    made: bytes = cloudpickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return made


def unpack(data: bytes) -> Any:
    """Return the message."""
    return pickle.loads(data)  # noqa: S301 - from our own worker, over a connection that asks for a key


def pack_function(fn: Callable[..., Any], statics: Mapping[str, Any], layout: Layout, name: str) -> bytes:
    """Return a function, and the arguments that all its calls have in common, as bytes.

    Args:
        fn: The function.
        statics: Parameter name to argument.
        layout: How the arguments are passed.
        name: What people call the function.

    Raises:
        PicklingError: If something cannot be sent; the message names the variable or the argument.
    """
    try:
        return pack((fn, dict(statics), layout))
    except Exception as error:
        raise unsendable_function(fn, statics, name, error) from None


def unsendable_function(
    fn: Callable[..., Any], statics: Mapping[str, Any], name: str, error: Exception
) -> PicklingError:
    """Return the error of a function that cannot be sent, naming the variable or the argument that is to blame.

    Args:
        fn: The function.
        statics: Parameter name to argument, of those that all its calls have in common.
        name: What people call the function.
        error: Why not.
    """
    for argument, value in statics.items():
        if not _can_be_packed(value):
            return _unsendable(f"the argument {argument!r} of {name}", error, _GIVE)
    guilty = _guilty_variable(fn, name, set())
    what = f"the variable {guilty[0]!r} that {guilty[1]} uses" if guilty else name
    return _unsendable(what, error, "Make it inside the function, or give it as an argument that can be pickled")


def unpicklable_argument(index: int, arguments: Mapping[str, Any]) -> PicklingError | None:
    """Return an error that names the argument of an item that cannot be sent, or `None` if all can."""
    for name, value in arguments.items():
        try:
            weigh(value)
        except Exception as error:
            return _unsendable(f"the argument {name!r} of item {index}", error, _GIVE)
    return None


def unsendable_item(item: Item, error: Exception) -> PicklingError:
    """Return the error of an item that cannot be sent, naming its argument where one is to blame."""
    found = unpicklable_argument(item.index, item.arguments)
    return found or _told(f"Cannot send item {item.index} to another process: {words(error)}", "")


def pack_outcomes(outcomes: list[Outcome]) -> bytes:
    """Return outcomes as bytes; one that cannot be sent is told as failed."""
    told = [_with_picklable_error(one) if one.error is not None else one for one in outcomes]
    try:
        return pack(_columns(told))
    except Exception:
        return pack(_columns([_sendable(one) for one in told]))


def unpack_outcomes(data: bytes) -> list[Outcome]:
    """Return the outcomes."""
    columns = [itertools.repeat(what) if is_same else what for is_same, what in unpack(data)]
    return list(map(_kind_of(columns), *columns)) if columns else []


def _kind_of(columns: list[Any]) -> type[Outcome]:
    errors, values = columns[_ERROR], columns[_VALUE]
    if not isinstance(errors, itertools.repeat) or next(errors) is not None:
        return Outcome
    found = [next(values)] if isinstance(values, itertools.repeat) else values
    return AtomicOutcome if ATOMS.issuperset(map(type, found)) else Outcome


def _columns(outcomes: list[Outcome]) -> list[tuple[bool, Any]]:
    """Return each field's values, or the one value where all are the same: half the time of sending the records."""
    if not outcomes:
        return []
    return [
        # The index tells how many there are; values may not be able to be compared.
        (False, column) if name in _DIFFERENT or not _is_same(column) else (True, column[0])
        for name, read in _FIELDS
        for column in (list(map(read, outcomes)),)
    ]


def _is_same(column: list[Any]) -> bool:
    first = column[0]
    return all(map(operator.is_, column, itertools.repeat(first, len(column)))) or (
        type(first) is int and column.count(first) == len(column)
    )


def unsendable_value(index: int, kind: str, error: BaseException) -> PicklingError:
    """Return the error of an item whose value cannot leave its process.

    Args:
        index: The item.
        kind: The value's type, or nothing.
        error: Why not.
    """
    problem = f"Item {index} ran, but its value{kind and f' ({kind})'} cannot be sent back from its process"
    return _told(f"{problem}: {words(error)}", " Return what can be pickled, or use runner='threads'.")


def unreadable_value(index: int, error: BaseException) -> PicklingError:
    """Return the error of an item whose value arrived and cannot be read."""
    return PicklingError(
        f"Item {index} ran, but its value or error cannot be read in the kernel: {words(error)}. Return what can be "
        f"pickled, or use runner='threads'."
    )


def words(error: BaseException) -> str:
    """Return an error's type and text, cut."""
    return f"{type(error).__name__}: {_text(error)}"


_GIVE = "Give what it takes to make it there instead (a path, not an open file)"


def _unsendable(what: str, error: BaseException, advice: str) -> PicklingError:
    return _told(
        f"Cannot send {what} to another process: {words(error)}",
        f" {advice}, or use runner='threads'. Then run job.retry() or a new job.",
    )


def _told(problem: str, advice: str) -> PicklingError:
    made = PicklingError(f"{problem}.{advice}")
    made.problem = problem
    return made


def _can_be_packed(value: Any) -> bool:
    try:
        weigh(value)
    except Exception:
        return False
    return True


def _sendable(outcome: Outcome) -> Outcome:
    try:
        unpack(pack(outcome))
    except Exception as error:
        if outcome.error is not None:
            return _with_other_error(outcome)
        told = unsendable_value(outcome.index, type(outcome.value).__name__, error)
        return outcome.replace(kind=OutcomeKind.FAILED, value=None, error=told)
    return outcome


def _with_picklable_error(outcome: Outcome) -> Outcome:
    """Return an outcome whose error takes its traceback along, as tblib sends it."""
    assert outcome.error is not None
    try:
        tblib.pickling_support.install(outcome.error)
        again = unpack(pack(outcome.error))
        # Some errors come back as something else, such as one that pickles itself by hand.
        return outcome if type(again) is type(outcome.error) else _with_other_error(outcome)
    except Exception:
        return _with_other_error(outcome)


def _with_other_error(outcome: Outcome) -> Outcome:
    """Return an outcome whose error, which cannot be sent, is told in words."""
    error = outcome.error
    assert error is not None
    told = RuntimeError(f"{words(error)} (the error itself cannot be pickled)")
    told.__traceback__ = outcome.traceback
    try:
        tblib.pickling_support.install(told)
        pack(told)
    except Exception:
        return outcome.replace(error=RuntimeError(str(told)), traceback=None)
    return outcome.replace(error=told)


def _guilty_variable(fn: Any, name: str, seen: set[int]) -> tuple[str, str] | None:
    """Return the name of the global or captured variable that cannot be pickled, and of the function that uses it."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    # A global may be a client that has every attribute.
    fn = own_attribute(fn, "__func__") or fn
    code = own_attribute(fn, "__code__")
    if not isinstance(code, CodeType) or id(fn) in seen:
        return None
    seen.add(id(fn))
    namespace = getattr(fn, "__globals__", {})
    used = {one: namespace[one] for one in _names(code) if one in namespace}
    for variable, cell in zip(code.co_freevars, getattr(fn, "__closure__", None) or (), strict=False):
        try:
            used[variable] = cell.cell_contents
        except ValueError:
            continue
    for variable, value in used.items():
        if not _can_be_packed(value):
            return _guilty_variable(value, variable, seen) or (variable, name)
    return None


def _names(code: CodeType) -> list[str]:
    """Return the names that code uses, that of the functions inside it included."""
    found = list(code.co_names)
    for one in code.co_consts:
        if isinstance(one, CodeType):
            found += _names(one)
    return found


def _text(error: BaseException) -> str:
    try:
        return str(error)[:_SHOWN]
    except Exception:
        return "(no text)"

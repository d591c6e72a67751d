"""What goes between the kernel and a worker process, as bytes."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import operator
import pickle
from typing import TYPE_CHECKING, Any

from nbfutures.engine.workers.given import Sealer, cannot_change
from nbfutures.engine.workers.holdings import can_be_packed, unpicklable_part
from nbfutures.engine.workers.pickling import Pickler, in_pieces
from nbfutures.engine.workers.weighing import weigh
from nbfutures.errors import PicklingError
from nbfutures.model.outcome import ATOMS, AtomicOutcome, Outcome, OutcomeKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nbfutures.engine.calls.signatures import Layout
    from nbfutures.model.item import Item

__all__ = [
    "carry",
    "pack",
    "pack_arguments",
    "pack_error",
    "pack_function",
    "pack_outcomes",
    "unpack",
    "unpack_outcomes",
    "unpicklable_argument",
    "unreadable_arguments",
    "unreadable_value",
    "unsendable_function",
    "unsendable_item",
    "unsendable_part",
    "unsendable_value",
    "words",
]


_SHOWN = 200
_FIELDS = [(name, operator.attrgetter(name)) for name in Outcome.__struct_fields__]
_ERROR, _VALUE, _TRACEBACK = (Outcome.__struct_fields__.index(name) for name in ("error", "value", "traceback"))
_DIFFERENT = frozenset({"index", "value", "started", "ended", "cpu_seconds"})


def pack(message: Any) -> bytes:
    """Return a message as bytes: also functions and classes that are defined in a notebook."""
    file = io.BytesIO()
    Pickler(file).dump(message)
    return file.getvalue()


def unpack(data: bytes) -> Any:
    """Return the message."""
    return pickle.loads(data)  # noqa: S301 - from our own worker, over a connection that asks for a key


def pack_function(
    fn: Callable[..., Any], statics: Mapping[str, Any], layout: Layout, name: str, sealer: Sealer
) -> bytes:
    """Return a function, and the arguments that all its calls have in common, as bytes.

    Args:
        fn: The function.
        statics: Parameter name to argument.
        layout: How the arguments are passed.
        name: What people call the function.
        sealer: Keeps the functions and classes that are sent once.

    Raises:
        PicklingError: If something cannot be sent; the message names the variable or the argument.
    """
    call = fn, dict(statics)
    try:
        common: Any = (
            call if cannot_change(fn) and all(map(cannot_change, statics.values())) else sealer.seal_common(call)
        )
        return pack((list(sealer.code), layout, common))
    except Exception as error:
        raise unsendable_function(fn, statics, name, error) from None


def pack_arguments(given: tuple[bool, list[Any]], sealer: Sealer, known: int) -> bytes:
    """Return what calls are given beside what they have in common, as bytes.

    Args:
        given: As `CallWork.sendable_arguments` returns it.
        sealer: Keeps the functions and classes that are sent once.
        known: How many of those the worker has.

    Raises:
        Exception: Whatever pickling it raises; the sealer is as before, then.
    """
    before = len(sealer.code)
    are_positional, rows = given
    try:
        if are_positional:
            sent: list[Any] = list(map(sealer.seal_column, rows))
            is_sealed = any(map(operator.is_not, sent, rows))
        else:
            sent = [dict(zip(row, sealer.seal_column(list(row.values())), strict=True)) for row in rows]
            is_sealed = True
        return pack((sealer.code[known:], is_sealed, are_positional, sent))
    except BaseException:
        sealer.cut(before)
        raise


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
        if not can_be_packed(value):
            return _unsendable(unpicklable_part(value, f"the argument {argument!r} of {name}"), error, _GIVE)
    guilty = unpicklable_part(fn, name)
    return _unsendable(guilty, error, _LEAVE if "the attribute" in guilty and "of the class" not in guilty else _MAKE)


def unpicklable_argument(index: int, arguments: Mapping[str, Any]) -> PicklingError | None:
    """Return an error that names the argument of an item that cannot be sent, or `None` if all can."""
    for name, value in arguments.items():
        try:
            weigh(value)
        except Exception as error:
            return _unsendable(unpicklable_part(value, f"the argument {name!r} of item {index}"), error, _GIVE)
    return None


def unsendable_item(item: Item, error: Exception) -> PicklingError:
    """Return the error of an item that cannot be sent, naming its argument where one is to blame."""
    found = unpicklable_argument(item.index, item.arguments)
    return found or _told(f"Cannot send item {item.index} to another process: {words(error)}", "")


def pack_outcomes(outcomes: list[Outcome], *, is_careful: bool = False) -> bytes:
    """Return outcomes as bytes; one whose value cannot be sent is told as failed.

    Args:
        outcomes: The outcomes.
        is_careful: Whether errors that can be sent could not be read.
    """
    if not is_careful:
        # It is the user's code that says how values are pickled: it may raise anything.
        with contextlib.suppress(BaseException):
            return pack(_columns(outcomes))
    return pack(_columns([_sendable(one, is_careful=is_careful) for one in outcomes]))


def pack_error(error: BaseException | None, *, is_careful: bool = False) -> bytes:
    """Return an error as bytes, as much of it as can be sent.

    Args:
        error: The error.
        is_careful: Whether it can be sent, but could not be read.
    """
    if not is_careful:
        with contextlib.suppress(BaseException):
            return pack(error)
    return pack(in_pieces(error, pack) if error is not None else None)


def unpack_outcomes(data: bytes) -> list[Outcome]:
    """Return the outcomes."""
    columns = [itertools.repeat(what) if is_same else what for is_same, what in unpack(data)]
    if not columns:
        return []
    errors = columns[_ERROR]
    if isinstance(errors, itertools.repeat):
        return list(map(_kind_of(columns), *columns))
    # Errors take it along.
    columns[_TRACEBACK] = [error.__traceback__ if error is not None else None for error in errors]
    return list(map(Outcome, *columns))


def _kind_of(columns: list[Any]) -> type[Outcome]:
    values = columns[_VALUE]
    found = [next(values)] if isinstance(values, itertools.repeat) else values
    return AtomicOutcome if ATOMS.issuperset(map(type, found)) else Outcome


def _columns(outcomes: list[Outcome]) -> list[tuple[bool, Any]]:
    """Return each field's values, or the one value where all are the same: half the time of sending the records."""
    if not outcomes:
        return []
    columns = [
        # The index tells how many there are; values may not be able to be compared.
        (False, column) if name in _DIFFERENT or not _is_same(column) else (True, column[0])
        for name, read in _FIELDS
        for column in (list(map(read, outcomes)),)
    ]
    is_same, errors = columns[_ERROR]
    if is_same and errors is not None:
        columns[_ERROR] = (False, [errors] * len(outcomes))
    columns[_TRACEBACK] = (True, None)
    return columns


def _is_same(column: list[Any]) -> bool:
    first = column[0]
    return all(map(operator.is_, column, itertools.repeat(first, len(column)))) or (
        type(first) is int and column.count(first) == len(column)
    )


def unsendable_value(index: int, kind: str, error: BaseException, part: str = "") -> PicklingError:
    """Return the error of an item whose value cannot leave its process.

    Args:
        index: The item.
        kind: The value's type, or nothing.
        error: Why not.
        part: Words for the part of the value that is to blame, where that is known.
    """
    problem = f"Item {index} ran, but its value{kind and f' ({kind})'} cannot be sent back from its process"
    if part:
        problem += f" for {part}"
    return _told(f"{problem}: {words(error)}", " Return what can be pickled, or use runner='threads'.")


def unsendable_part(value: Any) -> str:
    """Return words for the part of an item's value that cannot be sent; empty if it is the value as such."""
    part = unpicklable_part(value, "it")
    return "" if part == "it" else part


def unreadable_arguments(index: int, error: BaseException) -> PicklingError:
    """Return the error of an item whose arguments arrived and cannot be read in its process."""
    return PicklingError(
        f"The arguments of item {index} cannot be read in its process: {words(error)}. What they are made of has to be "
        f"importable there; or use runner='threads'."
    )


def unreadable_value(index: int, error: BaseException) -> PicklingError:
    """Return the error of an item whose value arrived and cannot be read."""
    return PicklingError(
        f"Item {index} ran, but its value or error cannot be read in the kernel: {words(error)}. Return what can be "
        f"pickled, or use runner='threads'."
    )


def words(error: BaseException) -> str:
    """Return an error's type and text, cut."""
    return f"{type(error).__name__}: {_text(error)}"


_MAKE = "Make it inside the function, or give it as an argument that can be pickled"
_LEAVE = "Leave it out in the class's __getstate__, or make it inside the method"
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


def _sendable(outcome: Outcome, *, is_careful: bool) -> Outcome:
    try:
        if is_careful and outcome.error is not None:
            return _careful(outcome, outcome.error)
        unpack_outcomes(pack(_columns([outcome])))
    except BaseException as error:
        if outcome.error is not None:
            return _careful(outcome, outcome.error)
        told = unsendable_value(outcome.index, type(outcome.value).__name__, error, unsendable_part(outcome.value))
        return outcome.replace(kind=OutcomeKind.FAILED, value=None, error=told)
    return outcome


def _careful(outcome: Outcome, error: BaseException) -> Outcome:
    return outcome.replace(error=in_pieces(error, pack), traceback=None)


def carry(error: BaseException) -> None:
    """Have an error arrive whole wherever it is pickled from now on, by whomever."""
    # pickle asks the object itself; other errors of its class are left alone.
    vars(error)["__reduce_ex__"] = functools.partial(_carried, error)


def _carried(error: BaseException, protocol: int) -> tuple[Any, ...]:  # noqa: ARG001 - as pickle calls it
    return unpack, (pack_error(error, is_careful=True),)


def _text(error: BaseException) -> str:
    try:
        return str(error)[:_SHOWN]
    except Exception:
        return "(no text)"

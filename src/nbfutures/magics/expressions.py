"""Evaluate the Python that stands in a magic's line: an option's value, a call, the head of a loop."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from IPython.core.error import UsageError

from nbfutures.engine.calls.iterables import Taken, how_taken, is_iterable_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["Call", "Loop", "Source", "evaluate_text", "read_call", "read_loop", "read_names"]

_TARGETS = (ast.Name, ast.Tuple, ast.List, ast.Starred)


class Source(NamedTuple):
    """Where the expressions of one magic come from."""

    namespace: dict[str, Any]
    """The variables that they may use."""
    register: Callable[[str], str]
    """Makes a text known to tracebacks, and returns the file name to compile it with."""


class Call(NamedTuple):
    """A call that was written down but not made."""

    fn: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Loop(NamedTuple):
    """The head of a `for` loop."""

    target: ast.expr
    values: Any


def evaluate_text(text: str, namespace: dict[str, Any]) -> Any:
    """Evaluate an expression; what it raises passes through."""
    # Parsed without the spaces around it, which Python would take for an indentation.
    tree = ast.parse(text.strip(), mode="eval")
    return eval(compile(tree, "<option>", "eval"), namespace)  # noqa: S307 - the user's own code, as in the cell


def read_call(text: str, source: Source, magic: str) -> Call:
    """Evaluate the parts of a call, and do not make it.

    Args:
        text: The call, as in `square(range(100))`.
        source: Where the text comes from.
        magic: The magic's name with its percent sign, for the message.

    Raises:
        UsageError: If it is not a call, or uses a name that is not defined.
    """
    __tracebackhide__ = True  # what the user's own code raises is shown without these frames
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        tree, problem = None, f": {error.msg}"
    else:
        problem = ""
    if not isinstance(tree, ast.Call):
        what = f"{text!r} is no call{problem}" if text else "The call is missing"
        raise UsageError(f"{what}. Write it as in: {magic} function(arguments).")
    # (function, arguments): the function is left out of the call, so that Python sorts the arguments as it would.
    parts = ast.parse("(None, (lambda *args, **kwargs: (args, kwargs))())", mode="eval").body
    for node in ast.walk(parts):
        ast.copy_location(node, tree)
    parts.elts[0] = tree.func  # type: ignore[attr-defined]
    parts.elts[1].args, parts.elts[1].keywords = tree.args, tree.keywords  # type: ignore[attr-defined]
    fn, (args, kwargs) = _evaluate(parts, text, source)
    return Call(fn, args, kwargs)


def read_names(names: Iterable[str], namespace: dict[str, Any], magic: str) -> list[Any]:
    """Return what some names stand for.

    Args:
        names: Names of variables, with dots, perhaps.
        namespace: The variables.
        magic: The magic's name with its percent sign, for the message.

    Raises:
        UsageError: If one is no name, or is not defined.
    """
    found = []
    for name in names:
        if not all(part.isidentifier() for part in name.split(".")):
            raise UsageError(f"{name!r} is no name. Write it as in: {magic} first second --workers 2.")
        try:
            found.append(evaluate_text(name, namespace))
        except (NameError, AttributeError) as error:
            raise UsageError(f"{error}. Run the cell that defines it first.") from error
    return found


def read_loop(text: str, source: Source) -> Loop:
    """Evaluate what a loop goes over.

    Args:
        text: The head of the loop, as in `name, url in sites`.
        source: Where the text comes from.

    Raises:
        UsageError: If it is not the head of a loop, uses a name that is not defined, or goes over a text.
    """
    __tracebackhide__ = True
    written = f"for {text}: pass"
    loop: ast.For | None = None
    problem = ""
    try:
        match ast.parse(written).body:
            case [ast.For(body=[ast.Pass()], orelse=[]) as only]:
                loop = only
    except SyntaxError as error:
        problem = f": {error.msg}"
    if loop is None or not all(isinstance(node, _TARGETS) for node in _parts(loop.target)):
        what = f"{text!r} is not the head of a loop{problem}" if text else "The head of the loop is missing"
        raise UsageError(f"{what}. Write it as in: %%map x in xs.")
    values = _evaluate(loop.iter, written, source)
    if isinstance(values, str | bytes):
        kind = "text" if isinstance(values, str) else "bytes"
        code = ast.unparse(loop.iter)
        raise UsageError(f"{code} is one {kind}, which is not mapped over. To go over its parts write: list({code}).")
    # What is mapped otherwise is decided below the magics. A `for` goes over a file's lines and a dict's keys.
    taken = how_taken(values)
    is_for_loops = taken is Taken.WHOLE or (taken is Taken.LIKELY_WHOLE and isinstance(values, Mapping | type))
    return Loop(loop.target, list(values) if is_for_loops and is_iterable_type(type(values)) else values)


def _parts(target: ast.expr) -> Iterator[ast.expr]:
    yield target
    if isinstance(target, ast.Tuple | ast.List):
        for element in target.elts:
            yield from _parts(element)
    elif isinstance(target, ast.Starred):
        yield from _parts(target.value)


def _evaluate(node: ast.expr, text: str, source: Source) -> Any:
    __tracebackhide__ = True
    filename = source.register(text)
    try:
        code = compile(ast.fix_missing_locations(ast.Expression(node)), filename, "eval")
    except SyntaxError as error:
        raise UsageError(f"{text!r}: {error.msg}.") from error
    try:
        return eval(code, source.namespace)  # noqa: S307 - the user's own code, as in the cell
    except NameError as error:
        if not _is_raised_by(error, filename):
            raise
        raise UsageError(f"{error}. Run the cell that defines it first.") from error


def _is_raised_by(error: BaseException, filename: str) -> bool:
    """Tell whether an error comes from the text itself, not from a function that the text calls."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback is not None and traceback.tb_frame.f_code.co_filename == filename

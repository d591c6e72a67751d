"""What code does, read from it without running it: whether it awaits or yields, and which names it uses."""

from __future__ import annotations

import ast
import re
from types import CodeType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = [
    "awaits",
    "find_yield",
    "free_name",
    "names_looked_up",
    "names_read_first",
    "required_parameters",
    "uncalled_flow",
]

_LOOK_UP_ANYTHING = {"eval", "exec", "globals", "query"}
_DEFINITIONS = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Import,
    ast.ImportFrom,
    ast.Assign,
    ast.AnnAssign,
)
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


def awaits(statements: Iterable[ast.stmt]) -> bool:
    """Tell whether the statements await, outside of the functions that they define."""
    return any(
        isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith)
        or (isinstance(node, ast.comprehension) and bool(node.is_async))
        for node in _own_nodes(statements)
    )


def find_yield(statements: Iterable[ast.stmt]) -> int | None:
    """Return the line of a `yield` that is outside of the functions which the statements define, if there is one."""
    lines = [node.lineno for node in _own_nodes(statements) if isinstance(node, ast.Yield | ast.YieldFrom)]
    return min(lines, default=None)


def uncalled_flow(statements: Sequence[ast.stmt]) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """Return the flow that the statements define last, if they do nothing but define and import."""
    last = statements[-1]
    if not isinstance(last, ast.FunctionDef | ast.AsyncFunctionDef) or not any(map(_is_flow, last.decorator_list)):
        return None
    return last if all(isinstance(one, _DEFINITIONS) or _is_docstring(one) for one in statements) else None


def required_parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Return the names of the parameters of a function that have no default."""
    given = function.args
    positional = [*given.posonlyargs, *given.args]
    needed = positional[: len(positional) - len(given.defaults)]
    needed += [one for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True) if default is None]
    return [one.arg for one in needed]


def names_read_first(statements: Iterable[ast.stmt]) -> set[str]:
    """Return the names that are read before they are bound, in the order in which the text runs without jumps.

    An augmented assignment alone does not count as reading.
    """
    reads: dict[str, bool] = {}
    for node in _in_order(statements):
        if isinstance(node, ast.Name):
            reads.setdefault(node.id, isinstance(node.ctx, ast.Load))
        elif isinstance(node, ast.alias):
            reads.setdefault((node.asname or node.name).partition(".")[0], False)
        elif bound := getattr(node, "name", None):  # of a function, a class, an `except ... as`
            reads.setdefault(bound, False)
    return {name for name, is_read in reads.items() if is_read}


def free_name(wanted: str, statements: Iterable[ast.stmt]) -> str:
    """Return a name that the statements do not use: the wanted one, or one made from it."""
    used = {node.id for node in _in_order(statements) if isinstance(node, ast.Name)}
    while wanted in used:
        wanted += "_"
    return wanted


def names_looked_up(code: CodeType) -> set[str] | None:
    """Return the names that code may look up as globals, or None if it may be any: it evaluates texts, for example.

    What is an identifier in a text counts, for expressions such as `frame.eval("price * @rate")` and annotations.
    """
    names = set(code.co_names)
    if names & _LOOK_UP_ANYTHING:
        return None
    for constant in _flat(code.co_consts):
        if isinstance(constant, str):
            names.update(re.findall(r"\w+", constant))
        elif isinstance(constant, CodeType):
            inner = names_looked_up(constant)
            if inner is None:
                return None
            names |= inner
    return names


def _is_flow(decorator: ast.expr) -> bool:
    named = decorator.func if isinstance(decorator, ast.Call) else decorator
    return getattr(named, "id", getattr(named, "attr", None)) == "flow"


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _flat(constants: Iterable[Any]) -> Iterator[Any]:
    for constant in constants:
        if isinstance(constant, tuple | frozenset):
            yield from _flat(constant)
        else:
            yield constant


def _own_nodes(statements: Iterable[ast.AST]) -> Iterator[ast.AST]:
    for node in statements:
        yield node
        if not isinstance(node, _SCOPES):
            yield from _own_nodes(ast.iter_child_nodes(node))


def _in_order(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    for node in nodes:
        yield node
        fields = dict(ast.iter_fields(node))
        # The right side of an assignment, and what a loop goes over, run before what is bound to their values.
        for field in sorted(fields, key=lambda name: name not in {"value", "iter"}):
            children = fields[field] if isinstance(fields[field], list) else [fields[field]]
            yield from _in_order(child for child in children if isinstance(child, ast.AST))

"""The decorator that makes a method a magic."""

from __future__ import annotations

from inspect import cleandoc, signature
from textwrap import indent
from typing import TYPE_CHECKING, Any, TypeVar

from IPython.core.magic import cell_magic, line_magic, needs_local_scope, no_var_expand

from nbfutures.magics.arguments import JOB_OPTIONS, option_table

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["magic"]

F = TypeVar("F", bound="Callable[..., Any]")

_NOTES = """\
Values are Python expressions: -w 2*n, --timeout=limits["slow"]. One that holds spaces needs brackets or quotes.
For --out, --name, --runner, --limit and --tag a word stands for itself; quote it, or use an f-string, for the rest.
"""


def magic(kind: str, name: str) -> Callable[[F], F]:
    """Make a method a magic that gets its line as it was written, and complete its help.

    Args:
        kind: `line` or `cell`.
        name: What it is called in the notebook; line and cell magics may share a name.
    """

    def mark(function: F) -> F:
        table = f"{option_table(JOB_OPTIONS)}\n\n{indent(_NOTES, '    ')}"
        function.__doc__ = cleandoc(function.__doc__ or "").replace("    {options}", table.rstrip())
        # IPython annotates its decorators for functions without a name of their own.
        marker: Any = line_magic(name) if kind == "line" else cell_magic(name)
        marker(no_var_expand(function))
        return needs_local_scope(function) if "local_ns" in signature(function).parameters else function

    return mark

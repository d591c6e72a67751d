"""What Prefect knows tasks of a notebook's cells by, also after a restart of the kernel."""

from __future__ import annotations

import contextlib
import copy
import hashlib
from pathlib import Path
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect import Task

__all__ = ["steady_key", "with_key", "with_steady_key"]

_DIGITS = 8


def steady_key(task: Task[Any, Any]) -> str:
    """Return a key that follows from a task's name and code; Prefect's own where the code is in a file.

    In Prefect's own, the name of the file counts, too. That of a cell names the kernel's process, so that a worker
    which outlives the kernel would not take what the same cell submits in the next.
    """
    code = getattr(task.fn, "__code__", None)
    if not isinstance(task.fn, FunctionType) or code is None or Path(code.co_filename).exists():
        return task.task_key
    # Of all functions of one decorator, the code is the same: what they decorate counts, too.
    contents = list(map(_content, _codes(task.fn)))
    content = contents[0] if len(contents) == 1 else contents
    digest = hashlib.sha256(repr(content).encode("utf-8", "backslashreplace")).hexdigest()
    return f"{code.co_name}-cell-{digest[:_DIGITS]}"


def with_steady_key(task: Task[Any, Any]) -> Task[Any, Any]:
    """Return a copy of a task that is submitted with its steady key."""
    return with_key(task, steady_key(task))


def with_key(task: Task[Any, Any], key: str) -> Task[Any, Any]:
    """Return a copy of a task that Prefect knows by another key."""
    made = copy.copy(task)
    made.task_key = key
    return made


def _codes(fn: FunctionType) -> list[CodeType]:
    """Return the code of a function, and of those that it carries along, as a decorator's does; each once."""
    found: dict[CodeType, None] = {}
    stack: list[Any] = [fn]
    while stack:
        one = stack.pop(0)
        if not isinstance(one, FunctionType) or one.__code__ in found:
            continue
        found[one.__code__] = None
        for cell in one.__closure__ or ():
            with contextlib.suppress(ValueError):  # it is empty yet
                stack.append(cell.cell_contents)
        stack.append(one.__dict__.get("__wrapped__"))
    return list(found)


def _content(code: CodeType) -> tuple[Any, ...]:
    return (
        code.co_code,
        [_constant(one) for one in code.co_consts],
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_cellvars,
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags),
    )


def _constant(value: Any) -> Any:
    if isinstance(value, CodeType):
        return value.co_name, _content(value)
    if isinstance(value, frozenset):
        # Of a set of texts, the order is another one in each process.
        return sorted(map(repr, value))
    return repr(value)

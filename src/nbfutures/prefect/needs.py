"""Finds out whether a job has to wait for Prefect, such as since its function refers to it. Loads nothing."""

from __future__ import annotations

import functools
import inspect
import sys
import types
from typing import TYPE_CHECKING, Any

from nbfutures.engine.calls.work import CallWork

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nbfutures.engine.contracts import Run, Work

__all__ = ["what_needs_prefect", "what_waits_for_prefect"]

_STARTING = "Prefect is starting: some ten seconds, and up to thirty the first time."

_MOST = 500
"""Functions, classes and modules that are looked at: who refers to more is taken to need Prefect."""
_FEW = 20
_PLACES = ("site-packages", "dist-packages")


def what_waits_for_prefect(run: Run, work: Work) -> str | None:
    """Return why a job cannot start before Prefect is there, as a note for people; `None` if it can.

    Args:
        run: The job.
        work: What it runs.
    """
    options = run.options
    if (
        not isinstance(work, CallWork)
        or type(work) is not CallWork
        or work.is_task
        or work.table is None
        or work.has_dependencies
        or options.runner != "threads"
        or options.background
        or options.limit
        or options.wait_for
    ):
        return _STARTING
    first = work.table.arguments(0).values() if work.stream is None and len(work.table) else work.table.statics.values()
    found = what_needs_prefect(work.target, *first)
    return None if found is None else f"{work.name} uses Prefect ({found}), which is starting: some ten seconds."


def what_needs_prefect(fn: Any, *arguments: Any) -> str | None:
    """Return the name of what refers to Prefect or to nbfutures, or `None`.

    A function is looked through with its closure, its defaults and the globals that it names, and so are the functions
    and classes of the user's own that it finds there: in the notebook and in modules that are not installed. Wrongly
    found is a slow start; what is not found is imported in ways that cannot be read, such as by `exec`.

    Args:
        fn: A function, a method, a partial, a class, or an object that can be called.
        arguments: Values that it may be called with.
    """
    search = _Search()
    for value in (fn, *arguments):
        found = search.look(value)
        if found is not None:
            return found
    return None


class _Search:
    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._kept: list[Any] = []
        """What was seen, so that no other object gets its `id`."""

    def look(self, start: Any) -> str | None:
        waiting = [start]
        while waiting:
            value = waiting.pop()
            if _is_prefects(value):
                return _name_of(value)
            if id(value) in self._seen or isinstance(value, str | bytes | int | float | None):
                continue
            self._seen.add(id(value))
            self._kept.append(value)
            if len(self._seen) > _MOST:
                return "it refers to very much"
            if isinstance(value, types.FunctionType) and _names_prefect(value.__code__):
                return value.__name__
            if isinstance(value, types.ModuleType):
                if _holds_prefects(value):
                    return value.__name__
            elif value is start or not isinstance(value, types.FunctionType) or _is_users(value.__module__):
                waiting.extend(_parts_of(value))
        return None


def _holds_prefects(module: types.ModuleType) -> bool:
    if "prefect" not in sys.modules or _is_standard(module.__name__):
        return False
    return any(map(_is_prefects, list(vars(module).values())))


def _parts_of(value: Any) -> list[Any]:  # noqa: PLR0911 - one for each kind of object
    """Return what an object refers to that a call of it may come to; a few of many."""
    if isinstance(value, types.FunctionType):
        return list(_parts_of_function(value))
    if isinstance(value, types.MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, type):
        return list(_members_of(value)) if _is_users(value.__module__) else []
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)[:_FEW]
    if isinstance(value, dict):
        return list(value.values())[:_FEW]
    if not _is_users(type(value).__module__):
        return []
    attributes = vars(value) if _has_dict(value) else {}
    return [type(value), *list(attributes.values())[:_FEW]]


def _is_prefects(value: Any) -> bool:
    """Tell whether an object is Prefect's or ours, or made of a class of theirs."""
    if isinstance(value, types.ModuleType):
        return _is_of_prefect(value.__name__)
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
        return _is_of_prefect(getattr(value, "__module__", None))
    return _is_of_prefect(type(value).__module__)


def _is_of_prefect(module: Any) -> bool:
    root = module.partition(".")[0] if isinstance(module, str) else ""
    return root in {"prefect", "nbfutures"} or root.startswith("prefect_")


def _names_prefect(code: types.CodeType) -> bool:
    """Tell whether code, or code within it, has Prefect's name or ours: in an import, or as a text."""
    if any(map(_is_of_prefect, code.co_names)):
        return True
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            if _names_prefect(constant):
                return True
        elif isinstance(constant, str) and _is_of_prefect(constant):
            return True
    return False


def _parts_of_function(function: types.FunctionType) -> Iterator[Any]:
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    wrapped = function.__dict__.get("__wrapped__")
    if wrapped is not None:
        yield wrapped
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:
            # It is yet to be set.
            continue
    for name in _names_in(function.__code__):
        if name in function.__globals__:
            yield function.__globals__[name]


def _names_in(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names_in(constant)


def _members_of(kind: type) -> Iterator[Any]:
    yield from kind.__bases__
    for member in vars(kind).values():
        if isinstance(member, staticmethod | classmethod):
            yield member.__func__
        elif isinstance(member, property):
            yield from filter(None, (member.fget, member.fset))
        else:
            yield member


def _has_dict(value: Any) -> bool:
    return bool(type(value).__dictoffset__)


def _is_standard(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names


def _is_users(module: Any) -> bool:
    """Tell whether a module is the user's own: the notebook, or a file that is not installed."""
    if not isinstance(module, str):
        return False
    if module in {"__main__", "__mp_main__"}:
        return True
    if _is_standard(module):
        return False
    file = getattr(sys.modules.get(module), "__file__", None)
    return not isinstance(file, str) or not any(place in file for place in _PLACES)


def _name_of(value: Any) -> str:
    if isinstance(value, type | types.FunctionType | types.ModuleType):
        return value.__name__
    name = inspect.getattr_static(value, "name", None)
    return name if isinstance(name, str) else type(value).__name__

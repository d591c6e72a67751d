"""Where an error was raised, and its traceback without the machinery that called the user's function."""

from __future__ import annotations

import functools
import itertools
import os
import sys
import sysconfig
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from nbfutures.views.clean import leaves, plain

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["Place", "place_words", "raised_at", "traceback_text"]

Place = tuple[str, int]
"""A file's name and a line in it."""

_LIMIT = 30_000
"""Characters of a traceback that are kept."""
_LINE_LIMIT = 1_000
_MOST_MEMBERS = 1000
_MACHINERY = frozenset(
    {"nbfutures", "prefect", "concurrent", "threading", "asyncio", "anyio", "contextlib", "contextvars", "functools"}
)
"""Packages that stand between a job and the user's function."""
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_USERS_OWN = frozenset({"nbfutures.lessons"})


def raised_at(error: BaseException) -> Place | None:
    """Return the innermost place of the user's own code, or else where the error was raised.

    Args:
        error: Any error; `None` is returned for one that was never raised. Of a group whose members were all raised in
            one place, it is that one.
    """
    if isinstance(error, BaseExceptionGroup):
        places = {raised_at(one) for one in itertools.islice(leaves(error), _MOST_MEMBERS)}
        if len(places) == 1 and None not in places:
            return places.pop()
    last: Place | None = None
    own: Place | None = None
    step = error.__traceback__
    while step is not None:
        filename = step.tb_frame.f_code.co_filename
        last = (filename, step.tb_lineno)
        if _is_users(filename) and not _is_machinery(step.tb_frame):
            own = last
        step = step.tb_next
    return own or last


def place_words(place: Place | None) -> str:
    """Return a place as `file:line`, or as `Cell In[3], line 5`; empty for `None`."""
    if place is None:
        return ""
    filename, line = place
    cell = _cell(filename)
    if cell:
        return f"{cell}, line {line}"
    return f"{plain(_short_path(filename), 80)}:{line}"


def traceback_text(error: BaseException) -> str:
    """Return an error's traceback as Python prints it, cut, without the frames of those who called the function."""
    try:
        told = traceback.TracebackException.from_exception(error)
        _strip(told, error)
        whole = _with_cells("".join(told.format()), told)
    except Exception:
        return f"{type(error).__name__}: (its traceback cannot be shown)"
    # Cut before it is cleaned, since a message may be huge, and afterwards, since cleaning makes some texts longer.
    lines = _cut_in_the_middle(whole.rstrip("\n")).split("\n")
    return _cut_in_the_middle("\n".join(plain(line, _LINE_LIMIT) for line in lines))


def _with_cells(text: str, told: traceback.TracebackException) -> str:
    """Return a traceback with the names of cells for those of the files that IPython pretends they are."""
    todo: list[traceback.TracebackException | None] = [told]
    names: set[str] = set()
    while todo:
        part = todo.pop()
        if part is not None:
            names.update(frame.filename for frame in part.stack)
            todo += [part.__cause__, part.__context__, *(part.exceptions or ())]
    for name in names:
        cell = _cell(name)
        if cell:
            text = text.replace(f'File "{name}", line ', f"{cell}, line ")
    return text


def _cut_in_the_middle(text: str) -> str:
    """Return text without its middle if it is long: where the error came from and what it says are at the ends."""
    if len(text) <= _LIMIT:
        return text
    half = _LIMIT // 2
    return f"{text[:half]}\n  … cut …\n{text[-half:]}"


def _strip(told: traceback.TracebackException | None, error: BaseException | None) -> None:
    """Take the machinery's frames from the top of a traceback and of those it was caused by."""
    seen: set[int] = set()
    todo = [(told, error)]
    while todo:
        told, error = todo.pop()
        if told is None or error is None or id(error) in seen:
            continue
        seen.add(id(error))
        count = _machinery_frames(error)
        # Where nothing but machinery is left, it is what failed.
        if count < len(told.stack):
            del told.stack[:count]
        todo += [(told.__cause__, error.__cause__), (told.__context__, error.__context__)]
        if isinstance(error, BaseExceptionGroup):
            todo += zip(told.exceptions or (), error.exceptions, strict=False)


def _machinery_frames(error: BaseException) -> int:
    count = 0
    step = error.__traceback__
    while step is not None and _is_machinery(step.tb_frame):
        count += 1
        step = step.tb_next
    return count


def _is_machinery(frame: FrameType) -> bool:
    module = frame.f_globals.get("__name__") or ""
    return module.partition(".")[0] in _MACHINERY and module not in _USERS_OWN


@functools.lru_cache(maxsize=1024)
def _is_users(filename: str) -> bool:
    if filename.startswith("<frozen"):
        return False
    return not _INSTALLED & set(Path(filename).parts) and not filename.startswith(_stdlib())


@functools.lru_cache(maxsize=1)
def _stdlib() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple({paths["stdlib"] + os.sep, paths["platstdlib"] + os.sep})


@functools.lru_cache(maxsize=1024)
def _short_path(filename: str) -> str:
    """Return a file's path as seen from the working directory, or with its folder only if it lies elsewhere."""
    path = Path(filename)
    if not path.is_absolute():
        return filename
    if path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd()))
    return str(Path(*path.parts[-2:]))


def _cell(filename: str) -> str:
    """Return a notebook cell's name as IPython's own tracebacks have it, or nothing for a file."""
    if "IPython" not in sys.modules:
        return ""
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    named = getattr(getattr(shell, "compile", None), "format_code_name", None)
    found = named(filename) if named else None
    return " ".join(found) if found else ""

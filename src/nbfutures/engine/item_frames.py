"""The frames of an item's error."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

__all__ = ["forget_locals", "related", "without_own_frames"]

_NO_ITEMS = (f"{__name__.split('.')[0]}.", "prefect.", "asyncio.")
"""Modules whose frames come before those of an item."""

# Not by the names: a class may have something else in their place.
_cause = BaseException.__dict__["__cause__"].__get__
_context = BaseException.__dict__["__context__"].__get__
_members = BaseExceptionGroup.__dict__["exceptions"].__get__


def forget_locals(error: BaseException, trace: TracebackType | None) -> None:
    """Let go of the variables of an error's frames, which would live as long as the job; the lines stay.

    Args:
        error: The error; it gets `trace` as its traceback.
        trace: Its traceback.
    """
    error.with_traceback(trace)
    for one in related(error):
        traceback.clear_frames(one.__traceback__)


def related(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, and all that it was caused by, came after, or is a group of; each once, itself first."""
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        todo += (_cause(one), _context(one))
        if isinstance(one, BaseExceptionGroup):
            todo += _members(one)


def without_own_frames(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback from the first frame of an item on; as it is if there is none."""
    for one in _walk(trace):
        if not str(one.tb_frame.f_globals.get("__name__", "")).startswith(_NO_ITEMS):
            return one
    return trace


def _walk(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next

"""The frames of an item's error."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

__all__ = ["forget_locals", "without_own_frames"]

_NO_ITEMS = (f"{__name__.split('.')[0]}.", "prefect.", "asyncio.")
"""Modules whose frames come before those of an item."""


def forget_locals(error: BaseException, trace: TracebackType | None) -> None:
    """Let go of the variables of an error's frames, which would live as long as the job; the lines stay.

    Args:
        error: The error; it gets `trace` as its traceback.
        trace: Its traceback.
    """
    error.__traceback__ = trace
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        traceback.clear_frames(one.__traceback__)
        one = one.__cause__ or one.__context__


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

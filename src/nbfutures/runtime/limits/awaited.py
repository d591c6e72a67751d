"""Which limits the code of this process waits for, in Prefect's `concurrency` and `rate_limit`.

Prefect tells nobody that a call waits for a slot. It can be seen where debuggers see it: in the frames of the threads
and of the coroutines that wait.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

__all__ = ["awaited_limits"]

_PREFECT = "prefect.concurrency."
_LOOPS = "asyncio.base_events"
_DEPTH = 1000
"""Coroutines that await each other."""


def awaited_limits(is_own: Callable[[FrameType], bool]) -> Counter[str]:
    """Return names of limits, with how many calls wait for a slot of each; those of tags as Prefect names them.

    Never blocks; takes some microseconds for each thread and each coroutine.

    Args:
        is_own: Tells of a frame whether what it belongs to counts.
    """
    found: Counter[str] = Counter()
    for stack in _stacks():
        names = next(filter(None, map(_names, stack)), None)
        if names is not None and any(map(is_own, stack)):
            found.update(names)
    return found


def _names(frame: FrameType) -> list[str] | None:
    """Return what is waited for in a frame of Prefect's; its release at the end is over in no time."""
    if not str(frame.f_globals.get("__name__", "")).startswith(_PREFECT):
        return None
    names = frame.f_locals.get("names")
    return [names] if isinstance(names, str) else names


def _stacks() -> Iterator[list[FrameType]]:
    for innermost in sys._current_frames().values():
        stack = list(_outwards(innermost))
        yield stack
        for loop in filter(None, map(_running_loop, stack)):
            try:
                tasks = asyncio.all_tasks(loop)
            except RuntimeError:
                # They change too fast to be listed.
                continue
            for task in tasks:
                yield list(_inwards(task.get_coro()))


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _running_loop(frame: FrameType) -> Any:
    if frame.f_code.co_name != "run_forever" or frame.f_globals.get("__name__") != _LOOPS:
        return None
    return frame.f_locals.get("self")


def _inwards(waiting: Any) -> Iterator[FrameType]:
    """Walk from a coroutine to what it awaits, through the generators behind `async with`."""
    for _ in range(_DEPTH):
        frame = _of(waiting, "frame")
        if frame is None:
            return
        yield frame
        following = _of(waiting, "await")
        if _of(following, "frame") is None and frame.f_code.co_name == "__aenter__":
            following = getattr(frame.f_locals.get("self"), "gen", None)
        waiting = following


def _of(waiting: Any, what: str) -> Any:
    for kind in ("cr", "ag"):
        found = getattr(waiting, f"{kind}_{what}", None)
        if found is not None:
            return found
    return None

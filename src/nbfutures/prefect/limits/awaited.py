"""Which limits the code of this process waits for, in Prefect's `concurrency` and `rate_limit`.

Prefect tells nobody that a call waits for a slot. It can be seen where debuggers see it: in the frames of the threads
and of the coroutines. One coroutine for each limit asks Prefect's server, and knows when it was refused; the calls wait
for it.
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
_LOOP_MODULE = "asyncio.base_events"
_DEPTH = 1000
"""Coroutines that await each other."""


def awaited_limits(is_own: Callable[[FrameType], bool]) -> Counter[str]:
    """Return names of limits that are full, with how many calls wait for a slot of each; tags as Prefect names them.

    Never blocks; takes some microseconds for each thread and each coroutine. A coroutine is seen with those that await
    it, not with the task that has started it beside itself.

    Args:
        is_own: Tells of a frame whether the calls below it are to be counted.
    """
    acquiring: list[tuple[frozenset[str], list[FrameType]]] = []
    refused: set[frozenset[str]] = set()
    for stack in _stacks():
        for frame in stack:
            if not str(frame.f_globals.get("__name__", "")).startswith(_PREFECT):
                continue
            if frame.f_code.co_name == "acquire":
                # Prefect's own, for all calls of this process; it has a time to try again after it was refused.
                seen = frame.f_locals
                if "retry_after" in seen:
                    refused.add(frozenset(seen["self"].concurrency_limit_names))
            elif "acquire_concurrency_slots" in frame.f_code.co_name:
                acquiring.append((frozenset(frame.f_locals["names"]), stack))
                break
    found: Counter[str] = Counter()
    for names, stack in acquiring:
        if names in refused and any(map(is_own, stack)):
            found.update(names)
    return found


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
    if frame.f_code.co_name != "run_forever" or frame.f_globals.get("__name__") != _LOOP_MODULE:
        return None
    return frame.f_locals.get("self")


def _inwards(waiting: Any) -> Iterator[FrameType]:
    """Walk from a coroutine to what it awaits, through the generators behind `async with`."""
    for _ in range(_DEPTH):
        frame = _part_of(waiting, "frame")
        if frame is None:
            return
        yield frame
        awaited = _part_of(waiting, "await")
        if _part_of(awaited, "frame") is None and frame.f_code.co_name == "__aenter__":
            awaited = getattr(frame.f_locals.get("self"), "gen", None)
        waiting = awaited


def _part_of(waiting: Any, part: str) -> Any:
    """Return the "frame" of a coroutine or an asynchronous generator, or what it "await"s; `None` of others."""
    for kind in ("cr", "ag"):
        found = getattr(waiting, f"{kind}_{part}", None)
        if found is not None:
            return found
    return None

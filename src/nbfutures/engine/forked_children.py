"""Children that an item forks: one that falls out of the item's call ends there, and is no second kernel or worker."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import traceback
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NoReturn

from nbfutures.engine import capture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["end_if_forked", "forks", "staying", "within_call"]


class _Forks:
    """How many forks lie between this process and the one that loaded this module."""

    count = 0


forks = _Forks()


_is_call: ContextVar[bool] = ContextVar("nbfutures_is_call", default=False)


class _Loop(threading.local):
    """The event loop that runs in the thread that forks: a child asks asyncio in vain."""

    running: asyncio.AbstractEventLoop | None = None


_loop = _Loop()


def end_if_forked(count: int, error: BaseException | None = None) -> None:
    """End this process if it was forked since, as Python ends with an error or without; else do nothing.

    Args:
        count: What `forks.count` was when the call began.
        error: What the call raised.
    """
    if forks.count != count:
        _end(error)


@contextlib.contextmanager
def within_call() -> Iterator[None]:
    """A call that is no item of a job here: no child that it forks comes out of it."""
    count, token = forks.count, _is_call.set(True)
    try:
        yield
    except BaseException as error:
        end_if_forked(count, error)
        raise
    finally:
        _is_call.reset(token)
        end_if_forked(count)


def staying(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Make a call, from which no child that it forks comes back."""
    count = forks.count
    try:
        value = call(*args, **kwargs)
    except BaseException as error:
        end_if_forked(count, error)
        raise
    end_if_forked(count)
    return value


def _end(error: BaseException | None = None) -> NoReturn:
    code: Any = 0
    if isinstance(error, SystemExit):
        code = error.code
    elif error is not None:
        code = 1
        # Its own streams are the item's, of which nobody will ask this process.
        traceback.print_exception(error, file=sys.__stderr__)
    if sys.__stderr__ is not None:
        sys.__stderr__.flush()
    os._exit(code & 0xFF if isinstance(code, int) else 0 if code is None else 1)


def _before() -> None:
    _loop.running = asyncio._get_running_loop() if capture.is_in_item() or _is_call.get() else None


def _in_parent() -> None:
    _loop.running = None


def _in_child() -> None:
    forks.count += 1
    loop, _loop.running = _loop.running, None
    if loop is None:
        return
    # A coroutine leaves its call also where it awaits: the copy of the loop would go on with other items then.
    loop.call_soon(_end)
    ready: Any = getattr(loop, "_ready", None)
    if ready is not None:
        ready.rotate(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)

"""Coroutines in the current thread, whether or not an event loop runs in it."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

__all__ = ["await_within", "no_running_loop", "run_here"]


class _Kept(threading.local):
    """The loop of the current thread that is run for one coroutine after the other."""

    loop: asyncio.AbstractEventLoop | None = None


_kept = _Kept()


@contextmanager
def no_running_loop() -> Iterator[None]:
    """Within it, the current thread has no running event loop, as a thread of a pool: `asyncio.run` works.

    In a notebook the main thread always has one, which stands still while a cell runs.
    """
    loop = asyncio._get_running_loop()
    # From Python 3.14 on a thread has one current task, whatever the loop.
    swap: Any = getattr(asyncio.tasks, "_swap_current_task", None) if loop is not None else None
    task = swap(loop, None) if swap is not None else None
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(loop)
        if swap is not None:
            swap(loop, task)


def run_here(made: Awaitable[Any]) -> Any:
    """Run something awaitable to its end in the current thread.

    All that the main thread runs in this way shares an event loop, so that what is bound to it can be kept. Where the
    call comes from a coroutine that runs here, and in other threads, it has a loop of its own.

    Args:
        made: What to await.

    Returns:
        Its value.

    Raises:
        BaseException: Whatever it raises. What is raised from outside of it, such as an interrupt, cancels it first,
            and has the traceback of the place where that met it.
    """
    with no_running_loop():
        loop = _kept.loop
        is_kept = threading.current_thread() is threading.main_thread() and (loop is None or not loop.is_running())
        if not is_kept or loop is None or loop.is_closed():
            loop = asyncio.new_event_loop()
            if is_kept:
                _kept.loop = loop
        try:
            return _run(loop, made)
        finally:
            if not is_kept:
                with suppress(RuntimeError):
                    loop.run_until_complete(loop.shutdown_asyncgens())
                loop.close()


def _run(loop: asyncio.AbstractEventLoop, made: Awaitable[Any]) -> Any:
    task = loop.create_task(_awaited(made))
    try:
        return loop.run_until_complete(task)
    except BaseException as error:
        if task.done():
            raise
        task.cancel()
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError as cancelled:
            raise error.with_traceback(cancelled.__traceback__) from None
        raise


async def _awaited(made: Awaitable[Any]) -> Any:
    return await made


async def await_within(made: Awaitable[Any], timeout: float | None, error: BaseException) -> Any:  # noqa: ASYNC109
    """Await something, and raise `error` if it takes longer than `timeout` seconds.

    Args:
        made: What to await.
        timeout: Seconds; `None` for no limit.
        error: What to raise then; a timeout that `made` raises is its own.
    """
    if timeout is None:
        return await made
    limit = asyncio.timeout(timeout)
    try:
        async with limit:
            return await made
    except TimeoutError:
        if limit.expired():
            raise error from None
        raise

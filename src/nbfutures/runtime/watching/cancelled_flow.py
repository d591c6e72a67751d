"""The end of a flow's job that was cancelled, also where the flow waits for what never comes."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from nbfutures.runtime.watching.watched_futures import WatchedFutures

__all__ = ["CancelledFlow"]

_LOOK_SECONDS = 0.1
_GRACE_SECONDS = 0.25
"""How long what has just been given to a worker may take to begin."""
_PATIENCE_SECONDS = 2.0
"""How long a flow may take to notice that all that it waits for has ended or will not begin."""


class CancelledFlow:
    """Takes back what has not begun, and ends the job where its flow does not end by itself then.

    Made on the job's thread, in whose context it works.

    Args:
        watched: The job's task runs.
        let_go: Ends the job without its flow, whose thread hangs; called at most once, in another thread.
    """

    def __init__(self, watched: WatchedFutures, let_go: Callable[[], None]) -> None:
        self._watched = watched
        self._let_go = let_go
        self._is_let_go = False
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._context = copy_context()
        self._flow: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None

    def begin(self) -> None:
        """Begin to cancel. Does not block; any thread, any number of times."""
        self._watched.cancel_queued()
        with self._lock:
            if self._thread is None and not self._over.is_set():
                name = f"nbfutures cancel {self._watched.run.name}"
                self._thread = threading.Thread(target=self._context.run, args=(self._work,), name=name, daemon=True)
                self._thread.start()

    def finish(self) -> bool:
        """Say that the flow has ended; return whether the job has not ended without it."""
        with self._lock:
            self._over.set()
            return not self._is_let_go

    async def awaited(self, flow: Coroutine[Any, Any, Any]) -> Any:
        """Await an async flow, so that it can be interrupted; in a task of its own."""
        task = asyncio.current_task()
        assert task is not None
        self._flow = asyncio.get_running_loop(), task
        try:
            return await flow
        finally:
            self._flow = None

    def _work(self) -> None:
        begun = time.monotonic()
        idle: float | None = None
        is_interrupted = False
        while not self._over.wait(_LOOK_SECONDS):
            now = time.monotonic()
            self._watched.cancel_queued()
            if now - begun > _GRACE_SECONDS:
                self._watched.leave()
            # A flow that waits for nothing of this kind ends by itself, as every function that runs.
            if not self._watched.has_left or self._watched.is_busy:
                idle = None
                continue
            idle = idle or now
            if now - idle < _PATIENCE_SECONDS:
                continue
            if not is_interrupted and self._interrupt():
                is_interrupted, idle = True, None
                continue
            with self._lock:
                if self._over.is_set():
                    return
                self._is_let_go = True
            self._let_go()
            return

    def _interrupt(self) -> bool:
        """Cancel the coroutine of an async flow; return whether there is one."""
        flow = self._flow
        if flow is None:
            return False
        loop, task = flow
        # It may have ended, and its loop be closed.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(task.cancel)
        return True

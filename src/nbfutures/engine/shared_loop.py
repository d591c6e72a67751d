"""The event loops in which the coroutines of all jobs run: one for the kernel, which lives as long as it does.

What an item has made that belongs to a loop, such as a client or a lock, works in later items and later jobs.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from concurrent.futures import Future, wait
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

__all__ = ["PATIENCE_SECONDS", "BoundedLoop", "SharedLoop", "close", "home_loop", "run_shared", "shared_loop"]

PATIENCE_SECONDS = 5.0
"""A loop that has not had a turn for so long is blocked by something that does not await: others take another loop."""
_BEAT_SECONDS = 0.05
_CLOSE_SECONDS = 2.0

_home: ContextVar[SharedLoop | None] = ContextVar("nbfutures_loop", default=None)


class SharedLoop:
    """An event loop in a thread of its own, which ends when the loop is retired and nothing runs in it.

    Args:
        depth: How many shared loops wait for what runs in this one.
    """

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()
        self._busy = 0
        self._is_retired = False
        self._last_beat = 0.0
        self._is_beating = False
        # The loop itself holds tasks only weakly.
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="nbfutures event loop", daemon=True)
        self._thread.start()

    def submit(self, made: Awaitable[Any]) -> Future[Any]:
        """Await something in the loop, with a copy of the caller's context. Does not block.

        Returns:
            Its end; one that is cancelled in time does not begin.
        """
        future: Future[Any] = Future()
        context = copy_context()
        context.run(_home.set, self)
        with self._lock:
            is_taken = not self._is_retired
            if is_taken:
                if not self._busy:
                    self._last_beat = time.monotonic()
                self._busy += 1
        if not is_taken:
            return shared_loop().submit(made)
        self._loop.call_soon_threadsafe(self._start, made, future, context=context)
        return future

    @property
    def silent_for(self) -> float:
        """Seconds since something else than what blocks the loop had a turn; 0 if nothing runs in it."""
        with self._lock:
            return time.monotonic() - self._last_beat if self._busy else 0.0

    def retire(self) -> None:
        """Take nothing more; what runs in the loop goes on to its end."""
        with _registry_lock:
            if _loops.get(self.depth) is self:
                del _loops[self.depth]
        with self._lock:
            self._is_retired = True
            is_idle = not self._busy
        if is_idle and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            if threading.current_thread() is not self._thread:
                self._thread.join(_CLOSE_SECONDS)

    # --- in its thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        while not (self._is_retired and not self._busy):
            try:
                self._loop.run_forever()
            except (KeyboardInterrupt, SystemExit):
                # A task of a coroutine's own raised it, which is not to end what others run.
                continue
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        if left:
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _start(self, made: Awaitable[Any], future: Future[Any]) -> None:
        if not self._is_beating:
            self._is_beating = True
            self._beat()
        task = self._loop.create_task(self._carry(made, future))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, made: Awaitable[Any], future: Future[Any]) -> None:
        try:
            if not future.set_running_or_notify_cancel():
                if asyncio.iscoroutine(made):
                    made.close()
                return
            try:
                value = await made
            except BaseException as error:
                # Also what asks to end the process: it is for who waits, and not for the loop.
                future.set_exception(error)
            else:
                future.set_result(value)
        finally:
            with self._lock:
                self._busy -= 1
                is_over = self._is_retired and not self._busy
            if is_over:
                self._loop.stop()

    def _beat(self) -> None:
        self._last_beat = time.monotonic()
        if self._busy:
            self._loop.call_later(_BEAT_SECONDS, self._beat)
        else:
            self._is_beating = False


_loops: dict[int, SharedLoop] = {}
_registry_lock = threading.Lock()


def home_loop() -> SharedLoop | None:
    """Return the shared loop that runs the current coroutine, or that waits for the current code."""
    return _home.get()


def shared_loop() -> SharedLoop:
    """Return the loop for coroutines from here.

    Code that runs in one shared loop may block until what it starts has ended: that runs in another one, a level below.
    """
    home = home_loop()
    depth = 0 if home is None else home.depth + 1
    with _registry_lock:
        known = _loops.get(depth)
    if known is not None and known.silent_for > PATIENCE_SECONDS:
        known.retire()
    with _registry_lock:
        if depth not in _loops:
            _loops[depth] = SharedLoop(depth)
        return _loops[depth]


def run_shared(made: Awaitable[Any]) -> Any:
    """Await something in the shared loop, and block until it has ended."""
    return shared_loop().submit(made).result()


def close() -> None:
    """Retire all loops; later coroutines get new ones."""
    with _registry_lock:
        known = list(_loops.values())
    for loop in known:
        loop.retire()


class BoundedLoop:
    """Coroutines in the shared loop, so many at once; the others wait for their turn.

    Args:
        limit: How many run at once.
    """

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Callable[[], None], Future[Any]]] = deque()
        self._running: dict[Future[Any], Future[Any]] = {}
        """Futures that were given to what runs in the loop for them."""

    def submit(self, make: Callable[[], Coroutine[Any, Any, Any]], future: Future[Any]) -> None:
        """Run a coroutine when it is its turn, with a copy of the caller's context. Does not block.

        Args:
            make: Makes it, unless it is cancelled before.
            future: Is told of its end; can be cancelled until it begins.
        """
        context = copy_context()

        async def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                value = await make()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(value)

        def start() -> None:
            running = context.run(lambda: shared_loop().submit(run()))
            with self._lock:
                self._running[future] = running
            running.add_done_callback(lambda _: self.let_go(future))

        with self._lock:
            self._free -= 1
            if self._free < 0:
                self._waiting.append((start, future))
                return
        start()

    def let_go(self, future: Future[Any]) -> None:
        """Give the place of what has ended, or was given up on, to another."""
        with self._lock:
            if self._running.pop(future, None) is None:
                return
            self._free += 1
            start, _ = self._waiting.popleft() if self._waiting else (None, None)
        if start is not None:
            start()

    def close(self) -> None:
        """Cancel what waits, and block until what runs has ended."""
        while True:
            with self._lock:
                waiting = list(self._waiting)
                running = list(self._running.values())
            for _, future in waiting:
                future.cancel()
            if not running:
                return
            wait(running)

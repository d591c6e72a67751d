"""Items that ran out of time."""

from __future__ import annotations

import contextlib
import ctypes
import heapq
import itertools
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from nbfutures.errors import ItemTimeoutError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "GRACE_SECONDS",
    "STUCK_LOOP",
    "STUCK_THREAD",
    "give_up_late",
    "given_up_on",
    "interrupt_after",
    "timed_out",
]

GRACE_SECONDS = 0.25
"""How long an item may take to notice its timeout before it is given up on."""
STUCK_THREAD = "a thread cannot be stopped from outside, so its call ends by itself."
STUCK_LOOP = (
    "it, or another item, blocked the event loop that they share: call what blocks by `await asyncio.to_thread(...)`."
)


class _Lane(Protocol):
    running: dict[int, float]

    def abandon(self, index: int) -> bool: ...


def give_up_late(work: Any, lane: _Lane, timeout: float, grace: float) -> Iterator[tuple[int, float]]:
    """Give up on items that did not notice their timeout; yield those that are not tried again, and their start.

    Args:
        work: What the job's lanes share: a `LaneWork`.
        lane: Where the items run.
        timeout: Seconds.
        grace: Seconds that an item may take to notice it.
    """
    now = work.state.clock.now()
    for index, started in lane.running.copy().items():
        if now - started < timeout + grace or not lane.abandon(index):
            continue
        if work.takes_another_try(index):
            work.queue.put_later(index, now + work.retry_delay)
        else:
            yield index, started


def given_up_on(timeout: float, why: str) -> ItemTimeoutError:
    """Return the error of an item that ran out of time and goes on all the same.

    Args:
        timeout: Seconds.
        why: Why it was not stopped.
    """
    return ItemTimeoutError(
        f"The item ran longer than its timeout of {timeout:g} s and was given up on; {why} Give it more time, or split "
        f"its work into smaller items."
    )


def timed_out(seconds: float) -> ItemTimeoutError:
    """Return the error of an item that ran out of time."""
    return ItemTimeoutError(
        f"The item ran longer than its timeout of {seconds:g} s. "
        f"Give it more time, or split its work into smaller items."
    )


# --- an exception in a thread of Python -------------------------------------------------------------------------------


class _Deadline:
    """When a thread is to be interrupted, unless it has left the call by then."""

    __slots__ = ("error", "is_over", "lock", "thread")

    def __init__(self, thread: int, error: type[BaseException]) -> None:
        self.thread = thread
        self.error = error
        self.is_over = False
        # Nothing is raised in a thread that has left the call: the one waits for the other here.
        self.lock = threading.Lock()


class _Watch:
    """One thread that raises an exception in others at their time."""

    def __init__(self) -> None:
        self._deadlines: list[tuple[float, int, _Deadline]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, deadline: _Deadline, seconds: float) -> None:
        with self._changed:
            heapq.heappush(self._deadlines, (time.monotonic() + seconds, next(self._numbers), deadline))
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="nbfutures timeouts", daemon=True)
                self._thread.start()
            if self._deadlines[0][2] is deadline:
                self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while self._deadlines and self._deadlines[0][2].is_over:
                    heapq.heappop(self._deadlines)
                if not self._deadlines:
                    if not self._changed.wait(_IDLE_SECONDS) and not self._deadlines:
                        self._thread = None
                        return
                    continue
                when, _, deadline = self._deadlines[0]
                left = when - time.monotonic()
                if left > 0:
                    self._changed.wait(left)
                    continue
                heapq.heappop(self._deadlines)
            with deadline.lock:
                if not deadline.is_over:
                    _raise_in(deadline.thread, deadline.error)


_IDLE_SECONDS = 5.0
_watch = _Watch()


def _renew_watch() -> None:
    global _watch  # noqa: PLW0603 - one for each process
    _watch = _Watch()


if sys.platform != "win32":
    # The thread is not there in a child.
    os.register_at_fork(after_in_child=_renew_watch)


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    """Raise an exception at the next instruction of a thread; `None` takes back what it has not met yet."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error) if error else None)


@contextlib.contextmanager
def interrupt_after(seconds: float | None, error: type[BaseException]) -> Iterator[None]:
    """Within it, raise an error in the calling thread when the time is over: pure Python code stops in its tracks.

    In the main thread an alarm interrupts also what waits in C, unless somebody else uses alarms; in other threads it
    is raised when that returns.

    Args:
        seconds: The time; `None` for no limit.
        error: What is raised.
    """
    if seconds is None:
        yield
        return
    alarm: Any = getattr(signal, "SIGALRM", None)
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and alarm is not None and signal.getsignal(alarm) is signal.SIG_DFL:

        def tell(*_: object) -> None:
            raise error

        signal.signal(alarm, tell)
        try:
            before = signal.setitimer(signal.ITIMER_REAL, seconds)
            try:
                yield
            finally:
                signal.setitimer(signal.ITIMER_REAL, *before)
        finally:
            signal.signal(alarm, signal.SIG_DFL)
        return
    deadline = _Deadline(threading.get_ident(), error)
    _watch.add(deadline, seconds)
    try:
        yield
    finally:
        try:
            with deadline.lock:
                deadline.is_over = True
        except error:
            # Raised in the moment of leaving: the call is over, however it went.
            deadline.is_over = True

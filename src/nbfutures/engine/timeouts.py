"""Items that ran out of time."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbfutures.errors import ItemTimeoutError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "GRACE_SECONDS",
    "STUCK_LOOP",
    "STUCK_THREAD",
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


@dataclass(eq=False, slots=True)
class _Deadline:
    """When a thread is to be interrupted, unless it has left the call by then."""

    when: float
    """By `time.monotonic`."""
    thread: int
    error: type[BaseException]


class _Watch:
    """One thread that raises an exception in others at their time."""

    def __init__(self) -> None:
        self._deadlines: set[_Deadline] = set()
        """Of the calls that go on: one for each thread, but for calls within calls."""
        self._looks_at = float("inf")
        # Held to raise and to leave: nothing is raised in a thread that has left its call.
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, deadline: _Deadline) -> None:
        with self._changed:
            self._deadlines.add(deadline)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="nbfutures timeouts", daemon=True)
                self._thread.start()
            elif deadline.when < self._looks_at:
                self._changed.notify()

    def remove(self, deadline: _Deadline) -> None:
        with self._changed:
            self._deadlines.discard(deadline)

    def _run(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for late in [one for one in self._deadlines if one.when <= now]:
                    self._deadlines.remove(late)
                    _raise_in(late.thread, late.error)
                self._looks_at = min((one.when for one in self._deadlines), default=now + _IDLE_SECONDS)
                if not self._changed.wait(self._looks_at - now) and not self._deadlines:
                    self._thread = None
                    return


_IDLE_SECONDS = 5.0
_watch = _Watch()


def _renew_watch() -> None:
    global _watch  # noqa: PLW0603 - one for each process
    _watch = _Watch()


if sys.platform != "win32":
    # The thread is not there in a child.
    os.register_at_fork(after_in_child=_renew_watch)


def _raise_in(thread: int, error: type[BaseException]) -> None:
    """Raise an exception at the next instruction of a thread."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))


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
    watch, deadline = _watch, _Deadline(time.monotonic() + seconds, threading.get_ident(), error)
    watch.add(deadline)
    try:
        yield
    finally:
        # Raised in the moment of leaving: the call is over, however it went.
        with contextlib.suppress(error):
            watch.remove(deadline)

"""The thread that asked for a job, put at the job's service: for the runner `inline`."""

from __future__ import annotations

import queue
import signal
import threading
from collections import deque
from contextlib import contextmanager, suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from nbfutures.engine.event_loop import no_running_loop
from nbfutures.engine.forked_children import staying

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nbfutures.engine.contracts import Run

__all__ = ["INTERRUPTED", "CallingThread", "Interrupt"]

INTERRUPTED = "Interrupted while it ran. Run it with job.retry()."

_LOOK_SECONDS = 1.0
_REASON = "Cancelled by an interrupt. Run it with job.retry()."


class _Depth(threading.local):
    """How many jobs the current thread serves, one within an item of the other."""

    jobs = 0


_depth = _Depth()


class Interrupt(KeyboardInterrupt):
    """An interrupt of the notebook: any other `KeyboardInterrupt` is an item's own, such as of a child of it."""


@contextmanager
def _interrupts_marked() -> Iterator[None]:
    """Within it, an interrupt is an `Interrupt`, where this is the thread that gets them."""
    before: Any = None
    if threading.current_thread() is threading.main_thread():
        before = signal.getsignal(signal.SIGINT)

    def mark(number: int, frame: Any) -> None:
        try:
            before(number, frame)
        except Interrupt:
            raise
        except KeyboardInterrupt:
            raise Interrupt from None

    if not callable(before):
        yield
        return
    signal.signal(signal.SIGINT, mark)
    try:
        yield
    except Interrupt:
        if _depth.jobs:
            raise
        raise KeyboardInterrupt from None
    finally:
        if signal.getsignal(signal.SIGINT) is mark:
            signal.signal(signal.SIGINT, before)


def _cut_handler(error: BaseException) -> None:
    """Have an interrupt's traceback end in the item, where a debugger is to begin, and not in what marked it."""
    entry = error.__traceback__
    while entry is not None:
        frame = entry.tb_next.tb_frame if entry.tb_next is not None else None
        if frame is not None and frame.f_globals is globals() and frame.f_code.co_name == "mark":
            entry.tb_next = None
        entry = entry.tb_next


class _Call:
    """A call that one thread makes for another."""

    def __init__(self, body: Callable[[], Any]) -> None:
        self._body = body
        self._context = copy_context()
        self._ended = threading.Event()
        self._value: Any = None
        self.error: BaseException | None = None

    def make(self) -> None:
        """Make the call, unless it was given up on."""
        if self._ended.is_set():
            return
        try:
            with no_running_loop():
                self._value = self._context.run(staying, self._body)
        except BaseException as error:
            _cut_handler(error)
            self.error = error
        self._ended.set()

    def give_up(self) -> None:
        """Have who waits for it go on as if it had been interrupted, unless it has ended."""
        if not self._ended.is_set():
            self.error = Interrupt()
            self._ended.set()

    def result(self) -> Any:
        """Wait for its end, and return or raise what came of it."""
        self._ended.wait()
        if self.error is None:
            return self._value
        try:
            raise self.error
        finally:
            # The frames of an error hold this one.
            del self


class CallingThread:
    """Makes the calls of a job in the thread that started the job, which waits here meanwhile.

    Prefect's engine, the dispatcher and the bookkeeping stay in threads of their own: an interrupt, which Python raises
    in whatever the main thread is just doing, meets an item or this loop, and nothing else.

    An interrupt cancels the job, the item that runs included, and goes on to the cell once the job has come to its end;
    a second one does so at once.

    Args:
        run: The job.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._calls: deque[_Call] = deque()
        """The calls to make; the first is being made."""
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._turn = threading.Lock()
        """Held by the thread that serves."""
        self._server: threading.Thread | None = None
        self._is_left = False

    @property
    def name(self) -> str:
        """What people call the thread that makes the calls."""
        thread = self._server or threading.main_thread()
        return "main thread" if thread is threading.main_thread() else thread.name

    def call(self, body: Callable[[], Any]) -> Any:
        """Have `body` called in the thread that serves, with the context of this one; wait for it.

        Returns:
            What `body` returned.

        Raises:
            BaseException: Whatever it raised; `Interrupt` if it was interrupted, or nobody serves any more.
        """
        call = _Call(body)
        self._calls.append(call)
        self._bell.put(None)
        if self._is_left:
            call.give_up()
        return call.result()

    def serve(self) -> None:
        """Make the job's calls in the current thread until the job is done.

        Raises:
            KeyboardInterrupt: If it was interrupted: once the job has come to its end, or at the second interrupt.
        """
        if self._server is threading.current_thread():
            # An item that retries others of its own job: they are called when it has ended.
            return
        with self._turn, _interrupts_marked():
            self._server = threading.current_thread()
            self._is_left = False
            self._run.on_done(lambda: self._bell.put(None))
            is_interrupted = False
            _depth.jobs += 1
            try:
                while not self._run.state.is_done:
                    try:
                        self._make_calls()
                    except KeyboardInterrupt:
                        if is_interrupted:
                            raise
                        is_interrupted = True
                        self._interrupt()
            except BaseException:
                self._is_left = True
                self._give_up()
                raise
            finally:
                _depth.jobs -= 1
                self._server = None
        if is_interrupted:
            # Within an item of another job, that one is interrupted, too.
            raise (Interrupt if _depth.jobs else KeyboardInterrupt)(
                f"{self._run.name!r} was cancelled by the interrupt. %jobs {self._run.name} is the job, and its "
                f"retry() runs the rest."
            )

    def _make_calls(self) -> None:
        while not self._run.state.is_done:
            if not self._calls:
                with suppress(queue.Empty):
                    self._bell.get(timeout=_LOOK_SECONDS)
                continue
            # Taken out when it has ended: whatever an interrupt meets in between, the call is not lost.
            call = self._calls[0]
            call.make()
            self._calls.popleft()
            if isinstance(call.error, Interrupt):
                raise Interrupt

    def _interrupt(self) -> None:
        self._run.cancel(_REASON)
        self._give_up()

    def _give_up(self) -> None:
        for call in list(self._calls):
            call.give_up()

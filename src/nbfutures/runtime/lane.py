"""One task run of a plain function's job: it pulls items from the job's queue and works through them."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextvars import copy_context
from dataclasses import dataclass, field
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from prefect.utilities.timeout import timeout as interrupt_after

from nbfutures.errors import ItemSkippedError
from nbfutures.model.outcome import Outcome, OutcomeKind
from nbfutures.runtime import capture
from nbfutures.runtime.item_frames import forget_locals, without_own_frames
from nbfutures.runtime.late import timed_out
from nbfutures.runtime.shared_loop import run_shared

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from nbfutures.model.job_state import JobState
    from nbfutures.runtime.work import CallWork
    from nbfutures.runtime.work_queue import WorkQueue

__all__ = ["LANE_SECONDS", "NOTABLE_SECONDS", "Lane", "LaneWork"]

LANE_SECONDS = 1.0
"""A task run takes no further item after this long: 5-10 ms for the task run itself are then 1 % at most."""

NOTABLE_SECONDS = 0.005
"""An item that took this long may wake the dispatcher, so that its outcome is told at once."""
_WAKE_SECONDS = 0.02


@dataclass(slots=True)
class LaneWork:
    """What the lanes of one job share."""

    work: CallWork
    """The calls; its function may be replaced while lanes run."""
    queue: WorkQueue
    state: JobState
    wake: Callable[[], None]
    """Wakes the dispatcher; cheap when it is awake."""
    is_async: bool = False
    quota: int | None = None
    """Items for one lane at most; `None` for as many as fit in `lane_seconds`."""
    lane_seconds: float = LANE_SECONDS
    """A lane takes no further item after this long."""
    retries: int = 0
    retry_delay: float = 0.0
    timeout: float | None = None
    fail_fast: bool = False
    queued: float = 0.0
    """When the items were submitted."""
    cpu_clock: Callable[[], float] = time.thread_time
    """Tells the CPU seconds of the calling thread."""
    stopped: threading.Event = field(default_factory=threading.Event)
    """Set while the job is being cancelled: nothing is tried again then."""
    _tries: dict[tuple[int, int], int] = field(default_factory=dict)
    """Item and its round to the number of attempts that failed and were followed by another."""

    @property
    def has_tries(self) -> bool:
        """Whether some item was tried before."""
        return bool(self._tries)

    def tries(self, index: int) -> int:
        """Return how often the item was tried before, in this round."""
        return self._tries.get((index, self.state.round_of(index)), 0) if self._tries else 0

    def takes_another_try(self, index: int) -> bool:
        """Tell whether the item is to be tried again after a failure, and count that."""
        tries = self.tries(index)
        if tries >= self.retries or self.stopped.is_set():
            return False
        self._tries[index, self.state.round_of(index)] = tries + 1
        return True


class Lane:
    """Works through items until the queue has none, is halted, or the lane's time is over.

    Args:
        work: What it shares with the job's other lanes.
        worker: Name of the worker, for the outcomes.
    """

    is_plain = True
    """Whether an item without retries and timeout is called as it is."""
    is_watched = False
    """Whether somebody may debug the items: frames of errors keep their variables, and a debugger may speak."""

    def __init__(self, work: LaneWork, worker: str) -> None:
        self.work = work
        self.worker = worker
        # Appended to by the lane and emptied by others: append and popleft of a deque are atomic.
        self.records: deque[Outcome] = deque()
        self.running: dict[int, float] = {}
        """Items that are running now, with the start of the attempt. Who takes an item out tells how it ended."""
        self.is_open = True
        """Whether it still takes items."""
        self.pulled = 0
        self._task_run_id: UUID | None = None
        self._failed = 0
        self._last_wake = 0.0

    def drain(self) -> list[Outcome]:
        """Take the outcomes that were not told yet; may be called from any thread."""
        taken: list[Outcome] = []
        while self.records:
            taken.append(self.records.popleft())
        return taken

    def run(self, task_run_id: UUID | None) -> int:
        """Work through items on the calling thread.

        Args:
            task_run_id: Prefect's id of this task run.

        Returns:
            How many items failed.
        """
        capture.renew()
        self._task_run_id = task_run_id
        try:
            self._work_through()
        finally:
            self.is_open = False
            self.work.wake()
        return self._failed

    def abandon(self, index: int) -> bool:
        """Give up on an item that runs in a thread: the thread goes on, but the lane takes no further item.

        Returns:
            Whether the item was still running.
        """
        if self.running.pop(index, None) is None:
            return False
        self.is_open = False
        return True

    @property
    def cpu_clock(self) -> Callable[[], float]:
        """What tells the CPU seconds that the items have used."""
        return self.work.cpu_clock

    def stir(self) -> None:
        """Have the lane look for new items, where it does not by itself; may be called from any thread."""

    # Written out in one loop, with local names: what stands here is paid for every item.
    def _work_through(self) -> None:
        work = self.work
        calls, pull, now, cpu = work.work, work.queue.pull, work.state.clock.now, self.cpu_clock
        round_of, tries, record, running = work.state.round_of, work.tries, self.records.append, self.running
        completed, make = OutcomeKind.COMPLETED, Outcome._make
        worker, run_id, queued = self.worker, self._task_run_id, work.queued
        left = work.quota or -1
        plain = self.is_plain and not work.retries and not work.timeout
        deadline = now() + work.lane_seconds if work.quota is None else float("inf")
        sink = capture.OutputSink(lets_debuggers_speak=self.is_watched)
        with capture.into(sink):
            # What an item sets in its context is its own: copying takes 0.1 us, whatever the context holds.
            fresh = copy_context().copy
            # Reading a thread's CPU clock takes longer than all the rest: what ends one item begins the next.
            cpu_ended = cpu()
            while left and self.is_open and (index := pull()) is not None:
                left -= 1
                self.pulled += 1
                running[index] = now()
                cpu_started = cpu_ended
                try:
                    value = fresh().run(calls.call, index) if plain else fresh().run(self._call, index)
                    if type(value) is CoroutineType:
                        value = run_shared(value)
                except BaseException as error:
                    ended = now()
                    cpu_ended = cpu()
                    started = running.pop(index, None)
                    if started is None:
                        break  # It was given up on meanwhile, and is told or queued again.
                    self._note_failure(index, error, started, ended=ended, used=cpu_ended - cpu_started, sink=sink)
                else:
                    cpu_ended = cpu()
                    ended = now()
                    started = running.pop(index, None)
                    if started is None:
                        break
                    record(
                        make((
                            index, completed, value, None, queued, started, ended, cpu_ended - cpu_started, worker,
                            tries(index) + 1, sink.take(), run_id, round_of(index), None,
                        ))
                    )  # fmt: skip
                    # Nothing that an item returned may live on through this frame.
                    del value
                if ended - started > NOTABLE_SECONDS:
                    self._wake(ended)
                if ended > deadline:
                    break

    def _call(self, index: int) -> Any:
        """Call with retries that follow at once, and with the timeout."""
        work = self.work
        while True:
            self.running[index] = work.state.clock.now()
            try:
                return self._attempt(index)
            except ItemSkippedError:
                raise
            except Exception:
                if not self.tries_at_once(index):
                    raise

    def _attempt(self, index: int) -> Any:
        """Call with the timeout."""
        work = self.work
        if work.timeout is None:
            return work.work.call(index)
        try:
            # Stops pure Python code in its tracks; what blocks in C is given up on by the dispatcher.
            with interrupt_after(work.timeout, timeout_exc_type=_ExpiredError):
                return work.work.call(index)
        except _ExpiredError:
            raise timed_out(work.timeout) from None

    def tries_at_once(self, index: int) -> bool:
        """Tell whether an item that failed is to be tried again here and now, and count that."""
        return self.work.retry_delay <= 0 and index in self.running and self.work.takes_another_try(index)

    def _note_failure(
        self,
        index: int,
        error: BaseException,
        started: float,
        *,
        ended: float,
        used: float | None,
        sink: capture.OutputSink,
    ) -> None:
        work = self.work
        skipped = isinstance(error, ItemSkippedError)
        if isinstance(error, Exception) and not skipped and work.takes_another_try(index):
            sink.take()
            work.queue.put_later(index, ended + work.retry_delay)
            work.wake()
            return
        if not skipped:
            self._failed += 1
            if work.fail_fast:
                # The dispatcher cancels the job once it sees the failure; until then nothing more is to start.
                work.queue.halt()
        trace = without_own_frames(error.__traceback__)
        if self.is_watched:
            error.__traceback__ = trace
        else:
            forget_locals(error, trace)
        self.records.append(
            self._failure(
                Outcome(
                    index=index,
                    kind=OutcomeKind.SKIPPED if skipped else OutcomeKind.FAILED,
                    error=error,
                    queued=work.queued,
                    started=None if skipped else started,
                    ended=ended,
                    cpu_seconds=used,
                    worker=self.worker,
                    attempts=0 if skipped else work.tries(index) + 1,
                    output=sink.take(),
                    task_run_id=self._task_run_id,
                    round=work.state.round_of(index),
                    traceback=trace,
                )
            )
        )

    def _failure(self, failure: Outcome) -> Outcome:
        """Return the outcome to be told of an item that failed."""
        return failure

    def _wake(self, now: float) -> None:
        """Wake the dispatcher, but not for every item."""
        if now - self._last_wake > _WAKE_SECONDS:
            self._last_wake = now
            self.work.wake()


class _ExpiredError(TimeoutError):
    """The lane's own timeout, told apart from one that the function raises."""

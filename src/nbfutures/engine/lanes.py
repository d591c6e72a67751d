"""One task run of a plain function's job: it pulls items from the job's queue and works through them."""

from __future__ import annotations

import threading
import time
from array import array
from collections import deque
from contextvars import copy_context
from dataclasses import dataclass, field
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Protocol

from nbfutures.engine import capture
from nbfutures.engine.forked_children import end_if_forked, forks
from nbfutures.engine.item_frames import forget_locals, without_own_frames
from nbfutures.engine.no_limit import NO_LIMIT, NoLimit
from nbfutures.engine.shared_loop import run_shared
from nbfutures.engine.timeouts import interrupt_after, timed_out
from nbfutures.errors import ItemSkippedError
from nbfutures.model.outcome import ATOMS, AtomicOutcome, Outcome, OutcomeKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableSequence
    from uuid import UUID

    from nbfutures.engine.calls.work import CallWork
    from nbfutures.engine.work_queue import WorkQueue
    from nbfutures.model.job_state import JobState

__all__ = ["COROUTINES", "NOTABLE_SECONDS", "NOTHING", "Lane", "LaneWork"]

LANE_SECONDS = 1.0
"""A task run takes no further item after this long: 5-10 ms for the task run itself are then 1 % at most."""


COROUTINES = 100
"""Coroutines at once where neither `workers` nor `in_flight` says otherwise."""


class SupportsAbandon(Protocol):
    """A lane, here or elsewhere."""

    running: dict[int, float]
    """Items that are running now, with the start of the attempt."""

    def abandon(self, index: int) -> bool:
        """Give up on an item; return whether it was still running."""
        ...


@dataclass(slots=True)
class LaneWork:
    """What the lanes of one job share."""

    work: CallWork
    """The calls; its function may be replaced while lanes run."""
    queue: WorkQueue
    state: JobState
    wake: Callable[[], None]
    """Wakes the dispatcher; cheap when it is awake."""
    limit: NoLimit = NO_LIMIT
    """Asked for a slot before an item starts, or, by who works through one item at a time, before it begins."""
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
    tried: dict[tuple[int, int], int] = field(default_factory=dict)
    """Item and its round to the number of attempts that failed and were followed by another."""

    @property
    def has_tries(self) -> bool:
        """Whether some item was tried before."""
        return bool(self.tried)

    def tries(self, index: int) -> int:
        """Return how often the item was tried before, in this round."""
        return self.tried.get((index, self.state.round_of(index)), 0) if self.tried else 0

    def takes_another_try(self, index: int) -> bool:
        """Tell whether the item is to be tried again after a failure, and count that."""
        tries = self.tries(index)
        if tries >= self.retries or self.stopped.is_set():
            return False
        self.tried[index, self.state.round_of(index)] = tries + 1
        return True

    def give_up_late(self, lane: SupportsAbandon, timeout: float, grace: float) -> Iterator[tuple[int, float]]:
        """Give up on items that did not notice their timeout; yield those that are not tried again, and their start.

        Args:
            lane: Where the items run.
            timeout: Seconds.
            grace: Seconds that an item may take to notice it.
        """
        now = self.state.clock.now()
        for index, started in lane.running.copy().items():
            if now - started < timeout + grace or not lane.abandon(index):
                continue
            if self.takes_another_try(index):
                self.queue.put_later(index, now + self.retry_delay)
            else:
                yield index, started

    def ended_from_outside(
        self, index: int, kind: OutcomeKind, error: BaseException, started: float | None, worker: str | None = None
    ) -> Outcome:
        """Return the outcome of an item of which its lane will not tell how it ended.

        Args:
            index: The item.
            kind: How it ended.
            error: Why.
            started: When its attempt began, if that is known.
            worker: Where it ran, if that is worth telling.
        """
        return Outcome(
            index=index,
            kind=kind,
            error=error,
            queued=self.queued,
            started=started,
            ended=self.state.clock.now(),
            worker=worker,
            attempts=self.tries(index) + 1,
            round=self.state.round_of(index),
        )

    def unrun(self, index: int, kind: OutcomeKind, error: BaseException) -> Outcome:
        """Return the outcome of an item that never ran, as far as is known.

        Args:
            index: The item.
            kind: How it ended.
            error: Why.
        """
        now, round_ = self.state.clock.now(), self.state.round_of(index)
        return Outcome(index, kind, None, error, self.queued, None, now, round=round_)


NOTABLE_SECONDS = 0.005
"""An item that took this long may wake the dispatcher, so that its outcome is told at once."""
_WAKE_SECONDS = 0.02

NOTHING = -1
"""Stands where the number of the running item does; once one has ended, -3 less its number does."""

_SHORT_SECONDS = 20e-6
"""Reading a thread's CPU clock takes 0.5 us: of an item that took less than this, its seconds stand for it."""
_SHORT_ITEMS = 50
"""The CPU clock is read after so many of them, as what runs between the items adds up."""


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
        self.is_over = False
        """Whether nothing of it runs any more, an item that was given up on included."""
        self.pulled = 0
        self._forks = forks.count
        self.mark: MutableSequence[int] = array("q", [NOTHING])
        """Which item runs; may be put where another process sees it."""
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
            self.is_over = True
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
    def _work_through(self) -> None:  # noqa: C901, PLR0912, PLR0915
        work = self.work
        calls, pull, now, cpu, mark = work.work, work.queue.pull, work.state.clock.now, self.cpu_clock, self.mark
        rounds, tried, record, running = work.state.rounds, work.tried, self.records.append, self.running
        completed, worker, run_id, queued = OutcomeKind.COMPLETED, self.worker, self._task_run_id, work.queued
        left, forked = work.quota or -1, self._forks
        plain = self.is_plain and not work.retries and not work.timeout
        deadline = now() + work.lane_seconds if work.quota is None else float("inf")
        sink = capture.OutputSink(lets_debuggers_speak=self.is_watched)
        with capture.into(sink):
            # What an item sets in its context is its own: copying takes 0.1 us, whatever the context holds.
            fresh = copy_context().copy
            # What ends one item begins the next.
            cpu_known, short = cpu(), 0
            while left and self.is_open and (index := pull()) is not None:
                left -= 1
                self.pulled += 1
                mark[0] = index
                running[index] = now()
                try:
                    value = fresh().run(calls.call, index) if plain else fresh().run(self._call, index)
                    if type(value) is CoroutineType:
                        value = run_shared(value)
                except BaseException as error:
                    if forks.count != forked:
                        end_if_forked(forked, error)
                    ended = now()
                    cpu_began, cpu_known = cpu_known, cpu()
                    started = running.pop(index, None)
                    if started is None:
                        break  # It was given up on meanwhile, and is told or queued again.
                    mark[0] = -3 - index
                    self._note_failure(index, error, started, ended=ended, used=cpu_known - cpu_began, sink=sink)
                else:
                    if forks.count != forked:
                        end_if_forked(forked)
                    ended = now()
                    started = running.pop(index, None)
                    if started is None:
                        break
                    mark[0] = -3 - index
                    used = ended - started
                    if used >= _SHORT_SECONDS:
                        cpu_began, cpu_known, short = cpu_known, cpu(), 0
                        used = max(cpu_known - cpu_began, 0.0)
                    elif short < _SHORT_ITEMS:
                        short += 1
                        cpu_known += used
                    else:
                        cpu_known, short = cpu(), 0
                    record(
                        (AtomicOutcome if type(value) in ATOMS else Outcome)(
                            index, completed, value, None, queued, started, ended, used, worker,
                            work.tries(index) + 1 if tried else 1, sink.take(ended - started), run_id,
                            rounds.get(index, 0) if rounds else 0,
                        )
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
            except Exception as error:
                if not self.tries_at_once(index, error):
                    raise

    def _attempt(self, index: int) -> Any:
        """Call with the timeout."""
        work = self.work
        if work.timeout is None:
            return work.work.call(index)
        try:
            # Stops pure Python code in its tracks; what blocks in C is given up on by the dispatcher.
            with interrupt_after(work.timeout, _ExpiredError):
                return work.work.call(index)
        except _ExpiredError:
            raise timed_out(work.timeout) from None

    def tries_at_once(self, index: int, error: BaseException) -> bool:
        """Tell whether an item that failed is to be tried again here and now, and count that."""
        end_if_forked(self._forks, error)
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
            error.with_traceback(trace)
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

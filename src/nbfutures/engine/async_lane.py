"""A lane of coroutines: one task run with many items in flight in an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from typing import TYPE_CHECKING, Any

from nbfutures.engine import capture
from nbfutures.engine.event_loop import await_within
from nbfutures.engine.forked_children import end_if_forked
from nbfutures.engine.lanes import NOTABLE_SECONDS, Lane
from nbfutures.engine.shared_loop import home_loop
from nbfutures.engine.timeouts import timed_out
from nbfutures.errors import ItemSkippedError
from nbfutures.model.outcome import Outcome, OutcomeKind

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from nbfutures.engine.lanes import LaneWork
    from nbfutures.engine.shared_loop import SharedLoop

__all__ = ["AsyncLane"]


class AsyncLane(Lane):
    """Works through items until the queue has none or is halted, many at once.

    Args:
        work: What it shares with the job's other lanes.
        worker: Name of the worker, for the outcomes.
        slots: How many coroutines may run at once.
        run: Runs a coroutine to its end in an event loop, and blocks.
    """

    def __init__(
        self, work: LaneWork, worker: str, slots: int, run: Callable[[Coroutine[Any, Any, None]], Any] | None = None
    ) -> None:
        super().__init__(work, worker)
        self.slots = slots
        self._run = run or _run_alone
        self.home: SharedLoop | None = None
        """The shared loop that it runs in, once it does."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stir: asyncio.Event | None = None

    def stir(self) -> None:
        """Have the lane look for new items; may be called from any thread."""
        loop, event = self._loop, self._stir
        if loop is not None and event is not None:
            # The loop may be closed in between: then the lane is at its end, and needs no telling.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(event.set)

    def _work_through(self) -> None:
        self._run(self._work_through_async())

    async def _work_through_async(self) -> None:
        work, queue, limit = self.work, self.work.queue, self.work.limit
        self.home = home_loop()
        self._loop = asyncio.get_running_loop()
        self._stir = asyncio.Event()
        tasks: set[asyncio.Task[None]] = set()

        def done(task: asyncio.Task[None]) -> None:
            tasks.discard(task)
            limit.give()
            if self._stir is not None:
                self._stir.set()

        while True:
            while self.is_open and len(tasks) < self.slots and (work.quota is None or self.pulled < work.quota):
                if not limit.take(1):
                    break
                index = queue.try_pull()
                if index is None:
                    limit.give()
                    break
                self.pulled += 1
                if self.pulled == work.quota:
                    # Another lane may start while this one's items end.
                    self.is_open = False
                    work.wake()
                task = asyncio.create_task(self._one(index))
                tasks.add(task)
                task.add_done_callback(done)
            pause = queue.seconds_to_turn() if len(queue) else 0.0
            if not tasks and (not self.is_open or (not pause and not queue.may_get_more)):
                break
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stir.wait(), pause or None)
            self._stir.clear()

    async def _one(self, index: int) -> None:
        work = self.work
        now = work.state.clock.now
        sink = capture.OutputSink()
        self.running[index] = now()
        cpu_started = work.cpu_clock()
        with capture.into(sink):
            try:
                value = await self._call_async(index)
            except BaseException as error:
                end_if_forked(self._forks, error)
                started = self.running.pop(index, None)
                if started is None:
                    return  # It was given up on meanwhile, and is told or queued again.
                self._note_failure(index, error, started, ended=now(), used=self._used(cpu_started), sink=sink)
            else:
                end_if_forked(self._forks)
                started = self.running.pop(index, None)
                if started is None:
                    return
                self.records.append(
                    Outcome(
                        index=index,
                        kind=OutcomeKind.COMPLETED,
                        value=value,
                        queued=work.queued,
                        started=started,
                        ended=now(),
                        cpu_seconds=self._used(cpu_started),
                        worker=self.worker,
                        attempts=work.tries(index) + 1,
                        output=sink.take(),
                        task_run_id=self._task_run_id,
                        round=work.state.round_of(index),
                    )
                )
        ended = now()
        if ended - started > NOTABLE_SECONDS:
            self._wake(ended)

    def _used(self, cpu_started: float) -> float | None:
        """Return the CPU seconds of an item; with others in the same thread, nobody knows whose they are."""
        return self.work.cpu_clock() - cpu_started if self.slots == 1 else None

    async def _call_async(self, index: int) -> Any:
        work = self.work
        while True:
            self.running[index] = work.state.clock.now()
            try:
                made = work.work.call(index)
                if not inspect.isawaitable(made):
                    return made
                return await await_within(made, work.timeout, timed_out(work.timeout or 0.0))
            except ItemSkippedError:
                raise
            except Exception as error:
                if not self.tries_at_once(index, error):
                    raise


def _run_alone(lane: Coroutine[Any, Any, None]) -> None:
    """Run a lane in a loop of its own; what a task raises that a coroutine has made ends neither."""
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        task = loop.create_task(lane)
        while not task.done():
            with contextlib.suppress(KeyboardInterrupt, SystemExit):
                loop.run_until_complete(task)
        task.result()

"""The window of a job outside the kernel: as many lanes as workers, one in each."""

from __future__ import annotations

import functools
import itertools
import time
import uuid
from typing import TYPE_CHECKING, Any

from nbfutures.engine.job_note import JobNote
from nbfutures.engine.lanes import COROUTINES, NOTHING
from nbfutures.engine.workers.surroundings import Surroundings
from nbfutures.model.outcome import Outcome, OutcomeKind
from nbfutures.prefect.names import template_of
from nbfutures.prefect.outcomes import problem_of
from nbfutures.prefect.remote.crash_recovery import (
    GRACE_SECONDS,
    READING,
    RUNNING,
    SEVERAL,
    TELLING,
    Mark,
    Silence,
    cancelled_in_mid_run,
    no_worker,
    out_of_time,
    worker_died,
)
from nbfutures.prefect.remote.lane import RemoteLane, Supply
from nbfutures.prefect.remote.worker import LaneSettings, run_remote_lane

if TYPE_CHECKING:
    from prefect.futures import PrefectFuture

    from nbfutures.engine.contracts import Run
    from nbfutures.engine.dispatcher import Dispatcher
    from nbfutures.engine.lanes import LaneWork
    from nbfutures.engine.workers.contracts import RemoteRunner
    from nbfutures.prefect.feed import Feed

__all__ = ["RemoteWindow"]


class Leftovers:
    """Decides what ends, what is tried again and what goes back.

    Args:
        run: The job.
        work: What its lanes share.
        supply: Where items go back to.
        runner: Where the lanes run.
    """

    def __init__(self, run: Run, work: LaneWork, supply: Supply, runner: RemoteRunner) -> None:
        self._run = run
        self._work = work
        self._supply = supply
        self._runner = runner
        self._deaths: dict[tuple[int, int], int] = {}
        """Item and its round to the workers that died under it."""
        self._suspects: set[tuple[int, int]] = set()
        """Items, and their rounds, of which one has ended its worker, nobody knows which."""

    def settle(
        self, lane: RemoteLane, left: list[int], running: dict[int, float], problem: BaseException | None
    ) -> list[Outcome]:
        """Decide on items that a worker held when it ended, and return the outcomes of those that have one by that.

        Args:
            lane: Its lane.
            left: The items of which nothing was told.
            running: Those that it said were running, with the start of the attempt.
            problem: Why its task run ended, if that is known.
        """
        if not left:
            return []
        marked = lane.mark.read(RUNNING) if lane.mark is not None else None
        told: list[Outcome] = []
        if self._run.stopped.is_set() or lane.ended_for == "cancel":
            begun = [index for index in left if index == marked or index in running]
            told = [
                self._work.ended_from_outside(
                    index, OutcomeKind.CANCELLED, cancelled_in_mid_run(index), running.get(index)
                )
                for index in begun
            ]
            # What had not begun is cancelled by the dispatcher, or runs if the job was retried meanwhile.
            left = [index for index in left if index not in begun]
        elif lane.ended_for is None:
            blamed = self._blamed(lane, left)
            if blamed is None:
                # One at a time: should it happen again, it is known which.
                self._supply.note_death(1)
            else:
                left.remove(blamed)
                told = self._note_death(lane, blamed, running.get(blamed), problem, held=len(left) + 1)
        self._supply.put_back(left)
        return told

    def _blamed(self, lane: RemoteLane, left: list[int]) -> int | None:
        """Return the item that ended its worker; `None` if that is not known, so that all run again, fewer at once."""
        if lane.mark is None:
            return left[0]
        busy = [marked for place in (TELLING, READING, RUNNING) if (marked := lane.mark.read(place)) != NOTHING]
        if busy:
            return busy[0] if busy[0] in left else left[0] if len(left) == 1 else None
        # It ended while nothing ran, as far as is known: something that an item has left behind did it.
        begun = left
        if (last := lane.mark.last) in left:
            begun = left[: left.index(last) + 1]
        elif last != SEVERAL and len(left) > 1:
            return None
        keys = {(index, self._run.state.round_of(index)) for index in begun}
        known = keys & self._suspects
        self._suspects |= keys
        if len(begun) == 1 and last == begun[0]:
            return begun[0]
        return min(known)[0] if known else None

    def _note_death(
        self, lane: RemoteLane, index: int, started: float | None, problem: BaseException | None, *, held: int
    ) -> list[Outcome]:
        """Have an item that ended its worker tried again, or return it as failed."""
        key = index, self._run.state.round_of(index)
        deaths = self._deaths[key] = self._deaths.get(key, 0) + 1
        if deaths <= self._runner.deaths_allowed:
            self._supply.note_death(held)
            self._supply.put_back([index])
            return []
        if self._work.takes_another_try(index):
            self._work.queue.put_later(index, self._run.state.clock.now() + self._work.retry_delay)
            return []
        error = worker_died(self._runner.kind, index, problem)
        return [self._work.ended_from_outside(index, OutcomeKind.FAILED, error, started, lane.worker)]

    def give_up_late(self, lane: RemoteLane, timeout: float) -> list[Outcome]:
        """Give up on items that did not notice their timeout, and return the outcomes of those not tried again.

        Args:
            lane: Where they run.
            timeout: Seconds.
        """
        return [
            self._work.ended_from_outside(
                index,
                OutcomeKind.FAILED,
                out_of_time(timeout, was_ended=lane.ended_for is not None),
                started,
                lane.worker,
            )
            for index, started in self._work.give_up_late(lane, timeout, GRACE_SECONDS)
        ]


_EMPTY_CRASHES = 3
_PING_SECONDS = 10.0
_PATIENCE_SECONDS = 2.0
_numbers = itertools.count(1)
_kernel = uuid.uuid4().hex[:8]
"""Several kernels may use one cluster."""


class RemoteWindow:
    """Keeps a lane at work in each of the job's workers.

    Args:
        dispatcher: The dispatcher that owns this window.
        feed: Tells when a lane's task run is done.
        runner: Where the lanes run.
        work: What the lanes share.
        workers: Lanes at once.
        in_flight: Items at once, at most.
        name: Name of the task runs.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        feed: Feed,
        runner: RemoteRunner,
        work: LaneWork,
        *,
        workers: int,
        in_flight: int | None,
        name: str,
    ) -> None:
        self._dispatcher = dispatcher
        self._run = dispatcher.run
        self._feed = feed
        self._runner = runner
        self._work = work
        self._most = min(workers, in_flight or workers)
        self._slots = max((in_flight or COROUTINES) // self._most, 1)
        self._supply = Supply(self._run, work, lanes=self._most, slots=self._slots, in_flight=in_flight)
        self._leftovers = Leftovers(self._run, work, self._supply, runner)
        self._name = name
        self._lanes: dict[RemoteLane, tuple[str, int, PrefectFuture[Any]]] = {}
        self._count = 0
        self._crashes = 0
        self._cancelled_at: float | None = None
        self._pinged = self._waiting_since = time.monotonic()
        self._note = JobNote(self._run.state)
        self._silence = Silence(runner)

    @property
    def is_growing(self) -> bool:
        """Whether more lanes are wanted than have been started."""
        working = sum(lane.is_open for lane in list(self._lanes))
        return working < self._most and self._supply.is_waiting and self._work.limit.free > 0

    @property
    def busy(self) -> bool:
        """Whether lanes are in flight."""
        return bool(self._lanes)

    def refill(self) -> None:
        """Start lanes while there are items for them, and keep those that run supplied."""
        self._cancelled_at = None
        lanes = [lane for lane in list(self._lanes) if lane.is_open]
        for lane in lanes:
            lane.top_up()
        self._release_closed()
        lanes = [lane for lane in lanes if lane.is_open]
        # Lanes that are still connecting have nothing yet: each may be counted on for an item.
        entering = sum(not lane.pulled and not lane.outstanding for lane in lanes)
        # Nor may more be there than have a slot, or will take one.
        free = self._work.limit.free - sum(not lane.slots.held for lane in lanes)
        for _ in range(min(self._most - len(lanes), len(self._work.queue) - entering, free)):
            self._start()
        self._share_out(lanes)

    def sweep(self) -> None:
        """Tell what has ended, and end the workers of what ran out of time or was cancelled."""
        if not self._runner.has_own_processes:
            self._keep_in_touch()
        lanes = list(self._lanes.items())
        self._silence.look(
            [future for _, (_, _, future) in lanes], [future for lane, (_, _, future) in lanes if lane.wire.is_over]
        )
        told: list[Outcome] = []
        for lane in list(self._lanes):
            told.extend(lane.drain())
            self._look_for_problem(lane)
            if self._work.timeout is not None:
                told.extend(self._leftovers.give_up_late(lane, self._work.timeout))
            if self._run.is_halted:
                lane.give_back()
        if told:
            self._run.settle(told)
        if self._cancelled_at is not None and time.monotonic() - self._cancelled_at > GRACE_SECONDS:
            for lane in list(self._lanes):
                if lane.outstanding:
                    lane.kill("cancel")

    def _keep_in_touch(self) -> None:
        """Have a cluster's workers know that the kernel is there, and say so when none takes up the work."""
        now = time.monotonic()
        if now - self._pinged > _PING_SECONDS:
            self._pinged = now
            for lane in list(self._lanes):
                lane.ping()
        lanes = [lane for lane in list(self._lanes) if lane.is_open]
        if not lanes or any(lane.wire.was_connected for lane in lanes):
            self._waiting_since = now
            self._note.tell("")
        elif now - self._waiting_since > _PATIENCE_SECONDS:
            self._note.tell(f"waiting for a free {self._runner.kind}")

    def close(self) -> None:
        """Let the processes go on to the next job."""
        for lane, (_, _, future) in list(self._lanes.items()):
            # Nobody waits for what it may still run: the job crashed. A retry runs that anew, elsewhere.
            if lane.forget_outstanding():
                lane.kill("cancel")
            lane.close()
            if not lane.wire.was_connected and not self._runner.has_own_processes:
                self._runner.take_back(future)
        self._release_closed()

    def running(self) -> int:
        """Return how many items are being worked on."""
        return sum(min(len(lane.outstanding), max(len(lane.running), 1)) for lane in list(self._lanes))

    def is_running(self, index: int) -> bool:
        """Tell whether the item is being worked on."""
        return any(index in lane.running for lane in list(self._lanes))

    def missing(self) -> int:
        """Return how many more items could run at once now if there were slots for them."""
        most = self._most * (self._slots if self._work.is_async else 1)
        return min(most - sum(lane.slots.held for lane in list(self._lanes)), len(self._work.queue))

    def cancel_queued(self) -> None:
        """Take back what no worker has begun; what does not end by itself within half a second is ended."""
        if self._cancelled_at is None:
            self._cancelled_at = time.monotonic()
        for lane in list(self._lanes):
            lane.give_back()

    def _share_out(self, lanes: list[RemoteLane]) -> None:
        """Have items that wait behind a slow one returned, where another worker has nothing to do."""
        if self._supply.is_waiting or all(lane.outstanding for lane in lanes):
            return
        for lane in lanes:
            lane.give_back()

    def _release_closed(self) -> None:
        """Let the next lane, of this job or another, have the process of a lane that takes no more items."""
        for lane, (_, _, future) in list(self._lanes.items()):
            if not lane.is_open and not lane.outstanding and lane.ended_for is None:
                self._runner.let_go(future)

    def _start(self) -> None:
        self._count += 1
        used = {number for lane, (_, number, _) in list(self._lanes.items()) if lane.is_open}
        number = next(number for number in itertools.count(1) if number not in used)
        runner, work = self._runner, self._work
        owns = runner.has_own_processes
        slots = self._slots if work.is_async else 1
        lane = RemoteLane(self._supply, f"{runner.kind} {number}", self._run.rounds, Mark() if owns else None, slots)
        key = f"{self._name} {self._count} ({_kernel} {next(_numbers)})"
        runner.post.expect(key, lane.connect)
        settings = LaneSettings(
            worker=lane.worker,
            mark=lane.mark.path if lane.mark is not None else None,
            surroundings=Surroundings() if runner.is_local else None,
            is_async=work.is_async,
            slots=self._slots,
            retries=work.retries,
            retry_delay=work.retry_delay,
            timeout=work.timeout,
            fail_fast=work.fail_fast,
            queued=work.queued,
        )
        named = run_remote_lane.with_options(name=self._name, task_run_name=template_of(f"{self._name} {self._count}"))
        parameters = {"lane": key, "route": runner.post.route, "settings": settings}
        future = runner.submit(named, parameters)
        lane.end_worker = functools.partial(runner.kill, future)
        self._lanes[lane] = (key, number, future)
        self._feed.watch(future, lambda: self._on_done(lane, future))

    def _on_done(self, lane: RemoteLane, future: PrefectFuture[Any]) -> None:
        """Take in the end of a lane's task run; on the feed's thread."""
        try:
            self._take_end(lane, future)
        finally:
            self._dispatcher.wake()

    def _take_end(self, lane: RemoteLane, future: PrefectFuture[Any]) -> None:
        key, _, _ = self._lanes[lane]
        lane.is_open = False
        self._runner.post.forget(key)
        problem = problem_of(future)
        lane.wire.wait_for_last_words()
        left, running = list(lane.outstanding), dict(lane.running)
        told = lane.drain()
        lane.outstanding.clear()
        lane.let_go_slots()
        # Else a cluster would run it once more if it lost what came of it.
        self._runner.let_go(future)
        told += self._leftovers.settle(lane, left, running, problem)
        if lane.mark is not None:
            lane.mark.close()
        # Only now: the dispatcher looks at the problem of those that are here.
        del self._lanes[lane]
        if told:
            self._run.settle(told)
        self._look_for_problem(lane)
        self._crashes = 0 if lane.wire.was_connected or lane.round != self._run.rounds else self._crashes + 1
        if self._crashes >= _EMPTY_CRASHES:
            self._crash(lane, no_worker(self._runner.kind, problem))

    def _look_for_problem(self, lane: RemoteLane) -> None:
        """End the job for what keeps all its items from being sent."""
        problem, lane.problem = lane.problem, None
        if problem is not None:
            self._crash(lane, problem)

    def _crash(self, lane: RemoteLane, problem: BaseException) -> None:
        # Not if the job has ended for it already, and perhaps runs again by now.
        if self._dispatcher.closed or self._run.stopped.is_set() or lane.round != self._run.rounds:
            return
        self._crashes = 0
        self._run.crash(problem)

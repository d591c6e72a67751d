"""The window of a plain function's job: a few lanes, each working through many items."""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, Protocol

from nbfutures.engine.async_lane import AsyncLane
from nbfutures.engine.lanes import Lane
from nbfutures.engine.shared_loop import PATIENCE_SECONDS, run_shared
from nbfutures.engine.timeouts import GRACE_SECONDS, STUCK_LOOP, STUCK_THREAD, given_up_on
from nbfutures.errors import JobCrashedError
from nbfutures.model.outcome import Outcome, OutcomeKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from nbfutures.engine.dispatcher import Dispatcher
    from nbfutures.engine.lanes import LaneWork

__all__ = ["LaneStarter", "LaneWindow"]

_EMPTY_CRASHES = 3
"""Task runs that may crash before they ran an item, one after the other, before the job crashes."""


class LaneStarter(Protocol):
    """Starts lanes."""

    def __call__(self, lane: Lane, number: int, on_done: Callable[[BaseException | None], None]) -> None:
        """Start a lane. Does not block.

        Args:
            lane: Its `run` is to be called, on a thread of its own.
            number: How many the job has started by now, this one included.
            on_done: To be called when it has ended, with what ended it from outside, if something did.
        """
        ...


class LaneWindow:
    """Keeps as many lanes at work as the job has workers.

    Args:
        dispatcher: The dispatcher that owns this window.
        start: Starts lanes.
        work: What the lanes share.
        workers: Lanes at once.
        in_flight: Items at once, at most; for coroutines their number.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        start: LaneStarter,
        work: LaneWork,
        *,
        workers: int,
        in_flight: int | None,
    ) -> None:
        self._dispatcher = dispatcher
        self._run = dispatcher.run
        self._start_lane = start
        self._work = work
        self._slots = in_flight or workers
        self._most = 1 if work.is_async else min(workers, in_flight or workers)
        self._lanes: dict[Lane, int] = {}
        self._holding: set[Lane] = set()
        """Lanes that have a slot of the job's limits: what works through one item at a time needs one."""
        self._count = 0
        self._crashes = 0

    @property
    def is_growing(self) -> bool:
        """Whether more lanes are wanted than have been started."""
        working = sum(lane.is_open for lane in list(self._lanes))
        return working < self._most and bool(self._work.queue) and self._work.limit.free > 0

    @property
    def busy(self) -> bool:
        """Whether lanes are in flight."""
        return bool(self._lanes)

    def refill(self) -> None:
        """Start lanes while there are items for them."""
        lanes = list(self._lanes)
        for lane in lanes:
            if lane.is_open and self._work.is_async and len(self._work.queue):
                lane.stir()
        for lane in list(self._holding):
            if lane.is_over:
                self._give_slot(lane)
        working = sum(lane.is_open for lane in lanes)
        entering = sum(lane.is_open and not lane.pulled for lane in lanes)
        # Twice as many at each look: a handful of quick items is done by one lane, and makes one task run.
        wanted = min(self._most - working, len(self._work.queue) - entering, working - entering + 1)
        limit = self._work.limit
        # A lane of coroutines takes one for each of them.
        for _ in range(min(wanted, limit.free) if self._work.is_async else limit.take(max(wanted, 0))):
            self._start()

    def missing(self) -> int:
        """Return how many more items could run at once now if there were slots for them."""
        lanes, queued = list(self._lanes), len(self._work.queue)
        if self._work.is_async:
            return min(self._slots - sum(len(lane.running) for lane in lanes), queued)
        entering = sum(lane.is_open and not lane.pulled for lane in lanes)
        return min(self._most - sum(lane.is_open for lane in lanes), queued - entering)

    def _give_slot(self, lane: Lane) -> None:
        try:
            self._holding.remove(lane)
        except KeyError:
            return
        self._work.limit.give()

    def sweep(self) -> None:
        """Tell what the lanes have recorded, and give up on what ran out of time."""
        told: list[Outcome] = []
        for lane in list(self._lanes):
            told.extend(lane.drain())
            if isinstance(lane, AsyncLane):
                told.extend(self._leave_blocked(lane))
            elif self._work.timeout is not None:
                told.extend(self._give_up_late(lane, self._work.timeout, STUCK_THREAD))
        if told:
            self._run.settle(told)

    def close(self) -> None:
        """Have coroutines' lanes notice that nothing more comes; what is in flight ends by itself."""
        self.cancel_queued()

    def running(self) -> int:
        """Return how many items are being worked on."""
        return sum(len(lane.running) for lane in list(self._lanes))

    def is_running(self, index: int) -> bool:
        """Tell whether the item is being worked on."""
        return any(index in lane.running for lane in list(self._lanes))

    def cancel_queued(self) -> None:
        """Have coroutines notice that there is nothing more to do; threads see it after their item."""
        for lane in list(self._lanes):
            lane.stir()

    def _start(self) -> None:
        # What is in a loop that is blocked does not go on, and is not counted.
        slots = self._slots - sum(
            len(lane.running) for lane in list(self._lanes) if lane.is_open or not _is_blocked(lane)
        )
        if self._work.is_async and slots < 1:
            return
        self._count += 1
        # A lane that takes no more items has left its place to another, though Prefect may still record its end.
        used = {number for lane, number in list(self._lanes.items()) if lane.is_open}
        number = next(number for number in itertools.count(1) if number not in used)
        lane = self._make_lane(number, slots)
        if self._work.limit.is_limited and not self._work.is_async:
            self._holding.add(lane)
        self._lanes[lane] = number
        self._start_lane(lane, self._count, functools.partial(self._on_done, lane))

    def _make_lane(self, number: int, slots: int) -> Lane:
        worker = f"thread {number}"
        return AsyncLane(self._work, worker, slots, run_shared) if self._work.is_async else Lane(self._work, worker)

    def _on_done(self, lane: Lane, problem: BaseException | None) -> None:
        """Take in the end of a lane; on whichever thread tells it."""
        del self._lanes[lane]
        lane.is_open = False
        lane.is_over = True
        self._give_slot(lane)
        told = lane.drain()
        # Items that the lane took and did not record: only a failure of the engine itself leaves some.
        for index in list(lane.running):
            lost = JobCrashedError(f"Prefect ended the task run under the item: {problem}. Run it with job.retry().")
            started = lane.running.pop(index)
            told.append(self._work.ended_from_outside(index, OutcomeKind.FAILED, lost, started))
        if told:
            self._run.settle(told)
        self._crashes = self._crashes + 1 if problem is not None and not lane.pulled else 0
        if problem is not None and self._crashes >= _EMPTY_CRASHES:
            self._run.crash(problem)
        self._dispatcher.wake()

    def _leave_blocked(self, lane: AsyncLane) -> list[Outcome]:
        """Give up on what ran out of time where something blocks the event loop; the rest runs in another loop."""
        home, timeout = lane.home, self._work.timeout
        if home is None or not lane.running or home.silent_for < GRACE_SECONDS:
            return []
        late = self._give_up_late(lane, timeout, STUCK_LOOP) if timeout is not None else []
        if late or not lane.is_open or home.silent_for > PATIENCE_SECONDS:
            lane.is_open = False
            home.retire()
        return late

    def _give_up_late(self, lane: Lane, timeout: float, why: str) -> list[Outcome]:
        return [
            self._work.ended_from_outside(index, OutcomeKind.FAILED, given_up_on(timeout, why), started)
            for index, started in self._work.give_up_late(lane, timeout, GRACE_SECONDS)
        ]


def _is_blocked(lane: Lane) -> bool:
    home = lane.home if isinstance(lane, AsyncLane) else None
    return home is not None and home.silent_for > GRACE_SECONDS

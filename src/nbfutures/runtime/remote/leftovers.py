"""What becomes of the items that a worker held when it ended, or when their time was over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbfutures.model.outcome import Outcome, OutcomeKind
from nbfutures.runtime.lanes.lane import NOTHING
from nbfutures.runtime.lanes.late import give_up_late
from nbfutures.runtime.remote.endings import GRACE_SECONDS, cancelled_in_mid_run, out_of_time, worker_died
from nbfutures.runtime.remote.mark import READING, RUNNING, SEVERAL, TELLING

if TYPE_CHECKING:
    from nbfutures.runtime.contracts import Run
    from nbfutures.runtime.lanes.lane_work import LaneWork
    from nbfutures.runtime.remote.contracts import RemoteRunner
    from nbfutures.runtime.remote.lane import RemoteLane
    from nbfutures.runtime.remote.supply import Supply

__all__ = ["Leftovers"]


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
            for index, started in give_up_late(self._work, lane, timeout, GRACE_SECONDS)
        ]

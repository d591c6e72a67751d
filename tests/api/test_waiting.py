"""Waiting for jobs: with a limit, in order of their ends, in an event loop, and interrupted."""

from __future__ import annotations

import asyncio
import time

import prefect.futures
import pytest
from prefect import task
from tests.support import eventually

import nbfutures as nbf
from nbfutures.errors import MapArgumentsError
from nbfutures.model.events import JobPhase


def same(x):
    return x


def test_a_result_that_is_not_there_in_time_tells_how_far_the_job_is(gate):
    def fetch(x):
        return gate(x) if x else x

    job = nbf.options(workers=2).map(fetch, range(3))
    job[0].wait()
    with pytest.raises(TimeoutError, match=r"fetch.* was not done within 0\.1 s: 1 of 3 items have ended.*job\.cancel"):
        job.result(timeout=0.1)
    assert job.wait(timeout=0.05) is False
    assert not job.is_done
    gate.open()
    assert job.result(120) == [0, 1, 2]
    assert job.wait(0) is True


def test_the_first_error_is_raised_while_the_others_go_on(gate):
    def work(x):
        if x == 1:
            raise ValueError("at once")
        return gate(x)

    job = nbf.options(workers=3).map(work, range(3))
    with pytest.raises(ValueError, match="at once"):
        job.result(120)
    assert not job.is_done
    gate.open()
    assert job.wait(120)
    assert job.values(default="?") == [0, "?", 2]


def test_values_and_outcomes_never_wait(gate):
    job = nbf.options(workers=1).map(gate, range(2))
    assert job.values() == [None, None]
    assert job.outcomes() == [None, None]
    assert job.frame()["outcome"].tolist() == ["unsettled"] * 2
    gate.open()
    assert job.wait(120)


def test_outcomes_come_as_items_end_the_slow_first_item_last(gate):
    job = nbf.options(workers=2).map(lambda x: x or gate(x), range(10))
    seen = []
    for outcome in job.as_completed(timeout=120):
        seen.append(outcome.index)
        if len(seen) == 9:
            gate.open()
    assert seen[-1] == 0
    assert sorted(seen) == list(range(10))
    assert sorted(one.index for one in job.as_completed()) == list(range(10))


def test_outcomes_that_do_not_come_in_time_are_told(gate):
    job = nbf.options(workers=2).map(lambda x: x or gate(x), range(3))
    job[1].wait()
    job[2].wait()
    outcomes = job.as_completed(timeout=0.1)
    assert {next(outcomes).index, next(outcomes).index} == {1, 2}
    with pytest.raises(TimeoutError, match="2 of 3 items"):
        next(outcomes)
    gate.open()
    assert job.wait(120)


# --- in an event loop -------------------------------------------------------------------------------------------------


class Ticker:
    """Another coroutine of the loop: counts its turns."""

    def __init__(self):
        self.turns = 0

    async def __aenter__(self):
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_):
        self._task.cancel()

    async def _run(self):
        while True:
            self.turns += 1
            await asyncio.sleep(0.01)


def test_awaiting_a_job_leaves_the_loop_to_others(gate):
    async def main():
        job = nbf.map(gate, range(3))
        async with Ticker() as ticker:
            while not gate.came or ticker.turns < 10:  # noqa: ASYNC110 - the items run in threads
                await asyncio.sleep(0.01)
            waiting = asyncio.ensure_future(_await(job))
            before = ticker.turns
            while ticker.turns < before + 10:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert not waiting.done()
            gate.open()
            return await asyncio.wait_for(waiting, 60)

    assert asyncio.run(main()).result() == [0, 1, 2]


async def _await(job):
    return await job


def test_outcomes_come_in_an_event_loop_as_items_end(gate):
    async def main():
        job = nbf.options(workers=2).map(lambda x: x or gate(x), range(6))
        seen = []
        async with Ticker() as ticker:
            async for outcome in job:
                seen.append(outcome.index)
                if len(seen) == 5:
                    before = ticker.turns
                    asyncio.get_running_loop().call_later(0.1, gate.open)
        assert ticker.turns - before >= 3
        return seen

    seen = asyncio.run(asyncio.wait_for(main(), 60))
    assert seen[-1] == 0
    assert sorted(seen) == list(range(6))


def test_many_outcomes_at_once_leave_the_loop_to_others():
    async def main():
        job = nbf.map(same, range(5000))
        job.wait(120)
        seen = set()
        async with Ticker() as ticker:
            async for outcome in job:
                seen.add(outcome.index)
            assert ticker.turns >= 1
        return seen

    assert asyncio.run(asyncio.wait_for(main(), 60)) == set(range(5000))


def test_a_loop_over_outcomes_may_be_left_early(gate):
    async def main():
        job = nbf.options(workers=1).map(gate, range(3))
        gate.open()
        async for _ in job:
            break
        return await job

    assert asyncio.run(asyncio.wait_for(main(), 60)).result() == [0, 1, 2]


# --- several jobs -----------------------------------------------------------------------------------------------------


def test_futures_of_several_jobs_come_as_they_end(gate):
    slow = nbf.map(gate, range(2))
    quick = nbf.map(same, range(3))
    seen = []
    for future in nbf.as_completed([slow, quick[0], list(quick)[1:]], timeout=120):
        seen.append(future)
        if len(seen) == 3:
            gate.open()
    assert set(seen[:3]) == set(quick)
    assert set(seen[3:]) == set(slow)


def test_waiting_for_several_jobs_tells_what_is_done_and_what_not(gate):
    slow = nbf.map(gate, range(2))
    quick = nbf.map(task(same), range(3))
    assert quick.wait(120)
    done, not_done = nbf.wait([slow, quick], timeout=0.1)
    assert done == set(quick)
    assert not_done == set(slow)
    gate.open()
    assert nbf.wait([slow, quick], timeout=120).not_done == set()
    assert nbf.wait(slow).done == set(slow)


def test_futures_that_do_not_end_in_time_are_told(gate):
    job = nbf.map(gate, range(2))
    with pytest.raises(TimeoutError, match=r"2 of 2 futures did not end within 0\.05 s"):
        list(nbf.as_completed(job, timeout=0.05))
    gate.open()


def test_no_alarm_is_left_armed_in_the_main_thread(gate):
    import signal

    job = nbf.map(lambda x: x or gate(x), range(3))
    for _ in nbf.as_completed(job, timeout=120):
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
        gate.open()
    for _ in job.as_completed(timeout=120):
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_waiting_for_nothing_is_over_at_once():
    assert list(nbf.as_completed([])) == []
    assert nbf.wait([]) == prefect.futures.DoneAndNotDoneFutures(set(), set())


@pytest.mark.parametrize("what", [3, ["text"]])
def test_waiting_for_what_is_no_future_is_refused(what):
    with pytest.raises(MapArgumentsError, match="Give jobs or Prefect futures"):
        nbf.wait(what)
    with pytest.raises(MapArgumentsError, match="Give jobs or Prefect futures"):
        list(nbf.as_completed(what))


# --- how it stands ----------------------------------------------------------------------------------------------------


def test_a_snapshot_tells_rate_time_left_and_speed_up():
    job = nbf.options(workers=4).map(lambda _: time.sleep(0.05), range(40))
    eventually(lambda: job.snapshot.rate)
    during = job.snapshot
    assert during.phase is JobPhase.RUNNING
    assert during.seconds_left > 0
    assert job.wait(120)
    after = job.snapshot
    assert after.phase is JobPhase.DONE
    assert after.seconds_left == 0
    assert 1.5 < after.speed_up <= 4.2
    assert after.elapsed >= during.elapsed
    assert after.rate <= 40 / 0.5 * 1.1

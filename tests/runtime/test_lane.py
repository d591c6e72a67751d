"""One task run of a plain function's job, without Prefect around it."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref

import pytest

from nbfutures.engine.async_lane import AsyncLane
from nbfutures.engine.calls.work import map_work
from nbfutures.engine.lanes import Lane, LaneWork
from nbfutures.engine.work_queue import WorkQueue
from nbfutures.errors import ItemTimeoutError
from nbfutures.model.job_state import JobState
from nbfutures.model.outcome import OutcomeKind


def lane_of(fn, items, slots=1, **options):
    state = JobState("test", len(items))
    calls = map_work(fn, (items,), {})
    queue = WorkQueue(range(len(items)), rate=None, now=state.clock.now)
    work = LaneWork(work=calls, queue=queue, state=state, wake=lambda: None, is_async=calls.is_async, **options)
    return AsyncLane(work, "thread 1", slots) if work.is_async else Lane(work, "thread 1")


def positive(x):
    if x < 0:
        raise ValueError(f"{x} is negative")
    return x


async def positive_async(x):
    return positive(x)


both = pytest.mark.parametrize("fn", [positive, positive_async], ids=["sync", "async"])


@both
def test_every_item_has_an_outcome_and_the_failures_are_counted(fn):
    lane = lane_of(fn, [1, -2, 3], slots=2)
    assert lane.run(None) == 1
    told = sorted(lane.drain(), key=lambda one: one.index)
    assert [one.kind.value for one in told] == ["completed", "failed", "completed"]
    assert [one.value for one in told] == [1, None, 3]
    assert str(told[1].error) == "-2 is negative"
    assert {one.worker for one in told} == {"thread 1"}
    assert lane.drain() == []
    assert not lane.is_open


@both
def test_a_quota_leaves_the_rest_to_others(fn):
    lane = lane_of(fn, range(5), quota=3)
    lane.run(None)
    assert [one.index for one in lane.drain()] == [0, 1, 2]
    assert lane.work.queue.drain() == [3, 4]


@both
def test_after_a_failure_nothing_starts_when_it_is_to_fail_fast(fn):
    lane = lane_of(fn, [1, -2, 3, 4], fail_fast=True)
    lane.run(None)
    assert [one.index for one in lane.drain()] == [0, 1]
    assert lane.work.queue.drain() == [2, 3]


@both
def test_a_failing_item_is_tried_again_and_its_last_error_is_kept(fn):
    lane = lane_of(fn, [-1], retries=2)
    lane.run(None)
    (told,) = lane.drain()
    assert (told.kind, told.attempts) == (OutcomeKind.FAILED, 3)


@both
def test_a_retry_with_a_delay_makes_room_for_other_items(fn):
    lane = lane_of(fn, [-1, 2], retries=1, retry_delay=60)
    lane.run(None)
    assert [one.index for one in lane.drain()] == [1]
    assert 59 < lane.work.queue.release_due() <= 60


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_whatever_an_item_raises_the_lane_goes_on(error):
    def work(x):
        if x == 0:
            raise error("stop")
        return x

    lane = lane_of(work, [0, 1], retries=3)
    lane.run(None)
    first, second = lane.drain()
    assert (first.kind, type(first.error), first.attempts) == (OutcomeKind.FAILED, error, 1)
    assert second.value == 1


def test_a_traceback_begins_in_the_function():
    lane = lane_of(positive, [-1])
    lane.run(None)
    (told,) = lane.drain()
    assert told.error.__traceback__.tb_frame.f_code.co_name == "positive"


def test_a_loop_that_runs_too_long_is_stopped():
    def work(x):
        while x:
            pass
        return x

    lane = lane_of(work, [1, 0], timeout=0.05)
    lane.run(None)
    late, good = lane.drain()
    assert isinstance(late.error, ItemTimeoutError)
    assert "0.05 s" in str(late.error)
    assert good.value == 0


def test_the_functions_own_timeout_error_is_not_taken_for_the_items():
    def work(x):
        raise TimeoutError("of a socket")

    lane = lane_of(work, [1], timeout=120)
    lane.run(None)
    (told,) = lane.drain()
    assert str(told.error) == "of a socket"
    assert not isinstance(told.error, ItemTimeoutError)


def test_an_item_that_was_given_up_on_is_not_told_and_the_lane_takes_no_other():
    inside, go = threading.Event(), threading.Event()

    def work(x):
        if x == 1:
            inside.set()
            go.wait(120)
        return x

    lane = lane_of(work, [0, 1, 2])
    thread = threading.Thread(target=lane.run, args=(None,))
    thread.start()
    assert inside.wait(120)
    assert not lane.abandon(0)
    assert lane.abandon(1)
    go.set()
    thread.join(120)
    assert [one.index for one in lane.drain()] == [0]
    assert lane.work.queue.drain() == [2]


def test_coroutines_run_at_once_as_many_as_there_are_slots():
    running, most = 0, 0

    async def work(x):
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(3):
            await asyncio.sleep(0)
        running -= 1

    lane = lane_of(work, range(20), slots=4)
    lane.run(None)
    assert len(lane.drain()) == 20
    assert most == 4


def test_a_function_that_returns_a_coroutine_is_awaited():
    def call(x):
        return positive_async(x)

    lane = lane_of(call, [1, -1])
    lane.run(None)
    good, bad = lane.drain()
    assert good.value == 1
    assert isinstance(bad.error, ValueError)


def test_a_value_lives_no_longer_than_its_outcome():
    class Big:
        pass

    references = []

    def work(x):
        if x == 0:
            big = Big()
            references.append(weakref.ref(big))
            return big
        # As the dispatcher does, while the lane works on the next item.
        lane.drain()
        gc.collect()
        return references[0]() is None

    lane = lane_of(work, [0, 1])
    lane.run(None)
    assert [one.value for one in lane.drain()] == [True]

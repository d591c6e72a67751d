"""Retries, timeouts, rate, workers, window and batches."""

# ruff: noqa: T201 - items print

from __future__ import annotations

import asyncio
import collections
import threading
import time

import pytest
from prefect import task
from tests.support import eventually, holds_for

import nbfutures as nbf
from nbfutures.errors import InvalidOptionError, ItemTimeoutError

# --- retries --------------------------------------------------------------------------------------------------------


def test_a_failing_item_is_tried_again_and_the_others_are_not(kind, capsys):
    calls = collections.Counter()

    def work(x):
        calls[x] += 1
        print("attempt", calls[x])
        if x == 1 and calls[x] < 3:
            raise ValueError("not yet")
        if x == 2:
            raise KeyError("never")
        return x

    job = nbf.options(retries=2).map(kind(work), range(3))
    assert job.wait(120)
    assert calls == {0: 1, 1: 3, 2: 3}
    assert [one.kind.value for one in job.outcomes()] == ["completed", "completed", "failed"]
    assert [one.attempts for one in job.outcomes()] == [1, 3, 3]
    assert job[1].outcome.output.stdout.endswith("attempt 3\n")
    assert isinstance(job[2].exception(), KeyError)
    assert capsys.readouterr().out == ""


@pytest.mark.kinds("function", "async function", "task")
def test_between_two_attempts_is_the_delay_and_other_items_run_in_it(kind):
    events = []

    def work(x):
        events.append((x, time.monotonic()))
        if x == 0 and len([one for one, _ in events if one == 0]) == 1:
            raise ValueError("not yet")
        return x

    made = kind(work)
    job = nbf.options(workers=2, in_flight=2, retries=1, retry_delay=0.4).map(made, range(8))
    assert job.result(120) == list(range(8))
    first, second = (when for x, when in events if x == 0)
    assert second - first >= 0.35
    assert sum(first < when < second for _, when in events) >= 1


# --- timeout --------------------------------------------------------------------------------------------------------


def test_an_item_that_blocks_is_given_up_on_and_its_worker_replaced(gate):
    def work(x):
        return gate(x) if x == 0 else x

    job = nbf.options(workers=1, timeout=0.15).map(work, range(3))
    assert job.wait(120)
    assert gate.inside == 1
    assert job.values() == [None, 1, 2]
    assert isinstance(job[0].exception(), ItemTimeoutError)
    assert "0.15 s" in str(job[0].exception())
    assert "cannot be stopped" in str(job[0].exception())
    late = job[0].outcome
    gate.open()
    eventually(lambda: gate.inside == 0)
    assert holds_for(lambda: job[0].outcome is late, 0.2)


def test_an_item_that_was_given_up_on_is_tried_again(gate):
    tries = []

    def work(x):
        tries.append(x)
        return gate(x) if len(tries) == 1 else x

    job = nbf.options(workers=1, timeout=0.15, retries=1).map(work, [7])
    assert job.result(120) == [7]
    assert job[0].outcome.attempts == 2
    assert gate.inside == 1


def loop(x):
    while x == 0:
        pass
    return x


async def wait(x):
    if x == 0:
        await asyncio.sleep(60)
    return x


@pytest.mark.parametrize("fn", [loop, wait, task(loop), task(wait)], ids=["loop", "async", "loop task", "async task"])
def test_an_item_that_takes_too_long_fails_and_says_so(fn):
    job = nbf.options(timeout=0.2).map(fn, range(3))
    assert job.wait(120)
    assert job.values() == [None, 1, 2]
    assert isinstance(job[0].exception(), ItemTimeoutError)
    with pytest.raises(TimeoutError):
        job.result()


@pytest.mark.kinds("function", "task")
def test_a_timeout_that_the_function_raises_is_its_own(kind):
    def read(x):
        raise TimeoutError("of a socket")

    job = nbf.options(timeout=60).map(kind(read), [1])
    assert job.wait(120)
    assert type(job[0].exception()) is TimeoutError
    assert str(job[0].exception()) == "of a socket"


# --- how many at once, and how fast ---------------------------------------------------------------------------------


@pytest.mark.kinds("async function", "task")
def test_no_more_items_run_at_once_than_there_are_workers(kind, gate):
    job = nbf.options(workers=3).map(kind.gated(gate), range(12))
    gate.wait_for(3)
    assert holds_for(lambda: gate.inside == 3, 0.15)
    eventually(lambda: job.counts.running == 3)
    gate.open()
    assert job.result(120) == list(range(12))
    assert gate.most == 3


@pytest.mark.kinds("function", "async function", "task")
def test_no_more_items_are_in_flight_than_allowed(kind, gate):
    job = nbf.options(workers=8, in_flight=2).map(kind.gated(gate), range(6))
    gate.wait_for(2)
    assert holds_for(lambda: gate.inside == 2, 0.15)
    gate.open()
    assert job.result(120) == list(range(6))
    assert gate.most == 2


def test_coroutines_run_all_at_once_where_nothing_is_said(gate):
    job = nbf.map(gate.pass_async, range(60))
    gate.wait_for(60)
    gate.open()
    assert job.result(120) == list(range(60))


@pytest.mark.kinds("function", "async function", "task")
def test_a_rate_spaces_the_starts(kind):
    starts = []
    job = nbf.options(workers=8, rate=10).map(kind(lambda x: starts.append(time.monotonic())), range(7))
    assert job.wait(120)
    # Six intervals of 0.1 s: on a busy machine the first may be late, but the last is not early.
    assert max(starts) - min(starts) > 0.4
    assert max(sum(start <= other < start + 0.25 for other in starts) for start in starts) <= 6


def test_a_batch_is_one_task_run():
    job = nbf.options(workers=2, batch=4).map(abs, range(10))
    assert job.result(120) == list(range(10))
    sizes = collections.Counter(one.task_run_id for one in job.outcomes())
    assert None not in sizes
    assert sorted(sizes.values()) == [2, 4, 4]


def test_quick_items_are_few_task_runs_and_a_tasks_are_one_each():
    job = nbf.options(workers=2).map(abs, range(2000))
    assert job.result(120) == list(range(2000))
    assert len({one.task_run_id for one in job.outcomes()}) <= 4
    job = nbf.options(workers=2).map(task(abs_of), range(5))
    assert job.result(120) == list(range(5))
    assert len({one.task_run_id for one in job.outcomes()}) == 5


def abs_of(x):
    return abs(x)


def test_a_slow_item_does_not_hold_back_those_that_have_ended(gate):
    job = nbf.options(workers=2, batch=100).map(lambda x: gate(x) if x == 5 else x, range(10))
    eventually(lambda: job.counts.completed == 9)
    gate.open()
    assert job.result(120) == list(range(10))


def test_a_worker_is_used_again_and_named_once():
    barrier = threading.Barrier(2)

    def work(x):
        barrier.wait(120)
        return threading.current_thread().name

    job = nbf.options(workers=2).map(work, range(20))
    assert len(set(job.result(120))) == 2
    assert {one.worker for one in job.outcomes()} == {"thread 1", "thread 2"}


# --- bad options ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runner": "thread"}, "no runner 'thread'; did you mean 'threads'"),
        ({"workers": -2}, "workers must be a whole number of at least 1, got -2"),
        ({"batch": "all"}, 'batch must be a whole number of at least 1 or "auto"'),
        ({"timeout": 0}, "timeout must be a number of seconds, more than 0, got 0"),
        ({"rate": float("inf")}, "rate must be a number of items per second"),
        ({"worker": 3}, "no option 'worker'; did you mean 'workers'"),
    ],
)
def test_an_option_that_cannot_be_is_refused_before_anything_runs(options, message, jobs):
    with pytest.raises(InvalidOptionError, match=message):
        nbf.options(**options)
    with pytest.raises(InvalidOptionError, match=message):
        nbf.options(name="fine").options(**options)
    assert jobs == []

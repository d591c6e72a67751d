"""Steering that meets the work at awkward moments."""

from __future__ import annotations

import threading
import time

import pytest
from tests.support import eventually

import nbfutures as nbf
from nbfutures.errors import InvalidOptionError, ItemCancelledError, ItemTimeoutError, JobCrashedError
from nbfutures.model.events import JobPhase

pytestmark = pytest.mark.usefixtures("server")


def fail(x):
    raise ValueError(x)


def test_a_failure_during_a_cancel_is_not_tried_again_and_the_job_ends():
    entered, leave = threading.Event(), threading.Event()

    def item(x):
        entered.set()
        leave.wait(120)
        raise ValueError(x)

    job = nbf.options(retries=2, retry_delay=0.01, workers=1).map(item, range(3))
    assert entered.wait(120)
    job.cancel()
    leave.set()
    assert job.wait(120)
    assert (job.counts.failed, job.counts.cancelled) == (1, 2)


def test_a_cancel_stops_tries_that_follow_at_once():
    calls = []
    entered, leave = threading.Event(), threading.Event()

    def item(x):
        calls.append(x)
        entered.set()
        leave.wait(120)
        raise ValueError(x)

    job = nbf.options(retries=10, workers=1).map(item, range(1))
    assert entered.wait(120)
    job.cancel()
    leave.set()
    assert job.wait(120)
    assert calls == [0]


def test_two_retries_in_a_row_run_side_by_side_and_can_be_cancelled():
    gate = threading.Event()
    mended = threading.Event()

    def item(x):
        if not mended.is_set():
            raise (ValueError if x % 2 else KeyError)(x)
        gate.wait(120)
        return x

    job = nbf.options(workers=2).map(item, range(40))
    job.wait(120)
    eventually(lambda: not job._run.thread.is_alive())
    mended.set()
    job.retry(errors=ValueError)
    job.retry(errors=KeyError)
    eventually(lambda: job.counts.running)
    job.cancel()
    gate.set()
    assert job.wait(120)
    assert job.counts.completed + job.counts.cancelled == 40


def test_an_item_that_was_given_up_on_is_not_called_again_by_its_old_thread():
    calls = []
    leave = threading.Event()

    def item(x):
        calls.append(x)
        leave.wait(120)

    job = nbf.options(workers=1, retries=2, timeout=0.2).map(item, range(1))
    assert job.wait(120)
    assert len(calls) == 3
    leave.set()
    # The flow run ends when all of its threads have.
    eventually(lambda: not job._run.thread.is_alive())
    assert len(calls) == 3
    (outcome,) = job.outcomes()
    assert isinstance(outcome.error, ItemTimeoutError)
    assert outcome.attempts == 3


def test_fail_fast_with_a_timeout_ends_the_job():
    leave = threading.Event()
    job = nbf.options(workers=1, fail_fast=True, timeout=0.2).map(lambda _: leave.wait(120), range(30))
    assert job.wait(120)
    leave.set()
    assert job.counts.failed == 1
    assert job.counts.cancelled == 29


def test_a_job_of_unknown_length_is_mapped_over_when_its_length_is_known():
    gate = threading.Event()

    def listed():
        gate.wait(120)
        return [1, 2, 3]

    first = nbf.submit(listed)
    second = nbf.map(lambda x: x * 2, first)
    third = nbf.map(lambda x: x + 1, second)
    total = nbf.submit(sum, second)
    gate.set()
    assert third.result(120) == [3, 5, 7]
    assert total.result(120) == 12


def test_a_flow_s_result_can_be_mapped_over():
    assert nbf.map(str, nbf.run(lambda: [1, 2])).result(120) == ["1", "2"]


def test_a_done_callback_that_raises_harms_nobody():
    gate, called = threading.Event(), []
    job = nbf.map(lambda x: gate.wait(120) and x, range(3))
    job[0].add_done_callback(lambda _: 1 / 0)
    job[0].add_done_callback(called.append)
    gate.set()
    assert job.result(120) == [0, 1, 2]
    eventually(lambda: called == [job[0]])


def test_nothing_runs_where_what_it_waits_for_failed_although_its_items_are_not_known():
    ran = []
    failing = nbf.submit(fail, 1)
    job = nbf.options(wait_for=[failing]).map(ran.append, nbf.submit(lambda: [1, 2]))
    assert job.wait(120)
    with pytest.raises(Exception, match="wait_for"):
        job.result(120)
    assert ran == []


def test_a_job_that_never_knew_its_items_can_be_retried():
    answers = [ValueError("not yet"), [1, 2]]

    def listed():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    source = nbf.submit(listed)
    job = nbf.map(lambda x: x * 10, source)
    with pytest.raises(JobCrashedError):
        job.result(120)
    source.retry().wait(120)
    assert job.retry().result(120) == [10, 20]


def test_coroutines_in_batches_still_run_at_once():
    inside, most = [], []

    async def item(x):
        import asyncio

        inside.append(x)
        most.append(len(inside))
        await asyncio.sleep(0.3)
        inside.remove(x)

    nbf.options(workers=8, batch=1).map(item, range(8)).result(120)
    assert max(most) > 4


@pytest.mark.parametrize("name", ["etl/load", "50%", "a {b}", "<x>", "{"])
def test_a_job_may_have_any_name(name):
    assert nbf.options(name=name).map(str, [1]).result(120) == ["1"]
    assert nbf.options(name=name).run(lambda: 5).result(120) == 5


def test_resume_does_not_undo_a_cancel():
    gate, entered = threading.Event(), threading.Event()

    def item(_):
        entered.set()
        gate.wait(120)

    job = nbf.options(workers=1).map(item, range(3))
    assert entered.wait(120)
    job.pause()
    job.cancel()
    job.resume()
    assert job.phase is JobPhase.CANCELLING
    gate.set()
    assert job.wait(120)


def test_a_cancelled_flow_says_so():
    from prefect import task

    entered, gate = threading.Event(), threading.Event()

    @task
    def step(_):
        entered.set()
        gate.wait(120)

    def body():
        step.map(range(3)).result()

    job = nbf.options(workers=1).run(body)
    assert entered.wait(120)
    job.cancel()
    gate.set()
    assert job.wait(120)
    with pytest.raises(ItemCancelledError):
        job.result(120)


def test_a_flow_refuses_options_that_are_for_items():
    with pytest.raises(InvalidOptionError, match="retries"):
        nbf.options(retries=2).run(lambda: 1)


def test_a_cell_s_flow_has_as_many_workers_as_were_asked_for():
    from prefect import task

    inside, most = [], []

    @task
    def step(x):
        inside.append(x)
        most.append(len(inside))
        time.sleep(0.05)
        inside.remove(x)

    nbf.options(workers=2).run(lambda: step.map(range(6)).result()).result(120)
    assert max(most) == 2


def test_each_result_raises_the_error_with_the_traceback_of_the_item_alone():
    job = nbf.submit(fail, 1)
    job.wait(120)
    depths = []
    for _ in range(3):
        try:
            job.result(120)
        except ValueError as error:
            depth, trace = 0, error.__traceback__
            while trace is not None:
                depth, trace = depth + 1, trace.tb_next
            depths.append(depth)
    assert depths[0] == depths[1] == depths[2]


def test_a_structure_that_holds_itself_can_be_an_argument():
    tree = {"name": "root"}
    tree["self"] = tree
    assert nbf.submit(lambda one: one["name"], nbf.quote(tree)).result(120) == "root"
    assert nbf.map(lambda one: one["name"], [tree]).result(120) == ["root"]

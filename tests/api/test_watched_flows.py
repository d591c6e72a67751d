"""What a flow calls, and what the flows that it calls submit, are items of the job, too."""

import asyncio
import threading

import pytest
from prefect import flow, task

import nbfutures as nbf
from nbfutures.errors import FlowCallError, ItemCancelledError

pytestmark = pytest.mark.usefixtures("server")


@task
def double(x):
    return 2 * x


@task
def invert(x):
    return 1 / x


@task
async def slow_double(x):
    await asyncio.sleep(0.01)
    return 2 * x


def endings(job):
    return [(job._run.item(one.index).arguments["task"], one.kind.value, one.value) for one in job.outcomes()]


def test_tasks_that_a_flow_calls_are_items():
    @task
    def talk(x):
        print("said", x)  # noqa: T201 - captured
        return double(x)

    @flow
    def calls():
        return [double(1), double(x=2), talk(3)]

    job = nbf.run(calls)
    assert job.result(120) == [2, 4, 6]
    assert endings(job) == [
        ("double", "completed", 2),
        ("double", "completed", 4),
        ("talk", "completed", 6),
        ("double", "completed", 6),
    ]
    table = job.frame()
    assert (table["started"] <= table["ended"]).all()
    assert table["task_run_id"].nunique() == 4
    assert table["attempts"].tolist() == [1] * 4
    assert [one.output.stdout if one.output else "" for one in job.outcomes()] == ["", "", "said 3\n", ""]


def test_a_call_that_fails_is_an_item_and_the_flow_may_go_on():
    @flow
    def survives():
        try:
            invert(0)
        except ZeroDivisionError:
            state = invert(0, return_state=True)
        return state.is_failed(), invert(4, return_state=True).is_completed()

    job = nbf.run(survives)
    assert job.result(120) == (True, True)
    assert [ending[1:] for ending in endings(job)] == [("failed", None), ("failed", None), ("completed", 0.25)]
    assert "return 1 / x" in job.failure(0).traceback
    assert "ZeroDivisionError" in job.errors().to_string()


def test_what_is_called_after_a_failure_that_it_waits_for_is_skipped():
    @flow
    def waits():
        return double(1, wait_for=[invert.submit(0)], return_state=True).is_pending()

    job = nbf.run(waits)
    assert job.result(120) is True
    assert sorted(ending[:2] for ending in endings(job)) == [("double", "skipped"), ("invert", "failed")]


def test_async_tasks_that_a_flow_awaits_together_are_items():
    @flow
    async def gathers():
        return await asyncio.gather(*[slow_double(x) for x in range(5)])

    job = nbf.run(gathers)
    assert job.result(120) == [0, 2, 4, 6, 8]
    assert [ending[1:] for ending in endings(job)] == [("completed", 2 * x) for x in range(5)]


def test_a_coroutine_that_nobody_awaits_is_no_item():
    @flow
    async def forgets():
        slow_double(1).close()
        return await slow_double(2)

    job = nbf.run(forgets)
    assert job.result(120) == 4
    assert len(job) == 1


def test_what_flows_submit_that_a_flow_calls_is_seen():
    @flow
    def inner(x):
        return sum(double.map([x, x + 1]).result())

    @flow
    async def inner_async(x):
        return await slow_double(x)

    @flow
    async def outer():
        return inner(1), await inner_async(3), double.submit(4).result()

    job = nbf.run(outer)
    assert job.result(120) == (6, 6, 8)
    assert sorted(ending[2] for ending in endings(job)) == [2, 4, 6, 8]


def test_calls_outside_of_a_watched_flow_are_nobodys_items():
    @flow
    def one():
        return double(1)

    job = nbf.run(one)
    assert job.result(120) == 2
    assert flow(lambda: double(5), name="other")() == 10
    assert len(job) == 1


def test_two_flows_at_once_keep_their_items_apart():
    both = threading.Barrier(2)

    @flow
    def calls(x):
        both.wait(120)
        return [double(x), double(x)]

    jobs = [nbf.run(calls, x) for x in (1, 2)]
    assert [job.result(120) for job in jobs] == [[2, 2], [4, 4]]
    assert [len(job) for job in jobs] == [2, 2]


def test_a_cancelled_flow_calls_nothing_more(gate):
    @task
    def wait_at(x):
        return gate(x)

    @flow
    def calls():
        for x in range(100):
            wait_at(x)

    job = nbf.run(calls)
    gate.wait_for(1)
    job.cancel()
    gate.open()
    assert job.wait(120)
    assert gate.came == [0]
    with pytest.raises(ItemCancelledError):
        job.result()


@pytest.mark.parametrize("name", ["delay", "submit", "map"])
def test_a_flow_that_is_used_as_a_task_is_explained(name):
    @flow
    def inner(x):
        return x

    @flow
    def outer():
        return getattr(inner, name)(1)

    with pytest.raises(FlowCallError, match=rf"run_inner\.{name}\(\.\.\.\)"):
        nbf.run(outer).result(120)

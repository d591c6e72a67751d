"""A job says which limit is full that its items wait for, where Prefect itself holds them back."""

from __future__ import annotations

import asyncio

import pytest
from prefect import flow, task
from prefect.concurrency.asyncio import concurrency as async_concurrency
from prefect.concurrency.asyncio import rate_limit as async_rate_limit
from prefect.concurrency.sync import concurrency, rate_limit
from tests.support import eventually, holds_for, taken

import nbfutures as nbf

pytestmark = pytest.mark.usefixtures("no_limits")

FULL = "waiting for a slot of 'db' (1 of 1 in use)"


def query(x):
    with concurrency("db"):
        return x


async def query_async(x):
    async with async_concurrency(["db"]):
        await asyncio.sleep(0)
        return x


@pytest.mark.parametrize(
    ("runner", "fn"),
    [
        ("threads", query),
        ("threads", query_async),
        ("threads", task(query)),
        ("threads", task(query_async)),
        ("processes", query),
        ("processes", query_async),
    ],
    ids=["threads", "async", "task", "async task", "processes", "async processes"],
)
def test_what_items_wait_for_in_prefects_concurrency_is_said_until_they_have_it(runner, fn):
    nbf.limit("db", 1)
    with taken("db", 1):
        job = nbf.options(runner=runner, workers=2).map(fn, range(3))
        eventually(lambda: job.snapshot.note == FULL)
        assert FULL in repr(job)
    eventually(lambda: not job.snapshot.note)
    assert job.result(60) == [0, 1, 2]


def limited(x):
    rate_limit("api")
    return x


async def limited_async(x):
    await async_rate_limit("api")
    return x


@pytest.mark.parametrize("fn", [limited, limited_async])
def test_a_rate_that_items_wait_for_is_said(fn):
    nbf.limit("api", 1, per_second=0.1)
    with taken("api", 1):
        job = nbf.map(fn, range(2))
        eventually(lambda: job.snapshot.note == "waiting for a slot of 'api' (1 of 1 in use)")
        job.cancel()
    nbf.limit("api", 100, per_second=100)
    assert job.wait(60)


def test_some_items_wait_for_a_tag_while_another_one_has_its_slot(gate):
    nbf.limit("heavy", 1, tag=True)
    job = nbf.options(workers=2).map(task(tags=["heavy"])(gate), range(2))
    gate.wait_for(1)
    eventually(lambda: job.snapshot.note == "waiting for a slot of the tag 'heavy' (1 of 1 in use)")
    gate.open()
    assert job.wait(60)


def test_a_flow_says_what_its_tasks_wait_for_also_those_of_flows_that_it_calls():
    nbf.limit("db", 1)
    nbf.limit("heavy", 1, tag=True)
    asked = task(query)

    @task(tags=["heavy"])
    def lift(x):
        return x

    @flow
    def inner():
        return lift.submit(1).result()

    def outer():
        return asked.submit(0).result(), inner()

    with taken("tag:heavy", 1):
        with taken("db", 1):
            job = nbf.run(outer)
            eventually(lambda: job.snapshot.note == FULL)
        eventually(lambda: job.snapshot.note == "waiting for a slot of the tag 'heavy' (1 of 1 in use)")
    assert job.result(60) == (0, 1)
    assert not job.snapshot.note


def test_a_job_says_nothing_of_what_others_wait_for(gate):
    nbf.limit("db", 1)
    with taken("db", 1):
        waiting = nbf.map(query, range(2))
        other = nbf.map(gate, range(2))
        eventually(lambda: waiting.snapshot.note == FULL)
        assert holds_for(lambda: not other.snapshot.note, 1.5)
    gate.open()
    assert waiting.wait(60)
    assert other.wait(60)

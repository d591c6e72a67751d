"""A job of which nothing moves says that limits are in use, where Prefect itself may hold its items back."""

from __future__ import annotations

import pytest
from prefect import flow, task
from prefect.concurrency.asyncio import concurrency as async_concurrency
from prefect.concurrency.sync import concurrency
from tests.support import eventually, holds_for, taken

import nbfutures as nbf

pytestmark = pytest.mark.usefixtures("no_limits")

TOLD = "limits in use: %limit shows which"


def query(x):
    with concurrency("db"):
        return x


async def query_async(x):
    async with async_concurrency(["db"]):
        return x


@pytest.mark.parametrize(
    ("runner", "fn"),
    [("threads", query), ("threads", query_async), ("threads", task(query)), ("processes", query)],
    ids=["threads", "async", "task", "processes"],
)
def test_items_that_wait_in_prefects_concurrency_are_said_to_meet_limits_until_they_have_their_slots(runner, fn):
    nbf.limit("db", 1)
    with taken("db", 1):
        job = nbf.options(runner=runner, workers=2).map(fn, range(2))
        eventually(lambda: job.snapshot.note == TOLD)
        assert TOLD in repr(job)
    assert job.result(120) == [0, 1]
    assert job.snapshot.note == ""


def test_a_flow_says_it_too_also_of_tasks_that_wait_for_a_tag():
    nbf.limit("heavy", 1, tag=True)

    @task(tags=["heavy"])
    def lift(x):
        return x

    @flow
    def inner():
        return lift.submit(1).result()

    with taken("tag:heavy", 1):
        job = nbf.run(inner)
        eventually(lambda: job.snapshot.note == TOLD)
    assert job.result(120) == 1


def test_a_job_that_takes_its_time_says_nothing_while_every_limit_has_free_slots(gate):
    # Others' limits may be in use.
    for one in nbf.limits().itertuples():
        nbf.delete_limit(one.limit, tag=one.kind == "tag")
    nbf.limit("db", 1)
    job = nbf.map(gate, range(2))
    gate.wait_for(2)
    assert holds_for(lambda: job.snapshot.note != TOLD, 5)
    gate.open()
    assert job.wait(120)

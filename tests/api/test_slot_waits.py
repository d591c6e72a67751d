"""A job says which limit is full that its items wait for, where Prefect itself holds them back."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid

import pytest
from prefect import flow, get_client, task
from prefect.concurrency.asyncio import concurrency as async_concurrency
from prefect.concurrency.asyncio import rate_limit as async_rate_limit
from prefect.concurrency.sync import concurrency, rate_limit
from prefect.futures import PrefectFlowRunFuture
from prefect.states import Completed
from tests.support import eventually, holds_for, taken

import nbfutures as nbf

pytestmark = pytest.mark.usefixtures("no_limits")

FULL = "waiting for a slot of 'db' (1 of 1 in use)"


def query(place):
    with concurrency("db"):
        _note_and_wait(place)


async def query_async(place):
    async with async_concurrency(["db"]):
        await asyncio.to_thread(_note_and_wait, place)


def _note_and_wait(place):
    """Say that the slot is there, and keep it until the file appears; from any process."""
    (place / f"in {uuid.uuid4()}").touch()
    assert eventually((place / "open").exists, 60)


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
def test_what_items_wait_for_in_prefects_concurrency_is_said_until_they_have_it(runner, fn, tmp_path):
    nbf.limit("db", 2)
    with taken("db", 1):
        job = nbf.options(runner=runner, workers=2).map(fn, [tmp_path] * 2)
        eventually(lambda: job.snapshot.note == "waiting for a slot of 'db' (2 of 2 in use)")
        assert job.snapshot.note in repr(job)
    eventually(lambda: len(list(tmp_path.glob("in *"))) == 2)
    # Both have theirs, and are held; all slots are in use.
    eventually(lambda: "slot" not in job.snapshot.note)
    assert holds_for(lambda: "slot" not in job.snapshot.note, 2.5)
    (tmp_path / "open").touch()
    assert job.wait(120)


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
        job = nbf.map(fn, range(4))
        eventually(lambda: job.snapshot.note == "waiting for a slot of 'api' (1 of 1 in use)")
        job.cancel()
    nbf.limit("api", 100, per_second=100)
    assert job.wait(120)


def test_items_that_all_have_their_slots_at_once_wait_for_none():
    nbf.limit("db", 2)

    def use(x):
        with concurrency("db"):
            time.sleep(0.05)

    job = nbf.options(workers=2).map(use, range(50))
    notes = set()
    eventually(lambda: notes.add(job.snapshot.note) or job.wait(0))
    assert not any("slot" in note for note in notes)


def with_slot(x):
    with concurrency("db"):
        return x


def test_some_items_wait_for_a_tag_while_another_one_has_its_slot(gate):
    nbf.limit("heavy", 1, tag=True)
    job = nbf.options(workers=2).map(task(tags=["heavy"])(gate), range(2))
    gate.wait_for(1)
    eventually(lambda: job.snapshot.note == "waiting for a slot of the tag 'heavy' (1 of 1 in use)")
    gate.open()
    assert job.wait(120)


def test_a_flow_says_what_its_tasks_wait_for_also_those_of_flows_that_it_calls():
    nbf.limit("db", 1)
    nbf.limit("heavy", 1, tag=True)
    asked = task(with_slot)

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
    assert job.result(120) == (0, 1)


def test_to_look_at_flow_runs_that_are_followed_raises_nothing(monkeypatch):
    errors = []
    monkeypatch.setattr(threading, "excepthook", errors.append)
    with get_client(sync_client=True) as client:
        followed = client.create_flow_run(flow(name="followed")(print))
        job = nbf.track([PrefectFlowRunFuture(followed.id)])
        assert holds_for(lambda: not errors, 1.5)
        client.set_flow_run_state(followed.id, Completed(), force=True)
    assert job.wait(120)


def test_a_job_says_nothing_of_what_others_wait_for(gate):
    nbf.limit("db", 1)
    with taken("db", 1):
        waiting = nbf.map(with_slot, range(2))
        other = nbf.map(gate, range(2))
        eventually(lambda: waiting.snapshot.note == FULL)
        assert holds_for(lambda: "slot" not in other.snapshot.note, 1.5)
    gate.open()
    assert waiting.wait(120)
    assert other.wait(120)

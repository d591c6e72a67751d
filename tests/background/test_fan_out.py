"""Fan-out to two workers with CPU parallelism in each batch: a task that calls a flow with a process pool."""

from __future__ import annotations

import asyncio
import os

import pytest
from tests.background.conftest import define
from tests.support import eventually

import nbfutures as nbf

CELL = """
import os
import time
from prefect import flow, task
from prefect.task_runners import ProcessPoolTaskRunner

@task
def crunch(x):
    time.sleep(0.2)
    return x * x, os.getpid()

@flow(task_runner=ProcessPoolTaskRunner(max_workers=2))
def crunch_batch(batch):
    return os.getpid(), [future.result() for future in [crunch.submit(x) for x in batch]]

@task
def run_batch(batch):
    return crunch_batch(batch)

@task
def hold(gate, x):
    return gate(x) if x == 0 else x
"""


@pytest.fixture(scope="module")
def cell(server):
    """A cell whose tasks two workers serve, each one item at once."""
    made = define(CELL)
    serving = nbf.serve(made["run_batch"], made["hold"], workers=2, limit=1)
    assert serving.wait(240), serving
    yield made
    serving.stop()


def test_each_batch_is_a_flow_on_a_process_pool_at_two_workers(cell):
    named = cell["run_batch"].with_options(name="batch")
    job = nbf.options(background=True).map(named, [[1, 2, 3, 4], [5, 6, 7, 8]])

    async def gather():
        return await asyncio.gather(*(future.result_async() for future in job))

    batches = asyncio.run(gather())
    assert [[value for value, _ in items] for _, items in batches] == [[1, 4, 9, 16], [25, 36, 49, 64]]
    workers = {worker for worker, _ in batches}
    assert len(workers) == 2
    for worker, items in batches:
        processes = {pid for _, pid in items}
        assert len(processes) == 2
        assert not processes & {worker, os.getpid()}


def test_a_worker_that_is_busy_keeps_nothing_from_the_others(cell, background, gate):
    holding = background.map(cell["hold"], nbf.unmapped(gate), [0])
    gate.wait_for(1)
    job = background.map(cell["hold"], nbf.unmapped(gate), range(1, 9))
    assert job.result(120) == list(range(1, 9))
    assert holding.counts.running == 1
    # On a busy machine it may have said for a moment that Prefect does not answer.
    eventually(lambda: holding.snapshot.note == "")
    gate.open()
    assert holding.result(120) == [0]

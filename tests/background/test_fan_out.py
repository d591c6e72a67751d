"""Fan-out to two workers with CPU parallelism in each batch: a task that calls a flow with a process pool."""

from __future__ import annotations

import asyncio
import os

import nbfutures as nbf
from background.conftest import define

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
"""


def test_each_batch_is_a_flow_on_a_process_pool_at_two_workers():
    cell = define(CELL)
    serving = nbf.serve(cell["run_batch"], workers=2, limit=1)
    try:
        assert serving.wait(120), serving
        named = cell["run_batch"].with_options(name="batch")
        job = nbf.options(background=True).map(named, [[1, 2, 3, 4], [5, 6, 7, 8]])

        async def gather():
            return await asyncio.gather(*(future.result_async() for future in job))

        batches = asyncio.run(gather())
    finally:
        serving.stop()
    assert [[value for value, _ in items] for _, items in batches] == [[1, 4, 9, 16], [25, 36, 49, 64]]
    workers = {worker for worker, _ in batches}
    assert len(workers) == 2
    for worker, items in batches:
        processes = {pid for _, pid in items}
        assert len(processes) == 2
        assert not processes & {worker, os.getpid()}

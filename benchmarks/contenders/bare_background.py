"""Bare Prefect: `task.delay` for each item and `asyncio.gather`, on two processes of `prefect.task_worker.serve`."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from typing import Any

from benchmarks.contenders.warm import warm_session
from benchmarks.stopwatch import Stopwatch
from benchmarks.workloads import WORKERS, slept_figures

__all__ = ["measure"]

_START_SECONDS = 90.0
_WARM_ITEMS = 20
_AGAIN_SECONDS = 0.05


def measure(workload: str, items: int) -> dict[str, Any]:
    """Give a task to workers for each item, once both of them have registered and have run some.

    Args:
        workload: What the items do.
        items: How many.
    """
    warm_session()
    from benchmarks.contenders.background_tasks import TASKS

    task = TASKS[workload]
    command = [sys.executable, "-m", "benchmarks.contenders.background_tasks", workload]
    workers = [subprocess.Popen(command, start_new_session=True) for _ in range(WORKERS)]
    try:
        _wait_for_workers(task.task_key)
        asyncio.run(_gather(task, _WARM_ITEMS))
        with Stopwatch() as watch:
            values = asyncio.run(_gather(task, items))
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert len(values) == items
    return {**watch.figures, **slept_figures(workload, values)}


async def _gather(task: Any, items: int) -> list[Any]:
    futures = [task.delay(index) for index in range(items)]
    return await asyncio.gather(*map(_result, futures))


async def _result(future: Any) -> Any:
    while True:
        try:
            return await future.result_async()
        except RuntimeError as error:
            # For a moment, Prefect's server may know a task run and not its state.
            if "has no state" not in str(error):
                raise
            await asyncio.sleep(_AGAIN_SECONDS)


def _wait_for_workers(task_key: str) -> None:
    from prefect import get_client

    deadline = time.monotonic() + _START_SECONDS
    with get_client(sync_client=True) as client:
        while True:
            asked = {"task_worker_filter": {"task_keys": [task_key]}}
            if len(client.request("POST", "/task_workers/filter", json=asked).json()) >= WORKERS:
                return
            assert time.monotonic() < deadline, "the workers did not come"
            time.sleep(0.1)

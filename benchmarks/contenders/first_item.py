"""Seconds from the call to the start of the first item, on a warm session."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import nbfutures as nbf
from benchmarks.contenders.warm import warm_session
from benchmarks.workloads import WORKERS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["measure"]

_ITEMS = 20
_PAUSE = 0.3
"""Seconds between two jobs: somebody runs one cell after another."""


def measure(workload: str, items: int) -> dict[str, Any]:
    """Start so many jobs, one after another, each of a function or a Prefect task, or so many flows of bare Prefect.

    Args:
        workload: "function", "task" or "flow" (bare Prefect).
        items: How many jobs.
    """
    warm_session()
    begun: list[float] = []

    def stamp(_: int) -> None:
        begun.append(time.perf_counter())

    run = _bare_flow(stamp) if workload == "flow" else _job(stamp, is_task=workload == "task")
    run()
    latencies = []
    for _ in range(items):
        time.sleep(_PAUSE)
        begun.clear()
        called = time.perf_counter()
        run()
        latencies.append(min(begun) - called)
    return {"seconds": latencies}


def _job(fn: Any, *, is_task: bool) -> Callable[[], None]:
    if is_task:
        from prefect import task

        fn = task(fn)

    def run() -> None:
        job = nbf.options(workers=WORKERS).map(fn, range(_ITEMS))
        job.wait()
        if job._run.thread is not None:
            job._run.thread.join()

    return run


def _bare_flow(fn: Any) -> Callable[[], None]:
    from prefect import flow, task
    from prefect.task_runners import ThreadPoolTaskRunner

    mapped = task(fn)

    runner: Any = ThreadPoolTaskRunner(max_workers=WORKERS)

    @flow(task_runner=runner, persist_result=False)
    def bare() -> None:
        for future in mapped.map(range(_ITEMS)):
            future.wait()

    def run() -> None:
        bare()

    return run

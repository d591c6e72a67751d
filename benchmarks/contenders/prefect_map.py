"""Bare Prefect: `task.map` and `as_completed` in a flow with two threads, from the map to the last value."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.contenders.warm import warm_session
from benchmarks.stopwatch import Stopwatch
from benchmarks.workloads import WORKERS, nap_figures, noop, workload_named

__all__ = ["measure"]


def measure(workload: str, items: int) -> dict[str, Any]:
    """Map a task; `flow_seconds` count from the call of the flow, `seconds` from the map in it."""
    warm_session()
    from prefect import flow, task
    from prefect.futures import as_completed
    from prefect.task_runners import ThreadPoolTaskRunner

    mapped: Any = task(noop if workload == "task" else workload_named(workload))
    watch = Stopwatch()

    runner: Any = ThreadPoolTaskRunner(max_workers=WORKERS)

    @flow(task_runner=runner, persist_result=False)
    def bare(count: int) -> tuple[list[Any], float]:
        with watch:
            futures = mapped.map(range(count))
            values = [future.result() for future in as_completed(futures)]
        return values, time.perf_counter()

    bare(20)
    called = time.perf_counter()
    values, ended = bare(items)
    assert len(values) == items
    return {**watch.figures, "flow_seconds": ended - called, **nap_figures(workload, values)}

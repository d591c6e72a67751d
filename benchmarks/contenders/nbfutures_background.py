"""`nbf.options(background=True).map(task, range(n))` on two processes of `nbf.serve`, to the last value."""

from __future__ import annotations

from typing import Any

import nbfutures as nbf
from benchmarks.contenders.nbfutures_jobs import join
from benchmarks.contenders.warm import warm_session
from benchmarks.stopwatch import Stopwatch
from benchmarks.workloads import WORKERS, slept_figures

__all__ = ["measure"]

_START_SECONDS = 90.0
_WARM_ITEMS = 20


def measure(workload: str, items: int) -> dict[str, Any]:
    """Map a task, once both workers take items and have run some.

    Args:
        workload: What the items do.
        items: How many.
    """
    warm_session()
    from benchmarks.contenders.background_tasks import TASKS

    task = TASKS[workload]
    serving = nbf.serve(task, workers=WORKERS)
    try:
        assert serving.wait(_START_SECONDS), serving
        submit = nbf.options(background=True)
        warm = submit.map(task, range(_WARM_ITEMS))
        warm.result(_START_SECONDS)
        join(warm)
        with Stopwatch() as watch:
            job = submit.map(task, range(items))
            values = job.result()
        join(job)
    finally:
        serving.stop()
    assert len(values) == items
    return {**watch.figures, **slept_figures(workload, values)}

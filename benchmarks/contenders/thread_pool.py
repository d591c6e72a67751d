"""`concurrent.futures.ThreadPoolExecutor`: `submit` for each item, then `as_completed`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from benchmarks.stopwatch import Stopwatch
from benchmarks.workloads import WORKERS, nap_figures, workload_named

__all__ = ["measure"]


def measure(workload: str, items: int) -> dict[str, Any]:
    """Run the items; once before, a few of them."""
    fn = workload_named(workload)

    def run(count: int) -> list[Any]:
        with ThreadPoolExecutor(WORKERS) as pool:
            futures = [pool.submit(fn, x) for x in range(count)]
            return [future.result() for future in as_completed(futures)]

    run(100)
    with Stopwatch() as watch:
        values = run(items)
    assert len(values) == items
    return {**watch.figures, **nap_figures(workload, values)}

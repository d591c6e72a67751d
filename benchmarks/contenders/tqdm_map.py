"""tqdm: `thread_map(max_workers=2)`, its bar disabled.

That is the faster way for it: with the bar drawn to /dev/null it did FIXME.
"""

from __future__ import annotations

from typing import Any

from tqdm.contrib.concurrent import thread_map

from benchmarks.stopwatch import Stopwatch
from benchmarks.workloads import WORKERS, nap_figures, workload_named

__all__ = ["measure"]


def measure(workload: str, items: int) -> dict[str, Any]:
    """Run the items; once before, a few of them."""
    fn = workload_named(workload)

    def run(count: int) -> list[Any]:
        return list(thread_map(fn, range(count), max_workers=WORKERS, disable=True))

    run(100)
    with Stopwatch() as watch:
        values = run(items)
    assert len(values) == items
    return {**watch.figures, **nap_figures(workload, values)}

"""joblib: `Parallel(n_jobs=2, prefer="threads")`."""

from __future__ import annotations

from typing import Any

from joblib import Parallel, delayed

from benchmarks.stopwatch import Stopwatch
from benchmarks.workloads import WORKERS, nap_figures, workload_named

__all__ = ["measure"]


def measure(workload: str, items: int) -> dict[str, Any]:
    """Run the items; once before, a few of them."""
    fn = delayed(workload_named(workload))

    def run(count: int) -> list[Any]:
        return list(Parallel(n_jobs=WORKERS, prefer="threads")(fn(x) for x in range(count)))

    run(100)
    with Stopwatch() as watch:
        values = run(items)
    assert len(values) == items
    return {**watch.figures, **nap_figures(workload, values)}

"""Two threads that share an iterator: what two workers can do at most, for comparison."""

from __future__ import annotations

import threading
from typing import Any

from benchmarks.stopwatch import Stopwatch
from benchmarks.workloads import WORKERS, nap_figures, workload_named

__all__ = ["measure"]


def measure(workload: str, items: int) -> dict[str, Any]:
    """Run the items."""
    fn = workload_named(workload)
    # next() on the iterator of a range is atomic.
    indices = iter(range(items))
    values: list[Any] = [None] * items

    def work() -> None:
        for index in indices:
            values[index] = fn(index)

    threads = [threading.Thread(target=work) for _ in range(WORKERS)]
    with Stopwatch() as watch:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return {**watch.figures, **nap_figures(workload, values)}

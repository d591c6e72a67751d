"""Seconds that the call of `nbf.map` takes to return, on a warm session."""

from __future__ import annotations

import time
from typing import Any

import nbfutures as nbf
from benchmarks.contenders.nbfutures_jobs import join
from benchmarks.contenders.warm import warm_session
from benchmarks.workloads import WORKERS, noop

__all__ = ["measure"]

_CALLS = 5


def measure(workload: str, items: int) -> dict[str, Any]:
    """Map a no-op over a range, or a list of texts, a few times; each job ends before the next.

    Args:
        workload: "range" or "texts".
        items: Length of what is mapped over.
    """
    warm_session()
    submit = nbf.options(workers=WORKERS)
    submit.map(noop, range(10)).result()
    given: Any = range(items) if workload == "range" else [f"text {number}" for number in range(items)]
    seconds = []
    for _ in range(_CALLS):
        called = time.perf_counter()
        job = submit.map(noop, given)
        seconds.append(time.perf_counter() - called)
        job.wait()
        join(job)
    return {"seconds": seconds}

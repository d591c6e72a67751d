"""Bytes that a job holds for each of its no-op items, once all are settled; each returns a number of its own."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import psutil  # type: ignore[import-untyped]  # ships no types

import nbfutures as nbf
from benchmarks.contenders.nbfutures_jobs import join
from benchmarks.contenders.warm import warm_session
from benchmarks.workloads import WORKERS, noop

__all__ = ["measure"]


def measure(workload: str, items: int) -> dict[str, Any]:
    """Run the items, and keep the job.

    Args:
        workload: "resident", the growth of the process as the operating system counts, or "traced", what Python's
            objects ask for (`tracemalloc`).
        items: How many.
    """
    warm_session()
    submit = nbf.options(workers=WORKERS)
    _settle(submit, 1000)
    if workload == "traced":
        tracemalloc.start()
    before = _held(workload)
    job = _settle(submit, items)
    held = _held(workload) - before
    tracemalloc.stop()
    assert job.counts.completed == items
    return {"bytes": held / items}


def _settle(submit: nbf.Submitter, items: int) -> nbf.Job:
    job = submit.map(noop, range(items))
    job.wait()
    join(job)
    return job


def _held(workload: str) -> float:
    gc.collect()
    return float(tracemalloc.get_traced_memory()[0] if workload == "traced" else psutil.Process().memory_info().rss)

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
    """Map a no-op over what there is much of, a few times; each job ends before the next.

    Args:
        workload: "range" or "texts", so many; "lists": a thousand of them with so many numbers in all; "shared": a few
            items that all get one list of so many numbers.
        items: How many.
    """
    warm_session()
    submit = nbf.options(workers=WORKERS)
    submit.map(noop, range(10)).result()
    given = _arguments(workload, items)
    seconds = []
    for _ in range(_CALLS):
        called = time.perf_counter()
        job = submit.map(_first, *given)
        seconds.append(time.perf_counter() - called)
        job.wait()
        join(job)
    return {"seconds": seconds}


def _first(value: Any, *_: Any) -> Any:
    return noop(value)


def _arguments(workload: str, items: int) -> tuple[Any, ...]:
    if workload == "range":
        return (range(items),)
    if workload == "texts":
        return ([f"text {number}" for number in range(items)],)
    if workload == "lists":
        return ([[0] * (items // 1000) for _ in range(1000)],)
    return (range(10), nbf.unmapped([0] * items))

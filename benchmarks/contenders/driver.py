"""What all contenders share: warm up, do the work of a workload, tell the figures."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any

from benchmarks.stopwatch import Stopwatch
from benchmarks.workloads import WORKERS, busy, noop, slept_figures, stamp, where, workload_named

__all__ = ["Pool", "Run", "drive"]

Run = Callable[[Callable[[Any], Any], int], Sequence[Any]]
"""Calls a function with 0, 1, ... so many times, on two workers, and returns the values in any order."""

_WARM_ITEMS = 100
_WARM_ATTEMPTS = 40
_START_ITEMS = 20
_START_PAUSE = 0.3
"""Seconds between two jobs: somebody runs one cell after another."""
_SERIAL_ITEMS = 10


@dataclass(frozen=True, slots=True)
class Pool:
    """Workers, as a contender makes them."""

    run: Run
    settle: Callable[[], None] = lambda: None
    """Blocks until nothing of the last run goes on, such as the end of a flow run."""
    warm_items: int = _WARM_ITEMS
    """How many no-op items are a few."""


def drive(opened: Callable[[], AbstractContextManager[Pool]], workload: str, items: int) -> dict[str, Any]:
    """Do the work of a workload, and return figures.

    Args:
        opened: Makes the workers, and ends them.
        workload: One of `workload_named`, done by workers that have done something before. With "cold " before it, by
            new ones, whose start counts; with "once " before it, by new ones whose start does not count. Or "start":
            seconds from the call to the start of the first item, for so many jobs as there are items, one by one.
        items: How many.
    """
    state, _, name = workload.rpartition(" ")
    with ExitStack() as stack:
        if state == "cold":
            with Stopwatch() as watch:
                values = stack.enter_context(opened()).run(workload_named(name), items)
            return _checked(watch.figures, name, values, items)
        pool = stack.enter_context(opened())
        if "once" not in state:
            _warm_up(pool)
        if name == "start":
            return {"seconds": _starts(pool, items)}
        fn = workload_named(name)
        serial = _serial_seconds() if name == "busy" else 0.0
        with Stopwatch() as watch:
            values = pool.run(fn, items)
        figures = _checked(watch.figures, name, values, items)
        pool.settle()
        if name == "busy":
            # Before and after, as the machine may have changed its mind about its clock.
            figures["serial_seconds"] = (serial + _serial_seconds()) / 2 * items
        return figures


def _warm_up(pool: Pool) -> None:
    for _ in range(_WARM_ATTEMPTS):
        # The first worker may do all of it while the second is still importing.
        workers = set(pool.run(where, 2 * WORKERS))
        pool.settle()
        if len(workers) >= WORKERS:
            break
    pool.run(noop, pool.warm_items)
    pool.settle()


def _starts(pool: Pool, jobs: int) -> list[float]:
    latencies = []
    for _ in range(jobs):
        time.sleep(_START_PAUSE)
        called = time.perf_counter()
        latencies.append(min(pool.run(stamp, _START_ITEMS)) - called)
        pool.settle()
    return latencies


def _serial_seconds() -> float:
    began = time.perf_counter()
    for index in range(_SERIAL_ITEMS):
        busy(index)
    return (time.perf_counter() - began) / _SERIAL_ITEMS


def _checked(figures: dict[str, Any], name: str, values: Sequence[Any], items: int) -> dict[str, Any]:
    assert len(values) == items
    return {**figures, **slept_figures(name, values)}

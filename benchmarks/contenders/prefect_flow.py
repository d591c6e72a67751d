"""Bare Prefect: `task.map` and `as_completed` in a flow with two workers, from the map to the last value."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.contenders.driver import Pool, drive
from benchmarks.contenders.warm import warm_session
from benchmarks.stopwatch import Stopwatch
from benchmarks.workloads import WORKERS, where

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["measure_flow"]

_WARM_ATTEMPTS = 40


def measure_flow(workload: str, items: int, make_runner: Callable[[], Any], *, warms_up: bool) -> dict[str, Any]:
    """Map a task in a flow of its own for each run, see `drive`.

    Args:
        workload: What the items do.
        items: How many.
        make_runner: Makes Prefect's task runner.
        warms_up: Whether the runner starts processes for each flow: the map that is timed comes after one that has
            waited for all of them. Where a "start" is measured, it does not.

    Returns:
        Figures: `flow_seconds` from the call of the flow to the last value, `seconds` from the map in it.
    """
    warm_session()
    watch = Stopwatch()
    is_start = workload == "start"

    def opened() -> Any:
        return _opened(make_runner, watch, warms_up=warms_up and not is_start)

    # A pool that ends with each flow is not warm for the next one.
    figures = drive(opened, f"once {workload}" if warms_up else workload, items)
    return figures if is_start else {**figures, "flow_seconds": figures["seconds"], **watch.figures}


@contextmanager
def _opened(make_runner: Callable[[], Any], watch: Stopwatch, *, warms_up: bool) -> Iterator[Pool]:
    from prefect import flow, task
    from prefect.futures import as_completed

    def run(fn: Callable[[Any], Any], count: int) -> list[Any]:
        mapped: Any = task(fn)

        @flow(task_runner=make_runner(), persist_result=False)
        def bare() -> list[Any]:
            if warms_up:
                _wait_for_workers(task(where))
            with watch:
                return [future.result() for future in as_completed(mapped.map(range(count)))]

        return bare()

    yield Pool(run, warm_items=20)


def _wait_for_workers(asked: Any) -> None:
    for _ in range(_WARM_ATTEMPTS):
        if len({future.result() for future in asked.map(range(2 * WORKERS))}) >= WORKERS:
            return

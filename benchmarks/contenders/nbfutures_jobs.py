"""`nbf.options(workers=2, ...).map(fn, range(n))` on a warm session, from the call to the last value."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import nbfutures as nbf
from benchmarks.contenders.driver import Pool, drive
from benchmarks.contenders.warm import warm_session
from benchmarks.workloads import WORKERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["join", "measure_jobs"]


def measure_jobs(workload: str, items: int, **options: Any) -> dict[str, Any]:
    """Map a function, or a Prefect task where the workload says "task" first; see `drive`.

    Args:
        workload: What the items do.
        items: How many.
        **options: For `nbf.options`.

    Returns:
        Figures; of these, `busy_seconds` are from the first item's start to the last one's end.
    """
    warm_session()
    as_task = workload.startswith("task ")
    jobs: list[nbf.Job] = []
    figures = drive(lambda: _opened(jobs, options, as_task=as_task), workload.removeprefix("task "), items)
    outcomes = [outcome for outcome in jobs[-1].outcomes() if outcome is not None]
    began = min(outcome.started or 0.0 for outcome in outcomes)
    ended = max(outcome.ended or 0.0 for outcome in outcomes)
    join(jobs[-1])
    return {**figures, "busy_seconds": ended - began}


def join(job: nbf.Job) -> None:
    """Block until the flow run of a job that is done has ended, too: it is not to run into what is measured next."""
    if job._run.thread is not None:
        job._run.thread.join()


@contextmanager
def _opened(jobs: list[nbf.Job], options: dict[str, Any], *, as_task: bool) -> Iterator[Pool]:
    submit = nbf.options(workers=WORKERS, **options)

    def run(fn: Callable[[Any], Any], count: int) -> list[Any]:
        jobs[:] = [submit.map(_as_task(fn) if as_task else fn, range(count))]
        values: list[Any] = jobs[0].result()
        return values

    yield Pool(run, settle=lambda: join(jobs[0]), warm_items=20)


def _as_task(fn: Callable[[Any], Any]) -> Any:
    from prefect import task

    return task(fn)

"""`nbf.options(workers=2).map(fn, range(n))` on a warm session, from the call to the last value."""

from __future__ import annotations

from typing import Any

import nbfutures as nbf
from benchmarks.contenders.warm import warm_session
from benchmarks.stopwatch import Stopwatch
from benchmarks.workloads import WORKERS, nap_figures, noop, workload_named

__all__ = ["measure"]


def measure(workload: str, items: int) -> dict[str, Any]:
    """Map a function, or a Prefect task for the workload "task"; `busy_seconds` are those in which items ran."""
    warm_session()
    if workload == "task":
        from prefect import task

        fn: Any = task(noop)
    else:
        fn = workload_named(workload)
    submit = nbf.options(workers=WORKERS)
    warm = submit.map(fn, range(20))
    warm.wait()
    _join(warm)
    with Stopwatch() as watch:
        job = submit.map(fn, range(items))
        values = job.result()
    assert len(values) == items
    outcomes = [outcome for outcome in job.outcomes() if outcome is not None]
    began = min(outcome.started or 0.0 for outcome in outcomes)
    ended = max(outcome.ended or 0.0 for outcome in outcomes)
    _join(job)
    return {**watch.figures, "busy_seconds": ended - began, **nap_figures(workload, values)}


def _join(job: nbf.Job) -> None:
    # The flow run ends a little after the job: it is not to run into what is measured next.
    if job._run.thread is not None:
        job._run.thread.join()

"""Where items run: one file for each runner, loaded when it is first used."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect.task_runners import TaskRunner

    from nbfutures.model.options import JobOptions

__all__ = ["default_workers", "make_runner", "workers_of"]

_MODULES = {
    "threads": "nbfutures.runtime.runners.threads",
    "processes": "nbfutures.runtime.runners.processes",
    "inline": "nbfutures.runtime.runners.inline",
}


def default_workers(runner: str = "threads") -> int:
    """Return how many workers a runner has: for threads CPUs + 4, at most 32, as `ThreadPoolExecutor`; else CPUs."""
    if runner == "inline":
        return 1
    cpus = os.cpu_count() or 1
    return min(32, cpus + 4) if runner == "threads" else cpus


def workers_of(options: JobOptions) -> int:
    """Return how many workers a job with these options has."""
    return (
        default_workers(options.runner)
        if options.runner == "inline"
        else options.workers or default_workers(options.runner)
    )


def make_runner(name: str, size: int, nested: int) -> TaskRunner[Any]:
    """Return a new Prefect task runner.

    Args:
        name: One of `nbfutures.model.options.RUNNERS`.
        size: How many task runs of the job run at once.
        nested: How many task runs that task runs submit run at once, for each level.
    """
    made: TaskRunner[Any] = importlib.import_module(_MODULES[name]).make(size, nested)
    return made

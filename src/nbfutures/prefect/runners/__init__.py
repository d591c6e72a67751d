"""Where items run: one file for each runner, loaded when it is first used."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

from nbfutures.engine.cpus import usable_cpus
from nbfutures.errors import RunnerUnavailableError

if TYPE_CHECKING:
    from prefect.task_runners import TaskRunner

    from nbfutures.model.options import JobOptions

__all__ = [
    "KERNEL_RUNNERS",
    "check_installed",
    "default_workers",
    "make_flow_runner",
    "make_runner",
    "stop_workers",
    "workers_of",
]

_MODULES = {
    "threads": "nbfutures.prefect.runners.threads",
    "processes": "nbfutures.prefect.runners.processes",
    "dask": "nbfutures.prefect.runners.dask",
    "ray": "nbfutures.prefect.runners.ray",
    "inline": "nbfutures.prefect.runners.inline",
}
KERNEL_RUNNERS = ("threads", "inline")
"""Those whose items run in the kernel's own process."""
_NEEDED = {"dask": ("prefect_dask", "distributed"), "ray": ("prefect_ray", "ray")}
"""What is not installed with nbfutures itself, but with its extra of the runner's name."""


def default_workers(runner: str = "threads") -> int:
    """Return how many workers a runner has: for threads CPUs + 4, at most 32, as `ThreadPoolExecutor`; else CPUs."""
    if runner == "inline":
        return 1
    cpus = usable_cpus()
    return min(32, cpus + 4) if runner == "threads" else cpus


def check_installed(name: str) -> None:
    """Raise `RunnerUnavailableError` if what a runner needs is not installed."""
    missing = [module for module in _NEEDED.get(name, ()) if importlib.util.find_spec(module) is None]
    if missing:
        raise RunnerUnavailableError(
            f"The runner {name!r} needs {' and '.join(missing)}, which is not installed. Install it and restart the "
            f"kernel: %pip install 'nbfutures[{name}]'. Or use runner='processes'."
        )


def workers_of(options: JobOptions) -> int:
    """Return how many workers a job with these options has."""
    return (
        default_workers(options.runner)
        if options.runner == "inline"
        else options.workers or default_workers(options.runner)
    )


def make_runner(options: JobOptions, size: int, nested: int) -> TaskRunner[Any]:
    """Return a new Prefect task runner. Blocks while a cluster starts, or is connected to.

    Args:
        options: The job's: where items run.
        size: How many task runs of the job run at once.
        nested: How many task runs that task runs submit run at once, for each level.

    Raises:
        RunnerUnavailableError: If what the runner needs is not installed.
        ClusterUnreachableError: If no cluster answers at the address that the options name.
    """
    made: TaskRunner[Any] = _module(options).make(options, size, nested)
    return made


def stop_workers() -> None:
    """End the worker processes that no job uses, and let go of clusters: the kernel's own end, with what runs there."""
    for name in (
        "nbfutures.prefect.runners.processes",
        "nbfutures.prefect.runners.dask",
        "nbfutures.prefect.runners.ray",
    ):
        # What was never loaded has started nothing.
        module = sys.modules.get(name)
        if module is not None:
            module.close()


def make_flow_runner(options: JobOptions, workers: int) -> TaskRunner[Any]:
    """Return a new task runner for a flow of the user's, which submits as much as it likes; else as `make_runner`."""
    made: TaskRunner[Any] = _module(options).make_for_flow(options, workers)
    return made


def _module(options: JobOptions) -> Any:
    check_installed(options.runner)
    return importlib.import_module(_MODULES[options.runner])

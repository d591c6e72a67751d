"""What users call from Python: it composes the other layers and holds no logic of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nbfutures.api.job import Job
from nbfutures.api.jobs import JobsView
from nbfutures.api.submitter import Submitter
from nbfutures.errors import NbfuturesError
from nbfutures.runtime.deployments import serving
from nbfutures.runtime.deployments.serving import ServedFlow
from nbfutures.runtime.runners import default_workers, workers_of
from nbfutures.runtime.session import get_session
from nbfutures.runtime.waiting import as_completed, wait
from nbfutures.views.display import forget_shell

if TYPE_CHECKING:
    from collections.abc import Callable

    from nbfutures.model.options import JobOptions

__all__ = [
    "Job",
    "ServedFlow",
    "Submitter",
    "as_completed",
    "close",
    "default_workers",
    "find_job",
    "jobs_view",
    "map",
    "options",
    "run",
    "serve",
    "served_flows",
    "session_defaults",
    "session_jobs",
    "set_session_defaults",
    "stop_serving",
    "submit",
    "track",
    "wait",
    "warm_up",
    "workers_of",
]


def options(**changes: Any) -> Submitter:
    """Return something that submits with other options: `options(workers=4).map(fn, items)`.

    Args:
        **changes: `name`, `runner`, `workers`, `retries`, `retry_delay`, `timeout`, `batch`, `rate`, `in_flight`,
            `fail_fast`, `tags`, `wait_for`, `dry_run`, `deployment`; see `nbfutures.model.options.JobOptions`.

    Raises:
        InvalidOptionError: If an option is not known or has a value that it cannot take.

    Examples:
        >>> nbf.options(workers=4, retries=2).map(fetch, urls)
        >>> nbf.options(deployment="etl/nightly").map([{"day": "mon"}, {"day": "tue"}])
    """
    return Submitter(changes)


def map(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Job:  # noqa: A001 - Prefect's word
    """Call `fn` for each element, concurrently, in the background. Does not block, but with the runner "inline".

    With the runner "inline" the items run here and now, one after the other: the job that is returned is done.
    A KeyboardInterrupt cancels the item that runs and the rest then; it is raised only where it comes a second time.

    What is iterable is mapped over, texts and `unmapped(...)` are given to every call, as in Prefect's `Task.map`.

    Args:
        fn: A function, an `async` function or a Prefect task.
        *args: Its positional arguments.
        **kwargs: Its keyword arguments.

    Returns:
        The job.

    Raises:
        MapArgumentsError: If the arguments do not fit `fn`, or there is nothing to map over.

    Examples:
        >>> job = nbf.map(len, ["a", "bb"])
        >>> job.result()
        [1, 2]
    """
    return Submitter({}).map(fn, *args, **kwargs)


def submit(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Job:
    """Call `fn` once, in the background. Does not block.

    Args:
        fn: A function, an `async` function or a Prefect task.
        *args: Its positional arguments.
        **kwargs: Its keyword arguments.

    Returns:
        The job; `job.result()` is the value.

    Raises:
        MapArgumentsError: If the arguments do not fit `fn`.
    """
    return Submitter({}).submit(fn, *args, **kwargs)


def run(flow: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Job:
    """Run a Prefect flow in the background; the task runs that it submits are the job's items. Does not block.

    Args:
        flow: A Prefect flow, or a function, which becomes one.
        *args: Its positional arguments.
        **kwargs: Its keyword arguments.

    Returns:
        The job; `job.result()` is what the flow returned.

    Raises:
        MapArgumentsError: If `flow` is neither, or does not take the arguments.
    """
    return Submitter({}).run(flow, *args, **kwargs)


def track(futures: Any) -> Job:
    """Show and tabulate Prefect futures that other code made. Does not block.

    Args:
        futures: Prefect futures, in a list.

    Returns:
        The job.

    Raises:
        MapArgumentsError: If there is no Prefect future among them.
    """
    return Submitter({}).track(futures)


def serve(flow: Any, /, *, name: str, workers: int | None = None, keep: bool = False) -> ServedFlow:
    """Serve a flow, also one that is defined in the notebook, as a Prefect deployment. Does not block.

    A process of its own runs what is asked of the deployment, each flow run in a further process. It has the flow as
    it is now: after a change, serve it again under the same name, which replaces it. What the flow returns is
    persisted, unless it says `persist_result=False`. The process ends with the kernel unless it is kept.

    Args:
        flow: A Prefect flow.
        name: Name of the deployment, which is called "flow/name" then.
        workers: How many flow runs run at once; the number of CPUs if not given.
        keep: Whether to go on when the kernel ends.

    Returns:
        What serves it: `.name`, `.pid`, `.is_alive`, `.running()`, `.log`, `.stop()`.

    Raises:
        MapArgumentsError: If it is no flow.
        InvalidOptionError: If `name` or `workers` cannot be taken.
        PicklingError: If something that the flow uses cannot be sent.
        ServeError: On Windows.

    Examples:
        >>> served = nbf.serve(my_flow, name="nightly")
        >>> job = nbf.options(deployment="my-flow/nightly").map(x=[1, 2, 3])
    """
    return serving.serve_flow(flow, name, session=get_session(), workers=workers, keep=keep)


def served_flows() -> list[ServedFlow]:
    """Return the flows that this kernel serves, and those that were kept when their kernel ended, by name."""
    return serving.served_flows(get_session())


def stop_serving(name: str | None = None) -> list[str]:
    """Stop serving flows; what runs of them is cancelled. Blocks until their processes have ended.

    Args:
        name: Only the deployment of this name, "flow/name"; all if not given.

    Returns:
        The names of the deployments.

    Raises:
        NbfuturesError: If no flow is served under this name.
    """
    return serving.stop_serving(get_session(), name)


def warm_up() -> None:
    """Connect to Prefect in the background, so that the first job need not wait. Does not block."""
    get_session().start()


def close() -> None:
    """Cancel what runs, let go of Prefect, and give back its settings."""
    get_session().close()
    forget_shell()


def session_defaults() -> JobOptions:
    """Return the options that hold where a job is given none."""
    return get_session().defaults


def set_session_defaults(defaults: JobOptions) -> None:
    """Set the options that hold where a job is given none."""
    get_session().defaults = defaults


def session_jobs() -> list[Job]:
    """Return the kernel's jobs, the newest last."""
    return [run.owner for run in get_session().jobs if isinstance(run.owner, Job)]


def find_job(name: str) -> Job:
    """Return the newest job of a name.

    Raises:
        NbfuturesError: If there is none; it names those that there are.
    """
    jobs = session_jobs()
    found = next((job for job in reversed(jobs) if job.name == name), None)
    if found is None:
        known = ", ".join(dict.fromkeys(job.name for job in reversed(jobs))) or "none yet"
        raise NbfuturesError(f"There is no job {name!r}. Jobs of this notebook: {known}.")
    return found


def jobs_view() -> JobsView:
    """Return the list of the kernel's jobs, which shows itself and stays up to date."""
    return JobsView(session_jobs())

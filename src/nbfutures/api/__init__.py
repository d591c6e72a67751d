"""What users call from Python: it composes the other layers and holds no logic of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nbfutures.api.brief_errors import with_brief_errors
from nbfutures.api.dashboard import dashboard
from nbfutures.api.job import Job
from nbfutures.api.jobs import JobsView
from nbfutures.api.limits import delete_limit, limit, limits, limits_view
from nbfutures.api.serving import Serving, serve, served_flows, stop_serving
from nbfutures.api.submitter import Submitter, attached
from nbfutures.engine.cpus import inner_threads
from nbfutures.errors import NbfuturesError
from nbfutures.model.job_snapshot import JobSnapshot
from nbfutures.prefect.deployments.serving import ServedFlow
from nbfutures.prefect.jobs.waiting import as_completed, wait
from nbfutures.prefect.runners import default_workers, stop_workers, workers_of
from nbfutures.prefect.session import get_session
from nbfutures.views.display import forget_shell

if TYPE_CHECKING:
    from collections.abc import Callable

    from nbfutures.model.options import JobOptions

__all__ = [
    "Job",
    "ServedFlow",
    "Serving",
    "Submitter",
    "as_completed",
    "attach",
    "close",
    "dashboard",
    "default_workers",
    "delete_limit",
    "find_job",
    "inner_threads",
    "jobs_view",
    "limit",
    "limits",
    "limits_view",
    "map",
    "options",
    "run",
    "serve",
    "served_flows",
    "session_defaults",
    "session_jobs",
    "set_session_defaults",
    "starmap",
    "stop_serving",
    "stop_workers",
    "submit",
    "track",
    "wait",
    "warm_up",
    "workers_of",
]


@with_brief_errors
def options(**changes: Any) -> Submitter:
    """Return something that submits with other options: `options(workers=4).map(fn, items)`.

    Args:
        **changes: `name`, `runner`, `workers`, `retries`, `retry_delay`, `timeout`, `batch`, `rate`, `in_flight`,
            `limit`, `fail_fast`, `tags`, `wait_for`, `dry_run`, `deployment`, `background`; see
            `nbfutures.model.options.JobOptions`.

    `limit="db"`, or a list of names, has each item that runs take a slot of that limit, whichever the runner; see
    `nbfutures.limit`. The job holds as many slots as it runs items at once. A slot is kept from item to item while
    there is work, and 0.3 s longer; where the limit is full it is given back after ten seconds, when its item ends, so
    that others have their turn. A paused job and one that has ended hold none. An item that ran out of time and goes
    on in its thread all the same keeps its slot until it ends. While no item has a slot the job says so; a cancel ends
    the waiting at once. The slots of a kernel that died are free again after a minute and some seconds.

    Raises:
        InvalidOptionError: If an option is not known or has a value that it cannot take.

    Examples:
        >>> nbf.options(workers=4, retries=2).map(fetch, urls)
        >>> nbf.options(runner="processes").map(simulate, seeds)
        >>> nbf.options(limit="db", rate=10).map(query, keys)  # a slot of the limit each; ten a second at most
        >>> nbf.options(background=True).map(fetch_task, urls)  # run by workers: nbf.serve(fetch_task)
        >>> nbf.options(deployment="etl/nightly").map([{"day": "mon"}, {"day": "tue"}])
        >>> nbf.options(wait_for=[prepared]).map(fetch, urls)  # not before another job has completed
    """
    return Submitter(changes)


@with_brief_errors
def map(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Job:  # noqa: A001 - Prefect's word
    """Call `fn` for each element, concurrently, in the background. Does not block, but with the runner "inline".

    With the runner "inline" the items run here and now, one after the other: the job that is returned is done.
    A KeyboardInterrupt cancels the item that runs and the rest then, and is raised when the job has come to its end.

    Lists, arrays, iterators and the like are mapped over; texts, files, records such as models and named tuples, and
    `unmapped(...)` are given to every call. A dict, a DataFrame or a class is mapped over if nothing else is. Where an
    argument could be meant in two ways, a warning says which way it went. The README has the table.

    Generators and other iterators, of which nobody knows how long they are, are read while the job runs, on a thread of
    the job and in the context of this call (with the runner "inline" in the calling thread), no further than the
    workers need; `async` generators, too. The job is open-ended until they end. `cancel()` ends the reading, `pause()`
    holds it up; what an iterator raises ends the job, whose `result()` raises it, and what came before is kept. Large
    arguments are let go of when their items have completed.

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
        >>> nbf.map(score, models, nbf.unmapped(table))  # the same table for every model
        >>> nbf.map(parse, nbf.map(fetch, urls))  # each item as soon as its own input is there
    """
    return Submitter({}).map(fn, *args, **kwargs)


@with_brief_errors
def starmap(fn: Callable[..., Any], rows: Any, /, **kwargs: Any) -> Job:
    """Call `fn(*row)` for each row, concurrently, in the background, as `itertools.starmap`. Does not block.

    Args:
        fn: A function, an `async` function or a Prefect task.
        rows: An iterable of tuples: pairs of `zip` or `dict.items()`, rows of `frame.itertuples(index=False)`.
        **kwargs: Keyword arguments; what `map` maps over is mapped over, too.

    Returns:
        The job.

    Raises:
        MapArgumentsError: If the rows are no tuples, or none of them fits `fn`.

    Examples:
        >>> nbf.starmap(area, zip(widths, heights))
        >>> nbf.starmap(pow, [(2, 10), (3, 2)]).result()
        [1024, 9]
    """
    return Submitter({}).starmap(fn, rows, **kwargs)


@with_brief_errors
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

    Examples:
        >>> job = nbf.submit(pow, 2, 10)
        >>> job.result()
        1024
    """
    return Submitter({}).submit(fn, *args, **kwargs)


@with_brief_errors
def run(flow: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Job:
    """Run a Prefect flow in the background; its task runs are the job's items. Does not block.

    Items are the task runs that the flow submits or calls, and those of flows that it calls in turn, in this process.

    Args:
        flow: A Prefect flow, or a function, which becomes one.
        *args: Its positional arguments.
        **kwargs: Its keyword arguments.

    Returns:
        The job; `job.result()` is what the flow returned.

    Raises:
        MapArgumentsError: If `flow` is neither, or does not take the arguments.

    Examples:
        >>> @flow
        ... def report(days):
        ...     cleaned = clean.map(days)
        ...     return total.submit(cleaned, wait_for=[check.submit()]).result()
        >>> job = nbf.run(report, ["mon", "tue"])

        >>> @flow
        ... async def pages(urls):  # `async` flows and flows that call other flows, too
        ...     return await asyncio.gather(*[fetch(url) for url in urls])
        >>> job = nbf.run(pages, urls)
    """
    return Submitter({}).run(flow, *args, **kwargs)


@with_brief_errors
def track(futures: Any) -> Job:
    """Show and tabulate Prefect futures that other code made. Does not block.

    Args:
        futures: Prefect futures, in a list.

    Returns:
        The job.

    Raises:
        MapArgumentsError: If there is no Prefect future among them.

    Examples:
        >>> job = nbf.track([fetch.delay(url) for url in urls])
        >>> job.frame()
    """
    return Submitter({}).track(futures)


@with_brief_errors
def attach(name: str) -> Job:
    """Return a background job again, such as after a restart of the kernel: what ended is there, the rest is followed.

    Blocks until Prefect has answered, for a minute at most, and for the start of Prefect if it is not there.

    Args:
        name: What the job is called, the newest of that name; or the id of a flow run, any that has task runs.

    Returns:
        The job, with every outcome. It can be cancelled and retried as before.

    Raises:
        NbfuturesError: If Prefect knows none; it names those that there are.
        ServerUnreachableError: If Prefect does not answer in time.

    Examples:
        >>> job = nbf.attach("fetch")
        >>> job.summary()
    """
    known = next((job for job in reversed(session_jobs()) if job.name == name and job.is_background), None)
    return known if known is not None else attached(name)


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
        ended = next((one for one in reversed(get_session().jobs.known()) if one.name == name), None)
        if isinstance(ended, JobSnapshot):
            raise NbfuturesError(
                f"The job {name!r} has ended, and no variable holds it, so that its values and errors are gone: "
                f"{ended.counts.completed:,} completed, {ended.counts.failed:,} failed. Another time: job = ..."
            )
        raise NbfuturesError(f"There is no job {name!r}. Jobs of this notebook: {known}.")
    return found


def jobs_view() -> JobsView:
    """Return the list of the kernel's jobs, which shows itself and stays up to date."""
    return JobsView([one if isinstance(one, JobSnapshot) else one.owner for one in get_session().jobs.known()])

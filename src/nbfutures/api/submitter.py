"""`Submitter`: makes jobs with certain options."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from nbfutures.api.brief_errors import note_started, with_brief_errors
from nbfutures.api.job import Job
from nbfutures.engine.calls.work import CallWork, map_work, name_of, starmap_work, submit_work
from nbfutures.errors import MapArgumentsError
from nbfutures.model.options import RUNNERS, JobOptions, check_background
from nbfutures.prefect.deployments.work import NOTHING, DeploymentWork, deployment_work
from nbfutures.prefect.jobs.dry_run import DryRun
from nbfutures.prefect.jobs.job_run import JobRun
from nbfutures.prefect.resolving import resolve_inputs
from nbfutures.prefect.session import get_session
from nbfutures.prefect.watching.watched_work import FlowWork, TrackedWork

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nbfutures.engine.contracts import Work

__all__ = ["Submitter", "attached"]


class Submitter:
    """Submits work with certain options. Immutable and reusable.

    Args:
        changes: Options by name; where there is none, the session's default holds at the time of the submission.

    Raises:
        InvalidOptionError: If an option is not known or has a value that it cannot take.
    """

    __slots__ = ("_changes",)

    def __init__(self, changes: Mapping[str, Any]) -> None:
        JobOptions().replace(**changes)
        check_background(changes)
        self._changes = dict(changes)

    @with_brief_errors
    def options(self, **changes: Any) -> Submitter:
        """Return a submitter with some options changed."""
        return Submitter({**self._changes, **changes})

    # `self` and the function are positional only: the function's own keyword arguments may have any name.
    @with_brief_errors
    def map(self, fn: Callable[..., Any] | Any = NOTHING, /, *args: Any, **kwargs: Any) -> Job:
        """As `nbfutures.map`, with these options.

        With the option `deployment` there is no function: give a list with a dict of parameters for each flow run, or
        parameters by name, of which those that are iterable are mapped over.

        Examples:
            >>> job = nbf.options(deployment="etl/nightly").map([{"day": "mon"}, {"day": "tue"}])
            >>> job = nbf.options(deployment="etl/nightly").map(day=["mon", "tue"], dry=True)
        """
        if (deployment := self._deployment) is not None:
            return self._start(self._deployed(deployment, fn, args, kwargs, is_single=False), deployment)
        return self._start(
            map_work(
                _given(fn, "map(fn, items)"), args, kwargs, is_background=self._is_background, resolve=resolve_inputs
            ),
            fn,
        )

    @with_brief_errors
    def starmap(self, fn: Callable[..., Any] | Any = NOTHING, rows: Any = NOTHING, /, **kwargs: Any) -> Job:
        """As `nbfutures.starmap`, with these options.

        Examples:
            >>> job = nbf.options(workers=4).starmap(pow, [(2, 10), (3, 2)])
        """
        if self._deployment is not None:
            raise MapArgumentsError("With deployment=, write map([{'x': 1, 'y': 2}, ...]): parameters have names.")
        usage = "starmap(fn, [(x, y), ...])"
        if rows is NOTHING and fn is not NOTHING:
            raise MapArgumentsError(f"There are no arguments. Write {usage}.")
        return self._start(
            starmap_work(_given(fn, usage), rows, kwargs, is_background=self._is_background, resolve=resolve_inputs), fn
        )

    @with_brief_errors
    def submit(self, fn: Callable[..., Any] | Any = NOTHING, /, *args: Any, **kwargs: Any) -> Job:
        """As `nbfutures.submit`, with these options.

        With the option `deployment` there is no function: give the parameters of one flow run by name, or as a dict.

        Examples:
            >>> job = nbf.options(deployment="etl/nightly").submit(day="mon")
        """
        if (deployment := self._deployment) is not None:
            work = self._deployed(deployment, fn, args, kwargs, is_single=True)
            return self._start(work, deployment, single=True)
        return self._start(
            submit_work(
                _given(fn, "submit(fn, ...)"), args, kwargs, is_background=self._is_background, resolve=resolve_inputs
            ),
            fn,
            single=True,
        )

    @with_brief_errors
    def run(self, flow: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Job:
        """As `nbfutures.run`, with these options.

        Examples:
            >>> job = nbf.options(name="report of May", tags=["may"]).run(report, days)
        """
        work = FlowWork(flow, args, kwargs)
        work.check_options(
            [name for name, value in self._changes.items() if name not in {"dry_run", "background"} or value]
        )
        return self._start(work, flow)

    @with_brief_errors
    def track(self, futures: Any, /) -> Job:
        """As `nbfutures.track`, with these options.

        Examples:
            >>> job = nbf.options(name="pages").track(fetch.map(urls))
        """
        return self._start(TrackedWork(futures), "tracked futures")

    @property
    def _is_background(self) -> bool:
        return bool(self._changes.get("background"))

    def __repr__(self) -> str:
        told = ", ".join(f"{name}={value!r}" for name, value in self._changes.items())
        return f"nbfutures.options({told})"

    @property
    def _deployment(self) -> str | None:
        return get_session().defaults.replace(**self._changes).deployment

    def _deployed(
        self, deployment: str, first: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, is_single: bool
    ) -> DeploymentWork:
        DeploymentWork.check_options(name for name, value in self._changes.items() if name != "dry_run" or value)
        return deployment_work(deployment, first, args, kwargs, is_single=is_single)

    def _start(self, work: Work, what: Any, *, single: bool = False) -> Job:
        session = get_session()
        options = session.defaults.replace(**self._changes)
        if isinstance(work, DeploymentWork):
            # Where calls of this kernel run says nothing of them.
            options = options.replace(runner=RUNNERS[0], workers=None)
        if options.background:
            options = options.for_background(secrets.token_hex(6))
        name = options.name or (what if isinstance(what, str) else name_of(what).strip("<>"))
        run: JobRun
        if options.dry_run and isinstance(work, CallWork):
            run = DryRun(work, options, session, name)
        else:
            run = JobRun(work, options, session, name)
        return _started(run, single=single)


def attached(name: str) -> Job:
    """Return a job that another kernel began, see `nbfutures.attach`."""
    session = get_session()
    session.wait_until_ready()
    from nbfutures.prefect.background.attach import find_job

    work = find_job(name)
    found = work.found
    options = JobOptions().replace(background=True, **found.options)
    run = JobRun(work, options, session, found.name)
    run.began(found.began)
    return _started(run, single=False)


def _started(run: JobRun, *, single: bool) -> Job:
    job = Job(run, single=single)
    run.owner = job
    note_started(run)
    try:
        run.start()
    except KeyboardInterrupt as error:
        # A magic binds its variable all the same.
        error.job = job  # type: ignore[attr-defined]
        run.session.jobs.keep(run)
        raise
    return job


def _given(fn: Any, usage: str) -> Any:
    if fn is NOTHING:
        raise MapArgumentsError(f"There is no function. Write {usage}.")
    return fn

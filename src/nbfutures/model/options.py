"""How to run a job: one immutable record, checked when it is made."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID

from nbfutures.errors import InvalidOptionError

__all__ = ["BACKGROUND_TAG", "CLUSTERS", "JOB_TAG", "RUNNERS", "JobOptions", "check_background", "check_whole"]

RUNNERS = ("threads", "processes", "dask", "ray", "inline")
"""Names of the runners, the default first."""

CLUSTERS = ("dask", "ray")
"""Runners that go past this machine."""

BACKGROUND_TAG = "background"
"""Tag of the flow runs of background jobs, by which they are found again."""

JOB_TAG = "job-"
"""Begins the tag that the flow runs of one background job have in common."""

_NOT_IN_BACKGROUND = {
    "runner": "Workers run the items: %serve starts some, and says how many.",
    "address": "Workers run the items: %serve starts some.",
    "workers": "Say how many where the task is served: nbf.serve(fetch, workers=2), %serve fetch --workers 2.",
    "batch": "Each item has a task run of its own.",
    "retries": "Set it on the task, @task(retries=2), and serve it again.",
    "retry_delay": "Set it on the task, @task(retry_delay_seconds=5), and serve it again.",
    "timeout": "Set it on the task, @task(timeout_seconds=30), and serve it again.",
    "limit": "Take the slot in the task: with concurrency('db', strict=True), of prefect.concurrency.sync.",
    "deployment": "A deployment's flow runs are in the background by themselves.",
    "dry_run": "Leave background out for the dry run: that calls the function in this kernel.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """How to run a job. Immutable; `replace` makes a changed copy."""

    name: str | None = None
    """What people call the job; the function's name if not given."""
    runner: str = RUNNERS[0]
    """Where items run."""
    address: Any = None
    """Where the cluster is: a Dask scheduler's address or `distributed.Client`, or Ray's address. If not given, the
    cluster that this kernel is connected to, else one of this machine."""
    workers: int | None = None
    """How many items run at once; the runner's own default if not given."""
    retries: int | None = None
    """How often a failing item is tried again; a Prefect task's own setting, or 0, if not given."""
    retry_delay: float | None = None
    """Seconds between two attempts."""
    timeout: float | None = None
    """Seconds after which an item fails."""
    batch: int | str = "auto"
    """Items for one task run, or "auto": as many as fit in about a second. A Prefect task always has one."""
    rate: float | None = None
    """Items to start per second, at most."""
    in_flight: int | None = None
    """Items that are submitted and not yet settled, at most."""
    limit: tuple[str, ...] = ()
    """Names of limits in Prefect of which each item that runs takes a slot; made by `nbfutures.limit`."""
    fail_fast: bool = False
    """Whether the first failure cancels what has not started."""
    tags: tuple[str, ...] = ()
    """Tags of the flow run and its task runs in Prefect."""
    wait_for: tuple[Any, ...] = ()
    """Futures or jobs that have to complete before the first item starts."""
    dry_run: bool = False
    """Whether to run three of the items only, and say how long all would take and which runner fits."""
    deployment: str | None = None
    """A Prefect deployment, "flow/name" or its id: each item is a flow run of it, wherever that runs."""
    background: bool = False
    """Whether Prefect's task workers run the items, in processes of their own that may outlive the kernel."""

    def __post_init__(self) -> None:
        if self.runner not in RUNNERS:
            raise InvalidOptionError(
                f"There is no runner {self.runner!r}{_suggestion(str(self.runner), RUNNERS)} "
                f"Use one of: {', '.join(RUNNERS)}."
            )
        if self.address is not None and self.runner not in CLUSTERS:
            raise InvalidOptionError(
                f"address is for the runners {' and '.join(CLUSTERS)}; the runner here is {self.runner!r}. Give the "
                f"runner too: runner='dask', or leave address out."
            )
        check_whole("workers", self.workers, least=1)
        check_whole("in_flight", self.in_flight, least=1)
        check_whole("retries", self.retries, least=0)
        _check_seconds("retry_delay", self.retry_delay, zero=True)
        _check_seconds("timeout", self.timeout)
        _check_seconds("rate", self.rate, unit="items per second")
        if self.batch != "auto":
            check_whole("batch", self.batch, least=1, also=' or "auto"', optional=False)
        if self.name is not None and (not isinstance(self.name, str) or not self.name.strip()):
            raise InvalidOptionError(f"name must be a text that is not empty, got {self.name!r}.")
        _check_deployment(self.deployment)
        object.__setattr__(self, "tags", _as_tags(self.tags))
        object.__setattr__(self, "limit", _as_names(self.limit))
        object.__setattr__(self, "wait_for", _as_tuple(self.wait_for))

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some options changed.

        Args:
            **changes: Option names and their new values.

        Raises:
            InvalidOptionError: If an option is not known or has a value that it cannot take.
        """
        names = [one.name for one in dataclasses.fields(self)]
        for name in changes:
            if name not in names:
                raise InvalidOptionError(
                    f"There is no option {name!r}{_suggestion(name, names)} Options are: {', '.join(names)}."
                )
        if changes.get("runner", self.runner) != self.runner:
            # The address of one cluster is not that of another.
            changes.setdefault("address", None)
        return dataclasses.replace(self, **changes)

    def for_background(self, token: str) -> Self:
        """Return a copy for a background job: without what the session's defaults say of other jobs.

        Args:
            token: What the flow runs of the job have in common, and those of others have not.
        """
        defaults = {one.name: one.default for one in dataclasses.fields(self) if one.name in _NOT_IN_BACKGROUND}
        return self.replace(**defaults, tags=(*self.tags, BACKGROUND_TAG, f"{JOB_TAG}{token}"))


def check_background(given: Mapping[str, Any]) -> None:
    """Check options that are given together with `background`.

    Raises:
        InvalidOptionError: If one of them has no meaning then.
    """
    if not given.get("background"):
        return
    for name, advice in _NOT_IN_BACKGROUND.items():
        if given.get(name) not in (None, False):
            raise InvalidOptionError(f"{name} cannot be given for background tasks. {advice}")


def _suggestion(word: str, known: Any) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else "."


def _as_tags(tags: Any) -> tuple[str, ...]:
    if isinstance(tags, str):
        return (tags,)
    made = tuple(tags) if isinstance(tags, Iterable) else (tags,)
    if not all(isinstance(tag, str) for tag in made):
        raise InvalidOptionError(f"tags must be texts, got {tags!r}.")
    return made


def _as_names(limit: Any) -> tuple[str, ...]:
    names = () if limit is None else (limit,) if isinstance(limit, str) or not isinstance(limit, Iterable) else limit
    made = tuple(dict.fromkeys(names))
    if not all(isinstance(name, str) and name.strip() for name in made):
        raise InvalidOptionError(
            f"limit takes the name of a limit, or several in a list, got {limit!r}. How many slots it has is said "
            f"once: nbf.limit('db', 4). To run fewer items of this job at once without a limit, use workers."
        )
    return made


def _as_tuple(wait_for: Any) -> tuple[Any, ...]:
    return tuple(wait_for) if isinstance(wait_for, tuple | list | set) else (wait_for,)


def _check_deployment(value: Any) -> None:
    if value is None:
        return
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            UUID(value)
            return
        flow, _, name = value.partition("/")
        if flow.strip() and name.strip() and "/" not in name:
            return
    raise InvalidOptionError(
        f'deployment must be "flow/name" as Prefect lists it, or the id of a deployment, got {value!r}.'
    )


def check_whole(name: str, value: Any, *, least: int, also: str = "", optional: bool = True) -> None:
    """Raise `InvalidOptionError` unless a value is a whole number.

    Args:
        name: The option's.
        value: Its value.
        least: What it must be at least.
        also: What else may be given, for the message.
        optional: Whether `None` will do.
    """
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidOptionError(f"{name} must be a whole number of at least {least}{also}, got {value!r}.")


def _check_seconds(name: str, value: Any, *, zero: bool = False, unit: str = "seconds") -> None:
    if value is None:
        return
    ok = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not ok or value < 0 or (value == 0 and not zero):
        more = "0 or more" if zero else "more than 0"
        raise InvalidOptionError(f"{name} must be a number of {unit}, {more}, got {value!r}.")

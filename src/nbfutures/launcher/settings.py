"""The options of a form: how the job runs, and the variable that holds it."""

from __future__ import annotations

import keyword
from typing import TYPE_CHECKING, Any

from nbfutures import api
from nbfutures.errors import InvalidOptionError
from nbfutures.launcher.entries import EntryError, Mode
from nbfutures.launcher.fields import Field, Kind, Target
from nbfutures.launcher.references import refer_to, refer_to_package
from nbfutures.launcher.row import Row
from nbfutures.model.options import RUNNERS, JobOptions

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["free_variable", "option_rows", "variable_row"]


def option_rows(target: Target, namespace: dict[str, Any]) -> dict[str, Row]:
    """Return a row for each option that jobs of the target take. What is left empty is the session's default."""
    now = api.session_defaults()
    own = getattr(target.target, "retries", None) if target.sort == "Prefect task" else None
    runner = Field(name="runner", kind=Kind.CHOICE, choices=RUNNERS, default=now.runner)
    workers = Field(name="workers", kind=Kind.INTEGER, default=None)
    retries = Field(name="retries", kind=Kind.INTEGER, default=None)
    name = Field(name="name", kind=Kind.TEXT, default="")
    dry_run = Field(name="dry_run", kind=Kind.BOOLEAN, default=now.dry_run)
    placeholders = {
        "workers": str(now.workers or api.default_workers()),
        "retries": str(own or 0) if now.retries is None else str(now.retries),
        "name": now.name or target.name,
    }
    # A flow decides by itself how its tasks run.
    fields = [name] if target.is_flow else [runner, workers, retries, name, dry_run]
    return {
        field.name: Row(
            field,
            namespace,
            [Mode.VALUE],
            placeholder=placeholders.get(field.name, ""),
            hint="",
            check=_option_check(field.name),
        )
        for field in fields
    }


def variable_row(target: Target, namespace: dict[str, Any]) -> Row:
    """Return the row for the name of the variable that holds the job."""
    field = Field(name="variable", kind=Kind.TEXT, default="")
    row = Row(
        field,
        namespace,
        [Mode.VALUE],
        placeholder="none",
        hint="holds the job",
        check=_variable_check(target, namespace),
    )
    row.value.value = free_variable(namespace)
    return row


def free_variable(namespace: dict[str, Any]) -> str:
    """Return a name for a job that the notebook does not use yet: job, job2, ..."""
    number = 1
    name = "job"
    while name in namespace:
        number += 1
        name = f"job{number}"
    return name


def _option_check(name: str) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        try:
            JobOptions().replace(**{name: value})
        except InvalidOptionError as error:
            raise EntryError(str(error)) from None

    return check


def _variable_check(target: Target, namespace: dict[str, Any]) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        if not value.isidentifier() or keyword.iskeyword(value):
            raise EntryError("Needed: a variable's name, such as job, or nothing.")
        taken = [one for one in (refer_to(target.target, namespace), refer_to_package(namespace)) if one is not None]
        if value in {one.code for one in taken}:
            raise EntryError(f"{value} is needed itself; take another name, such as job.")

    return check

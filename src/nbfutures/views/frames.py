"""A job as pandas tables, with the same columns and dtypes whether it has not begun, runs or is done."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pandas as pd
from pandas import DataFrame

from nbfutures.model.outcome import Outcome, OutcomeKind
from nbfutures.views.clean import error_message, error_name, plain
from nbfutures.views.grouping import group_failures, source_input

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

    from nbfutures.model.item import ItemSource
    from nbfutures.model.job_state import JobState

__all__ = ["OUTCOMES", "DataFrame", "errors", "failed", "frame", "logs", "succeeded", "summary"]

UNSETTLED = "unsettled"
OUTCOMES = (*(kind.value for kind in OutcomeKind), UNSETTLED)
"""The categories of a frame's column `outcome`."""

_CODES = {kind: OUTCOMES.index(kind.value) for kind in OutcomeKind}
_UNSETTLED_CODE = OUTCOMES.index(UNSETTLED)
_UNSETTLED_ROW = Outcome(-1, OutcomeKind.SKIPPED)
"""What the columns but `input` and `outcome` hold for an item that has not ended."""

_MESSAGE_LIMIT = 2_000
_TEXT = "string"


def frame(state: JobState, source: ItemSource) -> pd.DataFrame:
    """Return one row for each item.

    Args:
        state: The job's state.
        source: Where the inputs are read from.

    Returns:
        A frame whose index, named `index`, is the item's position. Columns: `input` (the arguments in short),
        `outcome` (a category: completed, failed, cancelled, skipped, or unsettled for what waits or runs), `value`,
        `error` (name of the type), `message` (cut), `queued`, `started`, `ended` (times in UTC), `seconds`,
        `cpu_seconds`, `worker`, `attempts` and `task_run_id`.
    """
    outcomes = list(state.outcomes())
    return _frame(outcomes, range(len(outcomes)), source)


def succeeded(state: JobState, source: ItemSource) -> pd.DataFrame:
    """Return the rows of `frame` whose items completed."""
    return _of_kind(state, source, OutcomeKind.COMPLETED)


def failed(state: JobState, source: ItemSource) -> pd.DataFrame:
    """Return the rows of `frame` whose items failed."""
    return _of_kind(state, source, OutcomeKind.FAILED)


def summary(state: JobState) -> pd.DataFrame:
    """Return one row for each outcome: completed, failed, cancelled, skipped, and unsettled if there are such items.

    Args:
        state: The job's state.

    Returns:
        A frame whose index is named `outcome`. Columns: `count`, `share` (of all items, 0 to 1), and of the seconds
        that the items ran `total_seconds`, `mean_seconds`, `median_seconds` and `p95_seconds`.
    """
    outcomes = list(state.outcomes())
    rows = []
    for name in OUTCOMES:
        chosen = [one for one in outcomes if (UNSETTLED if one is None else one.kind.value) == name]
        if name == UNSETTLED and not chosen:
            continue
        seconds = pd.Series([one.seconds for one in chosen if one is not None], dtype="float64").dropna()
        rows.append(
            (
                len(chosen),
                len(chosen) / len(outcomes) if outcomes else 0.0,
                seconds.sum(),
                seconds.mean(),
                seconds.median(),
                seconds.quantile(0.95),
            )
        )
    names = ["count", "share", "total_seconds", "mean_seconds", "median_seconds", "p95_seconds"]
    index = pd.Index(OUTCOMES[: len(rows)], name="outcome", dtype=_TEXT)
    table = pd.DataFrame(rows, columns=names, index=index)
    return table.astype({"count": "int64", **dict.fromkeys(names[1:], "float64")})


def errors(state: JobState, source: ItemSource) -> pd.DataFrame:
    """Return the failures in groups of the same error type, line and kind of message; the largest group first.

    Args:
        state: The job's state.
        source: Where the inputs are read from.

    Returns:
        A frame with the columns `count`, `error` (name of the type), `message` (numbers, quoted texts and paths in
        which the group's messages differ are placeholders), `where` (the line that raised), `first` (index of the
        first such item) and `example` (its arguments in short).
    """
    groups = group_failures(state.outcomes(), source)
    return pd.DataFrame(
        {
            "count": pd.Series([group.count for group in groups], dtype="int64"),
            "error": _texts(group.error for group in groups),
            "message": _texts(group.message for group in groups),
            "where": _texts(group.where for group in groups),
            "first": pd.Series([group.first for group in groups], dtype="int64"),
            "example": _texts(group.example for group in groups),
        }
    )


def logs(lines: Iterable[tuple[datetime, int, str | None, UUID | None, str]]) -> pd.DataFrame:
    """Return one row for each line of a log.

    Args:
        lines: Of each its time, its level, name and id of the task run (`None` for the flow's own), and its message.

    Returns:
        A frame with the columns `time` (in UTC), `level` (such as INFO), `task_run`, `message` and `task_run_id`.
    """
    rows = list(lines)
    return pd.DataFrame(
        {
            "time": pd.to_datetime(pd.Series([row[0] for row in rows], dtype=object), utc=True).dt.as_unit("ns"),
            "level": _texts(logging.getLevelName(row[1]) for row in rows),
            "task_run": _texts(row[2] for row in rows),
            "message": _texts(row[4] for row in rows),
            "task_run_id": _texts(None if row[3] is None else str(row[3]) for row in rows),
        }
    )


def _of_kind(state: JobState, source: ItemSource, kind: OutcomeKind) -> pd.DataFrame:
    chosen = [one for one in state.outcomes() if one is not None and one.kind is kind]
    return _frame(chosen, [one.index for one in chosen], source)


def _frame(outcomes: Sequence[Outcome | None], indices: Iterable[int], source: ItemSource) -> pd.DataFrame:
    """Return the rows of some items; column by column, since a record for each row costs ten times as much."""
    index = pd.Index(list(indices), dtype="int64", name="index")
    codes = [_UNSETTLED_CODE if one is None else _CODES[one.kind] for one in outcomes]
    rows = [_UNSETTLED_ROW if one is None else one for one in outcomes]
    raised = [row.error for row in rows]
    columns = {
        "input": _texts(source_input(source, position) for position in indices),
        "outcome": pd.Series(pd.Categorical.from_codes(codes, categories=pd.Index(OUTCOMES, dtype=object))),
        "value": pd.Series([row.value for row in rows], dtype=object),
        "error": _texts(None if error is None else error_name(error) for error in raised),
        "message": _texts(None if error is None else error_message(error, _MESSAGE_LIMIT) for error in raised),
        "queued": _times([row.queued for row in rows]),
        "started": _times([row.started for row in rows]),
        "ended": _times([row.ended for row in rows]),
        "seconds": pd.Series([row.seconds for row in rows], dtype="float64"),
        "cpu_seconds": pd.Series([row.cpu_seconds for row in rows], dtype="float64"),
        "worker": _texts(None if row.worker is None else plain(row.worker, 200) for row in rows),
        "attempts": pd.Series([row.attempts for row in rows], dtype="int64"),
        "task_run_id": _texts(_ids(rows)),
    }
    return pd.DataFrame(columns).set_axis(index)


def _texts(values: Iterable[str | None]) -> pd.Series[str]:
    return pd.Series(list(values), dtype=_TEXT)


def _times(seconds: list[float | None]) -> pd.Series[pd.Timestamp]:
    epoch = pd.Series(seconds, dtype="float64")
    # A float holds today's epoch seconds to a quarter of a microsecond: the rest is noise.
    return pd.to_datetime(epoch, unit="s", utc=True).dt.round("us").dt.as_unit("ns")


def _ids(rows: Iterable[Outcome]) -> list[str | None]:
    """Return the ids of task runs as text; the items of a batch share one."""
    known: dict[UUID | None, str | None] = {None: None}
    for row in rows:
        if row.task_run_id not in known:
            known[row.task_run_id] = str(row.task_run_id)
    return [known[row.task_run_id] for row in rows]

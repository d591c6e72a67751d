"""A job's log lines, as Prefect has them: of its flow runs, of their task runs, and of the flows that these call."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    LogFilter,
    LogFilterFlowRunId,
    TaskRunFilter,
    TaskRunFilterId,
)
from prefect.client.schemas.sorting import LogSort
from prefect.settings import PREFECT_LOGGING_TO_API_BATCH_INTERVAL, PREFECT_LOGGING_TO_API_ENABLED

from nbfutures.prefect.deployments.work import DeploymentWork
from nbfutures.prefect.runners import KERNEL_RUNNERS
from nbfutures.prefect.shared_client import shared_client

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import Log

    from nbfutures.prefect.jobs.job_run import JobRun

__all__ = ["LogLine", "read_log_lines"]

_PAGE = 200
"""Rows in an answer of Prefect's, at most."""
_DEPTH = 5
"""Flows that call flows that call flows."""
_POLL_SECONDS = 0.2
_SPARE_SECONDS = 0.5
_END_SECONDS = 5.0
"""How long the flow run of a job that is done may take to end."""
_NAMES_SECONDS = 10.0
"""How long after a job's end its task runs may take to be recorded."""
_LAST_LINE = "Finished in state"
"""How Prefect's last line of a flow run begins. Where it is another one, lines are waited for a little longer."""


class LogLine(NamedTuple):
    """One line of a log."""

    time: datetime
    level: int
    """As in `logging`."""
    task_run: str | None
    """Name of the task run; `None` for a line of the flow itself."""
    task_run_id: UUID | None
    message: str


def read_log_lines(run: JobRun, limit: int) -> list[LogLine]:
    """Read a job's log lines from Prefect, the oldest first.

    Lines are sent to Prefect every two seconds. If the job has just ended, those that are on their way are waited for:
    some seconds at most.

    Args:
        run: The job.
        limit: Lines at most, the newest ones.
    """
    limit = max(limit, 0)
    if not run.flow_run_ids or not PREFECT_LOGGING_TO_API_ENABLED.value():
        return []
    with shared_client() as client:
        if run.state.is_done:
            _wait_for_lines(client, run)
        ids = _with_children(client, [*run.flow_run_ids, *_flow_runs_of_items(run)])
        # Lines that come in between move the pages on: some rows are then in two of them.
        rows: dict[UUID, Log] = {}
        while len(rows) < limit:
            page = _read(client, ids, _PAGE, offset=len(rows))
            known = len(rows)
            rows.update((row.id, row) for row in page)
            if len(page) < _PAGE or len(rows) == known:
                break
        chosen = sorted(list(rows.values())[:limit], key=lambda row: row.timestamp)
        ids_told = {row.task_run_id for row in chosen if row.task_run_id is not None}
        names = _task_run_names(client, ids_told)
        # Prefect records task runs some time after they run; so long as the job runs, who asks again sees the rest.
        end = _end(run, _NAMES_SECONDS)
        while run.state.is_done and len(names) < len(ids_told) and time.monotonic() < end:
            time.sleep(_POLL_SECONDS)
            names |= _task_run_names(client, ids_told - names.keys())
    return [
        LogLine(
            row.timestamp,
            row.level,
            None if row.task_run_id is None else names.get(row.task_run_id, str(row.task_run_id)),
            row.task_run_id,
            row.message,
        )
        for row in chosen
    ]


def _flow_runs_of_items(run: JobRun) -> list[UUID]:
    if not isinstance(run.work, DeploymentWork):
        return []
    return [one.task_run_id for one in run.state.outcomes() if one is not None and one.task_run_id is not None]


def _wait_for_lines(client: SyncPrefectClient, run: JobRun) -> None:
    if run.thread is not None:
        run.thread.join(_END_SECONDS)
    # What other processes have to say comes from each of them in its own time.
    is_of_kernel = run.options.runner in KERNEL_RUNNERS and not run.work.is_flow
    seconds = (PREFECT_LOGGING_TO_API_BATCH_INTERVAL.value() or 0.0) + _SPARE_SECONDS
    end = _end(run, seconds)
    while time.monotonic() < end:
        if is_of_kernel and any(
            row.task_run_id is None and row.message.startswith(_LAST_LINE)
            for row in _read(client, run.flow_run_ids[-1:], 5)
        ):
            return
        time.sleep(min(_POLL_SECONDS, max(end - time.monotonic(), 0.0)))


def _end(run: JobRun, seconds: float) -> float:
    """Return when this many seconds are over since the job's thread ended, as `time.monotonic` tells it."""
    return (run.left if run.left is not None else time.monotonic()) + seconds


def _read(client: SyncPrefectClient, ids: Sequence[UUID], limit: int, offset: int = 0) -> list[Log]:
    asked = LogFilter(flow_run_id=LogFilterFlowRunId(any_=list(ids)))
    return client.read_logs(asked, limit=limit, offset=offset, sort=LogSort.TIMESTAMP_DESC)


def _with_children(client: SyncPrefectClient, ids: Sequence[UUID]) -> list[UUID]:
    """Return flow runs and those that they have called, down to some depth."""
    found, parents = list(ids), list(ids)
    for _ in range(_DEPTH):
        asked = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=parents))
        parents = [one.id for one in client.read_flow_runs(flow_run_filter=asked, limit=_PAGE)]
        if not parents:
            break
        found += parents
    return found


def _task_run_names(client: SyncPrefectClient, ids: set[UUID]) -> dict[UUID, str]:
    """Return the names of task runs, of those that Prefect has recorded by now."""
    names: dict[UUID, str] = {}
    wanted = list(ids)
    for start in range(0, len(wanted), _PAGE):
        asked = TaskRunFilter(id=TaskRunFilterId(any_=wanted[start : start + _PAGE]))
        names.update((one.id, one.name) for one in client.read_task_runs(task_run_filter=asked, limit=_PAGE))
    return names

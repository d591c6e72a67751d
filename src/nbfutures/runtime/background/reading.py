"""Reading task runs by their ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterId

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import TaskRun

__all__ = ["read_by_id"]

_PAGE = 200


async def read_by_id(client: PrefectClient, ids: Sequence[UUID]) -> list[TaskRun]:
    """Return those of some task runs that are there."""
    made: list[TaskRun] = []
    for start in range(0, len(ids), _PAGE):
        wanted = TaskRunFilter(id=TaskRunFilterId(any_=list(ids[start : start + _PAGE])))
        made += await client.read_task_runs(task_run_filter=wanted, limit=_PAGE)
    return made

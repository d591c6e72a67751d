"""How the task runs of a worker ended, until Prefect's server has recorded it."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterId
from prefect.results import ResultRecord  # type: ignore[attr-defined]

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import State, TaskRun

__all__ = ["Endings", "read_by_id", "read_endings"]

_PAGE = 200


async def read_by_id(client: PrefectClient, ids: Sequence[UUID]) -> list[TaskRun]:
    """Return those of some task runs that are there."""
    made: list[TaskRun] = []
    for start in range(0, len(ids), _PAGE):
        wanted = TaskRunFilter(id=TaskRunFilterId(any_=list(ids[start : start + _PAGE])))
        made += await client.read_task_runs(task_run_filter=wanted, limit=_PAGE)
    return made


_LOOK_SECONDS = 3.0
_LATE_SECONDS = 5.0
"""After which the server has recorded an end, if it was told: it does so once a second."""
_MOST = 200

_logger = logging.getLogger("nbfutures.worker")


class Endings:
    """Last states of task runs; those that the server did not hear of are told again.

    Prefect's engine tells them by an event, which is lost where a connection breaks or the database is locked for too
    long. Whoever waits would wait for ever.

    Args:
        file: Where they are noted, for the case that this process dies before Prefect has heard of them.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._states: dict[UUID, tuple[float, State[Any]]] = {}

    def add(self, run_id: UUID, state: State[Any]) -> None:
        """Take in how a task run ended."""
        self._states[run_id] = time.monotonic(), state
        with self._file.open("a", encoding="utf-8") as file:
            file.write(_line(run_id, state))

    async def confirm(self, client: PrefectClient) -> None:
        """Look now and then whether ends were recorded, many at once."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            late = time.monotonic() - _LATE_SECONDS
            due = [run_id for run_id, (when, _) in self._states.items() if when < late][:_MOST]
            if not due:
                continue
            try:
                await self._confirm(client, due)
            except Exception:
                _logger.exception("Prefect does not tell how task runs ended; it is asked again")
            else:
                lines = [_line(run_id, state) for run_id, (_, state) in self._states.items()]
                self._file.write_text("".join(lines), encoding="utf-8")

    async def _confirm(self, client: PrefectClient, due: list[UUID]) -> None:
        for task_run in await read_by_id(client, due):
            _, state = self._states[task_run.id]
            if task_run.state is None or not task_run.state.is_final():
                _logger.warning("Prefect did not hear how %s ended, and is told again", task_run.name)
                await client.set_task_run_state(task_run.id, state, force=True)
            del self._states[task_run.id]
        for run_id in due:
            # One that was deleted meanwhile.
            self._states.pop(run_id, None)


def read_endings(file: Path) -> dict[UUID, Any]:
    """Return the last states that a worker has noted, as Prefect's API takes them."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    made = {}
    for line in lines:
        try:
            run_id, state = json.loads(line)
        except ValueError:
            continue  # It died while it wrote.
        made[UUID(run_id)] = state
    return made


def _line(run_id: UUID, state: State[Any]) -> str:
    data = state.data.metadata.model_dump(mode="json") if isinstance(state.data, ResultRecord) else None
    told = {
        "type": state.type.value,
        "name": state.name,
        "message": state.message,
        "state_details": state.state_details.model_dump(mode="json"),
        "data": data,
    }
    return json.dumps([str(run_id), told]) + "\n"

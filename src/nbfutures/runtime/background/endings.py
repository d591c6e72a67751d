"""How the task runs of a worker ended, until Prefect's server has recorded it."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterId

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import State

__all__ = ["Endings"]

_LOOK_SECONDS = 3.0
_LATE_SECONDS = 5.0
"""After which the server has recorded an end, if it was told: it does so once a second."""
_MOST = 200

_logger = logging.getLogger("nbfutures.worker")


class Endings:
    """Last states of task runs; those that the server did not hear of are told again.

    Prefect's engine tells them by an event, which is lost where a connection breaks or the database is locked for too
    long. Whoever waits would wait for ever.
    """

    def __init__(self) -> None:
        self._states: dict[UUID, tuple[float, State[Any]]] = {}

    def add(self, run_id: UUID, state: State[Any]) -> None:
        """Take in how a task run ended."""
        self._states[run_id] = time.monotonic(), state

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

    async def _confirm(self, client: PrefectClient, due: list[UUID]) -> None:
        wanted = TaskRunFilter(id=TaskRunFilterId(any_=due))
        found = await client.read_task_runs(task_run_filter=wanted, limit=_MOST)
        for task_run in found:
            _, state = self._states[task_run.id]
            if task_run.state is None or not task_run.state.is_final():
                _logger.warning("Prefect did not hear how %s ended, and is told again", task_run.name)
                await client.set_task_run_state(task_run.id, state, force=True)
            del self._states[task_run.id]
        for run_id in due:
            # One that was deleted meanwhile.
            self._states.pop(run_id, None)

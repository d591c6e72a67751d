"""Task runs whose worker is gone: Prefect is told, and by that whoever waits for them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect.states import Crashed

from nbfutures.prefect.background.api_loop import api_loop
from nbfutures.prefect.background.unreported_endings import read_by_id
from nbfutures.prefect.background.worker_calls import offered_again

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["tell_ends", "tell_lost"]

_SETTLE_SECONDS = 2.0
"""Until the server has recorded what a worker said just before its end."""


def tell_lost(begun: Mapping[str, str], held: Iterable[str], who: str) -> None:
    """Have task runs that have not ended called crashed, some seconds from now. Does not block.

    Args:
        begun: Their ids, to their names.
        held: Ids of task runs that were not begun: they are offered to other workers again.
        who: What had them, and how it ended.
    """
    loop = api_loop()
    loop.start(_offer([UUID(run_id) for run_id in held]))
    loop.start(_tell({UUID(run_id): name for run_id, name in begun.items()}, who))


def tell_ends(ends: Mapping[UUID, Any]) -> None:
    """Have it told how task runs ended that Prefect has not heard of, some seconds from now. Does not block.

    Args:
        ends: Their last states, as Prefect's API takes them.
    """
    api_loop().start(_tell_ends(ends))


async def _tell_ends(ends: Mapping[UUID, Any]) -> None:
    await asyncio.sleep(_SETTLE_SECONDS)
    client = await api_loop().client()
    for task_run in await read_by_id(client, list(ends)):
        if task_run.state is None or not task_run.state.is_final():
            told = {"state": ends[task_run.id], "force": True}
            answer = await client.request(
                "POST", "/task_runs/{id}/set_state", path_params={"id": task_run.id}, json=told
            )
            answer.raise_for_status()


async def _offer(run_ids: Sequence[UUID]) -> None:
    client = await api_loop().client()
    for run_id in run_ids:
        state = (await client.read_task_run(run_id)).state
        if state is not None and state.is_scheduled():
            await client.set_task_run_state(run_id, offered_again(state.state_details))


async def _tell(begun: Mapping[UUID, str], who: str) -> None:
    await asyncio.sleep(_SETTLE_SECONDS)
    client = await api_loop().client()
    for run_id, name in begun.items():
        task_run = await client.read_task_run(run_id)
        if task_run.state is None or not task_run.state.is_final():
            await client.set_task_run_state(run_id, Crashed(message=f"{who} while it ran {name}."), force=True)

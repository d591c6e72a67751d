"""Task runs whose worker is gone: Prefect is told, and by that whoever waits for them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

from prefect.states import Crashed

from nbfutures.runtime.background.api_loop import api_loop

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["tell_lost"]

_SETTLE_SECONDS = 2.0
"""Until the server has recorded what a worker said just before its end."""


def tell_lost(run_ids: Sequence[str], why: str) -> None:
    """Have task runs that have not ended called crashed, some seconds from now. Does not block."""
    api_loop().start(_tell([UUID(run_id) for run_id in run_ids], why))


async def _tell(run_ids: Sequence[UUID], why: str) -> None:
    await asyncio.sleep(_SETTLE_SECONDS)
    client = await api_loop().client()
    for run_id in run_ids:
        task_run = await client.read_task_run(run_id)
        if task_run.state is None or not task_run.state.is_final():
            await client.set_task_run_state(run_id, Crashed(message=why), force=True)

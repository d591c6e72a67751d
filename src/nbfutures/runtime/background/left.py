"""Task runs that nobody is to begin any more: Prefect is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect.states import Cancelled

from nbfutures.runtime.background.api_loop import api_loop

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

__all__ = ["tell_cancelled"]

_MOST = 500


def tell_cancelled(run_ids: Sequence[UUID], why: str) -> None:
    """Have task runs called cancelled in Prefect, one by one, some hundred at most. Does not block.

    It is for those who look at Prefect's pages: workers go by the flow run.
    """
    api_loop().start(_tell(run_ids[:_MOST], why))


async def _tell(run_ids: Sequence[UUID], why: str) -> None:
    # Prefect's own workers run what is in their queue all the same.
    client = await api_loop().client()
    for run_id in run_ids:
        try:
            await client.set_task_run_state(run_id, Cancelled(message=why), force=True)
        except Exception:  # noqa: S112 - it may not exist yet
            continue

"""The state of a job's flow run at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect.states import Cancelled, Completed, Crashed, Failed

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

    from nbfutures.runtime.contracts import Run

__all__ = ["final_state"]


def final_state(run: Run) -> State[Any]:
    """Return the state of the flow run of a job that is done: how it ended, with the counts."""
    counts = run.state.counts
    parts = [
        f"{number:,} {word}"
        for word, number in (
            ("completed", counts.completed),
            ("failed", counts.failed),
            ("cancelled", counts.cancelled),
            ("skipped", counts.skipped),
        )
        if number
    ]
    message = ", ".join(parts)
    if run.state.crashed is not None:
        return Crashed(message=f"{run.state.crashed}")
    if counts.failed:
        return Failed(message=message)
    if counts.cancelled or counts.skipped:
        return Cancelled(message=message)
    return Completed(message=message, data=counts.completed)

"""What Prefect is told of a job's end: the state of its flow run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from prefect.states import Cancelled, Completed, Crashed, Failed

from nbfutures.prefect.flow_runs.flow_start import client_within

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.schemas.objects import State

    from nbfutures.engine.contracts import Run

__all__ = ["count_words", "crashed_state", "final_state", "force_cancelled"]

_RETRIES = 2
"""Of a request: nobody waits for it, but the job's thread should not hang on a server that is away."""
_MESSAGE = 1_000

_logger = logging.getLogger(__name__)


def count_words(run: Run) -> str:
    """Return how many items ended in which way, such as `97 completed, 3 failed`."""
    counts = run.state.counts
    numbers = {
        "completed": counts.completed,
        "failed": counts.failed,
        "cancelled": counts.cancelled,
        "skipped": counts.skipped,
    }
    return ", ".join(f"{number:,} {word}" for word, number in numbers.items() if number)


def final_state(run: Run, *, is_cancelled: bool = False) -> State[Any]:
    """Return the state of a job's flow run, as its items have ended.

    Args:
        run: The job.
        is_cancelled: Whether somebody has cancelled the flow run itself.
    """
    counts = run.state.counts
    message = count_words(run)
    if is_cancelled:
        # Prefect lets a flow run that is being cancelled become nothing else.
        return Cancelled(message=message)
    if run.state.crashed is not None:
        return crashed_state(run.state.crashed, message)
    # Where the first failure was to stop the rest, it is the reason; elsewhere, somebody has cancelled the job.
    if counts.failed and (not counts.cancelled or run.options.fail_fast):
        return Failed(message=message)
    if counts.cancelled or counts.skipped:
        return Cancelled(message=message)
    return Completed(message=message, data=counts.completed)


def crashed_state(error: BaseException, message: str = "") -> State[Any]:
    """Return the state of a job that could not go on."""
    told = f"{type(error).__name__}: {error}"[:_MESSAGE]
    return Crashed(message=f"{told} ({message})" if message else told)


def force_cancelled(run: Run, flow_run_id: UUID) -> None:
    """Have a flow run that is being cancelled be cancelled; trouble with that is logged only."""
    try:
        with client_within(_RETRIES) as client:
            client.set_flow_run_state(flow_run_id, Cancelled(message=count_words(run)), force=True)
    except Exception:
        _logger.debug("Prefect could not be told that %s was cancelled", run.key, exc_info=True)

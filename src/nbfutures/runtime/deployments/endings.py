"""From a flow run that has ended to the outcome of an item."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect.exceptions import MissingResult

from nbfutures.errors import ItemCancelledError, JobCrashedError
from nbfutures.model.outcome import CapturedOutput, Outcome, OutcomeKind
from nbfutures.runtime.watching.returned import returned_values

if TYPE_CHECKING:
    from datetime import datetime

    from prefect.client.schemas.objects import FlowRun, State

__all__ = ["outcome_of_run"]


def outcome_of_run(flow_run: FlowRun, index: int, *, round_: int, queued: float, now: float, worker: str) -> Outcome:
    """Return how a flow run that is in a final state ended. Reads its result where it is persisted; never raises.

    Args:
        flow_run: As the API gives it.
        index: The item.
        round_: The item's round.
        queued: When the job was submitted, in seconds since the epoch.
        now: The time, in seconds since the epoch.
        worker: What ran it.
    """
    kind, value, error, output = _ending(flow_run.state)
    return Outcome(
        index=index,
        kind=kind,
        value=value,
        error=error,
        queued=queued,
        started=_seconds(flow_run.start_time),
        ended=_seconds(flow_run.end_time) or now,
        worker=worker if flow_run.start_time is not None else None,
        attempts=flow_run.run_count,
        output=output,
        task_run_id=flow_run.id,
        round=round_,
        traceback=error.__traceback__ if error is not None else None,
    )


def _ending(state: State[Any] | None) -> tuple[OutcomeKind, Any, BaseException | None, CapturedOutput | None]:
    if state is None:
        return OutcomeKind.FAILED, None, JobCrashedError("The flow run has no state."), None
    if state.is_cancelled():
        told = state.message or "It was cancelled in Prefect."
        return OutcomeKind.CANCELLED, None, ItemCancelledError(f"{told} Run it with job.retry()."), None
    if not state.is_completed():
        return OutcomeKind.FAILED, None, _error(state), None
    try:
        value = _read(state)
    except MissingResult:
        # The flow does not persist its result, which is Prefect's default: there is nothing to be had.
        return OutcomeKind.COMPLETED, None, None, None
    except Exception as error:
        told = (
            f"nbfutures: the flow run completed, but its result cannot be read here: {type(error).__name__}: {error}. "
            f"Have it persisted where this machine can read it: @flow(result_storage=...).\n"
        )
        return OutcomeKind.COMPLETED, None, None, CapturedOutput(stderr=told)
    return _returned(value)


def _returned(value: Any) -> tuple[OutcomeKind, Any, BaseException | None, CapturedOutput | None]:
    try:
        return OutcomeKind.COMPLETED, returned_values(value), None, None
    except Exception as error:
        return OutcomeKind.FAILED, None, error, None


def _read(state: State[Any], *, raise_on_failure: bool = True) -> Any:
    # `result` is sync or async by where it is called; `_sync` is how Prefect's own code says which. It is written
    # before the state is set: trying for 2.5 s, as Prefect does, would only make waiting of what is out of reach.
    read: Any = state.result
    return read(raise_on_failure=raise_on_failure, retry_result_failure=False, _sync=True)


def _error(state: State[Any]) -> BaseException:
    """Return the flow's own error where it is persisted, else one with the state's message."""
    try:
        found = _read(state, raise_on_failure=False)
    except Exception:
        # It was persisted where this machine cannot read it.
        found = _read(state.model_copy(update={"data": None}), raise_on_failure=False)
    _, _, within, _ = _returned(found)
    if within is not None:
        return within
    return found if isinstance(found, BaseException) else RuntimeError(str(state.message or found))


def _seconds(when: datetime | None) -> float | None:
    return None if when is None else when.timestamp()

"""The one door from a Prefect future to an outcome."""

from __future__ import annotations

import asyncio
import concurrent.futures
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect.exceptions import ObjectNotFound, UpstreamTaskError
from prefect.results import ResultRecord  # type: ignore[attr-defined]

from nbfutures.errors import ItemCancelledError, ItemSkippedError, ItemTimeoutError, JobCrashedError
from nbfutures.model.outcome import CapturedOutput, Outcome, OutcomeKind
from nbfutures.prefect.base_exceptions import raised_by_item

if TYPE_CHECKING:
    from types import TracebackType
    from uuid import UUID

    from prefect.client.schemas.objects import State, TaskRun
    from prefect.futures import PrefectFuture

    from nbfutures.engine.shared_loop import SharedLoop

__all__ = [
    "LEFT",
    "Ending",
    "Observed",
    "explain_not_found",
    "outcome_of",
    "outcome_of_call",
    "outcome_of_state",
    "problem_of",
    "value_of_state",
]

LEFT = "Cancelled before it ran, while Prefect held its task run back. Run it with job.retry()."


@dataclass(slots=True)
class Observed:
    """What was seen of a task run where it ran; all of it may be missing."""

    queued: float | None = None
    started: float | None = None
    ended: float | None = None
    cpu_seconds: float | None = None
    worker: str | None = None
    home: SharedLoop | None = None
    """The event loop that runs it, where it is async and shares one."""
    task_run_id: UUID | None = None
    """Its task run, where nothing else tells it."""
    attempts: int = 0
    begun: set[UUID] | None = None
    """Ids of the states in which it was told to run elsewhere: each stands for an attempt, however often it is told."""
    is_left: bool = False
    """Whether it was cancelled before its function began: that is not to begin any more."""
    output: CapturedOutput | None = None
    uncached: str | None = None
    """Why Prefect did not cache it, though it was asked to."""
    error: BaseException | None = None
    """What the function raised in the last attempt."""
    traceback: TracebackType | None = None
    """Where it raised that, from its own frame on."""

    def begin(self, now: float) -> None:
        """Note that an attempt begins.

        Raises:
            ItemCancelledError: If it was cancelled before.
        """
        self.attempts += 1
        self.ended = None
        self.error = self.traceback = None
        # First this, then the question: who leaves it asks in the other order.
        self.started = now
        if self.is_left:
            raise ItemCancelledError(LEFT)

    def leave(self) -> bool:
        """Have its function not begin, if it has not; return whether that is so."""
        self.is_left = True
        if self.started is not None:
            self.is_left = False
        return self.is_left

    def note(self, state: State[Any], task_run: TaskRun | None) -> None:
        """Take in how a task run stands that runs elsewhere.

        Args:
            state: Its state.
            task_run: All that Prefect knows of it, where that was asked for.
        """
        when = state.timestamp.timestamp()
        is_new = False
        if state.is_running():
            before = self.begun or set()
            is_new = state.id not in before
            self.begun = before | {state.id}
            self.attempts = max(self.attempts, len(self.begun))
        if task_run is not None and task_run.start_time is not None:
            self.started = self.started or task_run.start_time.timestamp()
            self.attempts = max(self.attempts, task_run.run_count)
        elif is_new:
            self.started = when
        if state.is_final():
            # Two machines may disagree about the time.
            self.ended = max(when, self.started or when)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a call of a task ended: in a state, where that was asked for, else with a value or an error."""

    value: Any = None
    error: BaseException | None = None
    state: State[Any] | None = None


def outcome_of(future: PrefectFuture[Any], index: int, *, now: float, round_: int, observed: Observed) -> Outcome:
    """Turn a Prefect future that is done into the outcome of an item. Never raises and makes no call to the API.

    Args:
        future: A future that `as_completed` yielded.
        index: The item.
        now: The time, in seconds since the epoch.
        round_: The item's round.
        observed: What was seen of it where it ran.
    """
    return _outcome(_ending(future), id_of(future), index, now=now, round_=round_, observed=observed)


def outcome_of_call(ending: Ending, index: int, *, now: float, round_: int, observed: Observed) -> Outcome:
    """Turn the end of a task that was called where it stands into the outcome of an item. Never raises.

    Args:
        ending: How it ended.
        index: The item.
        now: The time, in seconds since the epoch.
        round_: The item's round.
        observed: What was seen of it.
    """
    found = _ending_of_state(ending.state) if ending.state is not None else _ending_of_call(ending.value, ending.error)
    return _outcome(found, observed.task_run_id, index, now=now, round_=round_, observed=observed)


def outcome_of_state(state: State[Any], index: int, *, now: float, round_: int, observed: Observed) -> Outcome:
    """Turn the final state of a task run into the outcome of an item; otherwise as `outcome_of`.

    Args:
        state: A state that has its value or its error in it.
        index: The item.
        now: The time, in seconds since the epoch.
        round_: The item's round.
        observed: What is known of when and where it ran.
    """
    run_id = state.state_details.task_run_id
    return _outcome(_ending_of_state(state), run_id, index, now=now, round_=round_, observed=observed)


def _outcome(
    ending: tuple[OutcomeKind, Any, BaseException | None],
    task_run_id: Any,
    index: int,
    *,
    now: float,
    round_: int,
    observed: Observed,
) -> Outcome:
    kind, value, error = ending
    error = raised_by_item(error)
    if kind is OutcomeKind.FAILED and observed.error is not None and not isinstance(error, ItemTimeoutError):
        # What the function raised, also where Prefect stumbled over it, such as an error that has no text.
        error = observed.error.with_traceback(observed.traceback)
    explain_not_found(error)
    if isinstance(error, ItemCancelledError) and str(error) == LEFT:
        # It began in the moment in which it was left.
        kind = OutcomeKind.CANCELLED
    ran = observed.started is not None
    return Outcome(
        index=index,
        kind=kind,
        value=value,
        error=error,
        queued=observed.queued,
        started=observed.started,
        ended=observed.ended if observed.ended is not None and kind is not OutcomeKind.CANCELLED else now,
        cpu_seconds=observed.cpu_seconds,
        worker=observed.worker,
        attempts=observed.attempts if ran else 0,
        output=observed.output,
        task_run_id=task_run_id,
        round=round_,
        traceback=error.__traceback__ if error is not None else None,
    )


def explain_not_found(error: BaseException | None) -> None:
    """Have an error of Prefect's that has no text, since its server has answered 404, say what is not there."""
    if isinstance(error, ObjectNotFound) and not error.help_message:
        error.help_message = (
            "Prefect knows no such deployment or flow run, or whatever was asked for by name or id. A name is "
            "'flow/deployment'; nbf.serve(flow, name=...) makes a deployment of a flow of the notebook."
        )


def value_of_state(state: State[Any]) -> Any:
    """Return the value of a state; raise its error, or `ItemSkippedError` where it did not run."""
    if state.is_pending():
        raise ItemSkippedError(_skipped(state))
    return _read(state, raise_on_failure=True)


def problem_of(future: PrefectFuture[Any]) -> BaseException | None:
    """Return why a lane's task run did not complete, or `None`."""
    try:
        future.wait()
        state = future.state
    except BaseException as error:
        return error
    # Failed is also what a lane says of itself when items failed.
    return None if state.is_completed() else JobCrashedError(state.message or "Its task run did not start.")


def id_of(future: Any) -> Any:
    """Return the id of a future's task run or flow run; `None` where it is not known."""
    return getattr(future, "flow_run_id", None) or getattr(future, "task_run_id", None)


def _ending(future: PrefectFuture[Any]) -> tuple[OutcomeKind, Any, BaseException | None]:
    wrapped = getattr(future, "wrapped_future", None)
    if isinstance(wrapped, concurrent.futures.Future) and wrapped.cancelled():
        return OutcomeKind.CANCELLED, None, ItemCancelledError("Cancelled before it ran. Run it with job.retry().")
    try:
        # `.state` is only right after `.wait()`, which returns at once by now.
        future.wait()
        state = future.state
    except concurrent.futures.CancelledError:
        return OutcomeKind.CANCELLED, None, ItemCancelledError("Cancelled before it ran. Run it with job.retry().")
    except BaseException as error:
        return OutcomeKind.FAILED, None, error
    return _ending_of_state(state)


def _ending_of_call(value: Any, error: BaseException | None) -> tuple[OutcomeKind, Any, BaseException | None]:
    if error is None:
        return OutcomeKind.COMPLETED, value, None
    if isinstance(error, concurrent.futures.CancelledError | asyncio.CancelledError):
        return OutcomeKind.CANCELLED, None, ItemCancelledError("The flow cancelled it while it ran.")
    return _ending_of_error(error, is_timeout=isinstance(error, TimeoutError), message=error)


def _read(state: State[Any], *, raise_on_failure: bool) -> Any:
    # `result` is sync or async by where it is called; `_sync` is how Prefect's own code says which.
    read: Any = state.result
    return read(raise_on_failure=raise_on_failure, _sync=True)


def _error_of_state(state: State[Any]) -> BaseException:
    try:
        found = _read(state, raise_on_failure=False)
    except BaseException as raised:
        return raised
    return found if isinstance(found, BaseException) else RuntimeError(str(state.message or found))


def _ending_of_state(state: State[Any]) -> tuple[OutcomeKind, Any, BaseException | None]:
    if state.is_completed():
        if isinstance(state.data, ResultRecord):
            return OutcomeKind.COMPLETED, state.data.result, None
        try:
            return OutcomeKind.COMPLETED, _read(state, raise_on_failure=True), None
        except BaseException as unread:
            return OutcomeKind.FAILED, None, unread
    if state.is_pending():
        return OutcomeKind.SKIPPED, None, ItemSkippedError(_skipped(state))
    error = _error_of_state(state)
    if state.is_cancelled():
        return OutcomeKind.CANCELLED, None, error
    return _ending_of_error(error, is_timeout=state.name == "TimedOut", message=state.message or error)


def _skipped(state: State[Any]) -> str:
    return f"Skipped: {state.message or 'what it depends on failed'}"


def _ending_of_error(
    error: BaseException, *, is_timeout: bool, message: object
) -> tuple[OutcomeKind, Any, BaseException | None]:
    if isinstance(error, UpstreamTaskError | ItemSkippedError):
        return OutcomeKind.SKIPPED, None, ItemSkippedError(f"Skipped: {error}")
    if is_timeout and not _is_the_functions_own(error):
        error = ItemTimeoutError(str(message))
    return OutcomeKind.FAILED, None, error


def _is_the_functions_own(error: BaseException) -> bool:
    """Tell whether the function raised this timeout: Prefect gives the same name to that of a socket and to its own."""
    return isinstance(error, TimeoutError) and not type(error).__module__.startswith("prefect.")

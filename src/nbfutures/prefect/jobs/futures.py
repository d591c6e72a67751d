"""`ItemFuture`: one item of a job as a real Prefect future."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from prefect.client.schemas.objects import State, StateDetails
from prefect.futures import PrefectFuture
from prefect.results import ResultRecord, ResultRecordMetadata  # type: ignore[attr-defined]
from prefect.states import Cancelled, Completed, Failed, Pending, Running

from nbfutures.engine.job_waiting import raisable, wait, wait_async, wait_for_item
from nbfutures.errors import JobCrashedError
from nbfutures.model.outcome import Outcome, OutcomeKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nbfutures.engine.contracts import Run

__all__ = ["ItemFuture", "JobFuture", "value_of"]

R = TypeVar("R")

_NO_TASK_RUN = UUID(int=0)


class ItemFuture(PrefectFuture[R]):
    """One item of a job; Prefect tasks, `wait_for`, `prefect.futures.wait` and `as_completed` take it.

    It holds no state of its own: it reads the job's, so that it follows a retry, and no call to Prefect's API is made.

    Args:
        run: The job.
        index: The item.
    """

    def __init__(self, run: Run, index: int) -> None:
        self._run = run
        self.index = index
        """The item's position in its job."""
        self._seen: tuple[Outcome, State[R]] | None = None

    @property
    def outcome(self) -> Outcome | None:
        """How the item ended, or `None` if it has not."""
        return self._run.state.outcome(self.index)

    @property
    def task_run_id(self) -> UUID:
        """Prefect's id of the task run that the item is part of; all zeros if it is in none (yet)."""
        outcome = self.outcome
        return (outcome.task_run_id if outcome else None) or _NO_TASK_RUN

    @property
    def _final_state(self) -> State[R] | None:  # type: ignore[override]  # it is never written from outside
        # Prefect's `wait` and `as_completed` read this attribute; the same object is given for the same outcome,
        # since Prefect looks values up by state.
        outcome = self.outcome
        if outcome is None:
            return None
        if self._seen is None or self._seen[0] is not outcome:
            self._seen = (outcome, _state_of(outcome))
        return self._seen[1]

    @property
    def state(self) -> State[R]:
        """The item as a Prefect state; once the item ended it is final and holds the value or the error."""
        return self._final_state or (Running() if self._run.is_running(self.index) else Pending())

    def done(self) -> bool:
        """Tell whether the item ended, in whatever way."""
        return self.outcome is not None

    def cancelled(self) -> bool:
        """Tell whether the item was cancelled."""
        outcome = self.outcome
        return outcome is not None and outcome.kind is OutcomeKind.CANCELLED

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the item and return what it raised, or `None`.

        Args:
            timeout: Seconds to wait at most.

        Raises:
            TimeoutError: If the item did not end in time.
        """
        return wait_for_item(self._run.state, self.index, timeout).error

    def wait(self, timeout: float | None = None) -> None:
        """Block until the item ended, or for `timeout` seconds."""
        try:
            wait_for_item(self._run.state, self.index, timeout)
        except TimeoutError:
            return

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> R:
        """Block until the item ended, and return its value.

        Args:
            timeout: Seconds to wait at most.
            raise_on_failure: Whether to raise the item's error; it is returned otherwise.

        Returns:
            What the function returned.

        Raises:
            TimeoutError: If the item did not end in time.
            ItemCancelledError: If it was cancelled.
            ItemSkippedError: If it was skipped.
        """
        outcome = wait_for_item(self._run.state, self.index, timeout)
        if outcome.kind is not OutcomeKind.COMPLETED and not raise_on_failure:
            return outcome.error  # type: ignore[return-value]
        made: R = value_of(outcome)
        return made

    async def result_async(self, timeout: float | None = None, raise_on_failure: bool = True) -> R:  # noqa: ASYNC109
        """Await the item's value, without blocking the event loop; otherwise as `result`."""
        await wait_async(self._run.state, self.done, timeout)
        return self.result(0, raise_on_failure)

    def __await__(self) -> Any:
        """Await the item's value."""
        return self.result_async().__await__()

    def add_done_callback(self, fn: Callable[[PrefectFuture[R]], None]) -> None:
        """Have `fn` called with this future when the item ended, on the feed's thread, or at once if it has."""
        self._run.on_item_done(self.index, lambda: fn(self))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ItemFuture):
            return NotImplemented
        return self._run is other._run and self.index == other.index

    def __hash__(self) -> int:
        return hash((id(self._run), self.index))

    def __repr__(self) -> str:
        outcome = self.outcome
        told = outcome.kind.value if outcome else ("running" if self._run.is_running(self.index) else "waiting")
        return f"<ItemFuture {self._run.name}[{self.index}]: {told}>"


class JobFuture(PrefectFuture[Any]):
    """A whole job as one Prefect future: its value is what `job.result()` returns.

    It stands for a job whose number of items is not known yet, as an argument of another job.

    Args:
        run: The job.
    """

    def __init__(self, run: Run) -> None:
        self._run = run

    @property
    def gives_items(self) -> bool:
        """Whether the job's items come from iterators, so that another job can map over them as they come."""
        return self._run.work.stream is not None

    def stream_items(self) -> Iterator[ItemFuture[Any]]:
        """Iterate over the items' futures; blocks until the next one is known.

        Raises:
            JobCrashedError: If the job's iterators ended early.
        """
        state = self._run.state
        for index in itertools.count():
            with state.changed:
                state.changed.wait_for(lambda index=index: len(state) > index or not state.is_open_ended)  # type: ignore[misc]
            if len(state) <= index:
                break
            yield self._run.future(index)
        if state.crashed is not None:
            told = f"{self._run.name!r}, which this job maps over, ended early: {_safe_text(state.crashed)}"
            raise JobCrashedError(told) from state.crashed

    @property
    def task_run_id(self) -> UUID:
        """All zeros: a job is no task run."""
        return _NO_TASK_RUN

    @property
    def _final_state(self) -> State[Any] | None:  # type: ignore[override]  # it is never written from outside
        if not self._run.state.is_done:
            return None
        if self._seen is None:
            self._seen = self._end()
        return self._seen

    _seen: State[Any] | None = None

    @property
    def state(self) -> State[Any]:
        """The job as a Prefect state."""
        return self._final_state or Running()

    def wait(self, timeout: float | None = None) -> None:
        """Block until the job is done, or for `timeout` seconds."""
        wait(self._run.state, timeout)

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> Any:
        """Block until the job is done, and return its values."""
        try:
            return self._run.collect(timeout, single=False)
        except Exception as error:
            if raise_on_failure:
                raise
            return error

    def add_done_callback(self, fn: Callable[[PrefectFuture[Any]], None]) -> None:
        """Have `fn` called with this future when the job is done, or at once if it is."""
        self._run.on_done(lambda: fn(self))

    def _end(self) -> State[Any]:
        try:
            value = self._run.collect(None, single=False)
        except Exception as error:
            return Failed(message=_safe_text(error), data=error)
        return Completed(data=ResultRecord(metadata=ResultRecordMetadata(), result=value))


def value_of(outcome: Outcome) -> Any:
    """Return the value of an outcome, or raise what it failed with."""
    if outcome.kind is OutcomeKind.COMPLETED:
        return outcome.value
    raise raisable(outcome)


def _state_of(outcome: Outcome) -> State[Any]:
    details = StateDetails(task_run_id=outcome.task_run_id) if outcome.task_run_id else StateDetails()
    if outcome.kind is OutcomeKind.COMPLETED:
        # A record, as Prefect's own engine makes, since a bare None would count as a missing result.
        return Completed(
            data=ResultRecord(metadata=ResultRecordMetadata(), result=outcome.value), state_details=details
        )
    error = _ordinary_error(outcome)
    if outcome.kind is OutcomeKind.CANCELLED:
        return Cancelled(message=str(error), data=error, state_details=details)
    name = "Skipped" if outcome.kind is OutcomeKind.SKIPPED else "Failed"
    return Failed(name=name, message=_safe_text(error), data=error, state_details=details)


def _ordinary_error(outcome: Outcome) -> Exception:
    try:
        value_of(outcome)
    except Exception as error:
        return error
    except BaseException as error:
        # Prefect's states hold ordinary exceptions only.
        return RuntimeError(f"{type(error).__name__}: {error}")
    raise AssertionError(outcome)


def _safe_text(error: BaseException) -> str:
    try:
        return str(error)[:1000]
    except Exception:
        return f"<{type(error).__name__} that cannot be printed>"

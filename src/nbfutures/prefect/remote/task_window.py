"""The window of a Prefect task's job in worker processes."""

from __future__ import annotations

import itertools
import time
import uuid
from typing import TYPE_CHECKING, Any

from prefect.exceptions import UpstreamTaskError

from nbfutures.engine.workers.given import Sealer
from nbfutures.engine.workers.packing import pack_function, unpicklable_argument, unsendable_value
from nbfutures.errors import ItemSkippedError, PicklingError
from nbfutures.model.outcome import OutcomeKind
from nbfutures.prefect.outcomes import Observed
from nbfutures.prefect.remote.crash_recovery import (
    GRACE_SECONDS,
    Silence,
    cancelled_in_mid_run,
    out_of_time,
    worker_died,
)
from nbfutures.prefect.remote.observing import Ticket, observe_elsewhere
from nbfutures.prefect.tasks.task_window import TaskWindow

if TYPE_CHECKING:
    from prefect.futures import PrefectFuture
    from prefect.tasks import Task

    from nbfutures.engine.workers.contracts import RemoteRunner
    from nbfutures.model.outcome import Outcome

__all__ = ["RemoteTaskWindow"]

_numbers = itertools.count(1)
_kernel = uuid.uuid4().hex[:8]
"""Several kernels may use one cluster."""


class RemoteTaskWindow(TaskWindow):
    """Keeps one task run in each process; as `TaskWindow`, but what runs can be stopped."""

    _runner: RemoteRunner  # type: ignore[assignment]  # as a task runner, which it is, and more

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._tickets: dict[int, Ticket] = {}
        self._killed: dict[int, str] = {}
        """Items whose process was ended from here, and why: "cancel" or "timeout"."""
        self._deaths: dict[tuple[int, int], int] = {}
        self._silence = Silence(self._runner)

    def cancel_queued(self) -> None:
        """Take back what no worker has started; what does not end by itself within half a second is ended."""
        if self._cancelled_at is None:
            self._cancelled_at = time.monotonic()
        with self._submitting:
            waiting = [future for future, seen in self._in_flight.values() if seen.started is None]
        for future in waiting:
            self._runner.take_back(future)

    def _submit(self, index: int) -> bool:
        try:
            is_in_flight = super()._submit(index)
        except ItemSkippedError as error:
            self._close_ticket(index)
            self._run.settle_unrun([index], OutcomeKind.SKIPPED, error)
            return False
        except Exception as error:
            # Clusters pickle what they are given at once.
            self._close_ticket(index)
            named = self._named(index, Observed(), error)
            if named is error:
                raise
            self._run.settle_unrun([index], OutcomeKind.FAILED, named)
            return False
        if not is_in_flight:
            self._close_ticket(index)
        return is_in_flight

    def _close_ticket(self, index: int) -> None:
        ticket = self._tickets.pop(index, None)
        if ticket is not None:
            ticket.close()

    def _arguments(self, index: int) -> dict[str, Any]:
        # A future of the kernel's says nothing elsewhere; by now, it is done.
        return self._work.resolved_parameters(index)

    def sweep(self) -> None:
        """End the processes of what was cancelled, or blocks where its timeout cannot interrupt it."""
        is_late = self._cancelled_at is not None and time.monotonic() - self._cancelled_at > GRACE_SECONDS
        limit = self._prepared.task.timeout_seconds
        now = self._run.state.clock.now()
        self._silence.look([future for future, _ in list(self._in_flight.values())])
        for index, (future, seen) in list(self._in_flight.items()):
            started = None if seen.ended is not None else seen.started
            if is_late:
                self._kill(index, future, "cancel")
            elif limit and started is not None and now - started > limit + 2 * GRACE_SECONDS:
                self._kill(index, future, "timeout")

    def _on_done(self, index: int, future: PrefectFuture[Any], seen: Observed) -> None:
        super()._on_done(index, future, seen)
        self._runner.let_go(future)

    def _kill(self, index: int, future: PrefectFuture[Any], why: str) -> None:
        if index in self._killed:
            return
        # Said before it is done: who takes in the worker's end asks for it.
        self._killed[index] = why
        if not self._runner.kill(future):
            self._killed.pop(index, None)

    def _observed(self, task: Task[Any, Any], index: int, seen: Observed) -> Task[Any, Any]:
        ticket = f"item {index}, task run {next(_numbers)} of {_kernel}"
        used = {one.worker for _, one in self._in_flight.values()}
        worker = next(name for number in itertools.count(1) if (name := f"{self._runner.kind} {number}") not in used)
        seen.worker = worker
        self._tickets[index] = Ticket(ticket, seen, worker, self._runner.post)
        return observe_elsewhere(task, ticket, self._runner.post.route)

    def _ending(self, outcome: Outcome, seen: Observed) -> Outcome | None:
        """Say in the job's words how a task run ended that its process did not end by itself."""
        index, error = outcome.index, outcome.error
        self._close_ticket(index)
        why = self._killed.pop(index, None)
        if isinstance(error, UpstreamTaskError):
            skipped = ItemSkippedError(f"Skipped: {error}")
            return outcome.replace(kind=OutcomeKind.SKIPPED, error=skipped, started=None, attempts=0)
        if self._runner.is_death(error) or (why is not None and outcome.kind is OutcomeKind.CANCELLED):
            return self._ending_of_dead(outcome, why)
        if outcome.kind is OutcomeKind.FAILED and seen.error is None and error is not None:
            return outcome.replace(error=self._named(index, seen, error))
        return outcome

    def _ending_of_dead(self, outcome: Outcome, why: str | None) -> Outcome | None:
        index = outcome.index
        if why == "cancel" or self._run.stopped.is_set():
            return outcome.replace(kind=OutcomeKind.CANCELLED, error=cancelled_in_mid_run(index), traceback=None)
        task = self._prepared.task
        key = index, outcome.round
        deaths = self._deaths[key] = self._deaths.get(key, 0) + 1
        if deaths <= task.retries + (self._runner.deaths_allowed if why is None else 0):
            delay = task.retry_delay_seconds
            seconds = delay if isinstance(delay, int | float) else 0.0
            self._dispatcher.queue.put_later(index, self._run.state.clock.now() + seconds)
            return None
        told = (
            out_of_time(task.timeout_seconds or 0, was_ended=True)
            if why == "timeout"
            else worker_died(self._runner.kind, index, outcome.error)
        )
        return outcome.replace(error=told, attempts=max(outcome.attempts, deaths), traceback=None)

    def _named(self, index: int, seen: Observed, error: BaseException) -> BaseException:
        """Return an error that names what could not be sent, where that is why a task run failed."""
        if type(error).__name__ not in {"PicklingError", "TypeError", "AttributeError", "ValueError"}:
            return error
        if seen.started is not None:
            return unsendable_value(index, "", error) if seen.ended is not None else error
        found = unpicklable_argument(index, self._work.parameters(index))
        if found is not None:
            return found
        try:
            pack_function(self._work.function, {}, self._work.layout, self._work.name, Sealer())
        except PicklingError as named:
            return named
        return error

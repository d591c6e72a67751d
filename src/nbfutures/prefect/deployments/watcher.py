"""Watching flow runs that run elsewhere: all that are open by one request, at a bounded rate."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.exceptions import MissingResult, ObjectNotFound
from prefect.states import Cancelling

from nbfutures.engine.job_note import JobNote
from nbfutures.errors import ItemCancelledError, JobCrashedError
from nbfutures.model.outcome import CapturedOutput, Outcome, OutcomeKind
from nbfutures.prefect.deployments.serving import find_served
from nbfutures.prefect.shared_client import shared_client
from nbfutures.prefect.watching.returned import returned_values

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State
    from prefect.client.schemas.responses import DeploymentResponse

    from nbfutures.engine.contracts import Run

__all__ = ["OpenRun", "Watcher"]

_PATIENCE_SECONDS = 3.0
"""How long nothing may start before the job says so: workers ask for work every few seconds."""
_ASK_SECONDS = 5.0
"""Between two requests for when somebody asked for work."""
_GONE_SECONDS = 60.0
"""Who has not asked for work for so long is not there: workers do it every 10 or 15 s."""


class WaitingNote:
    """Says on a job why its flow runs do not start.

    Args:
        run: The job.
        name: What people call the deployment.
        deployment: As the API gives it.
    """

    def __init__(self, run: Run, name: str, deployment: DeploymentResponse) -> None:
        self._run = run
        self._name = name
        self._deployment = deployment
        self._note = JobNote(run.state)
        self._waiting_since: float | None = None
        self._asked = time.monotonic()

    def update(self, client: SyncPrefectClient, found: Sequence[FlowRun]) -> None:
        """Say what the flow runs wait for, or nothing.

        Args:
            client: Asked, every some seconds, whether a worker is there.
            found: The open flow runs, as the API gives them.
        """
        self._note.tell_if_free("" if self._run.stopped.is_set() else self._reason(client, found))

    def _reason(self, client: SyncPrefectClient, found: Sequence[FlowRun]) -> str:
        served = find_served(self._name)
        if served is not None and not served.is_alive and found:
            # Flow runs that ran there when it was killed are told as running for ever.
            return f"{self._name!r} is not served any longer: serve the flow again, or cancel the job"
        states = [one.state for one in found if one.state is not None]
        if not states or any(not state.is_scheduled() and not state.is_paused() for state in states):
            self._waiting_since = None
            return ""
        self._waiting_since = self._waiting_since or time.monotonic()
        if any(state.is_paused() for state in states):
            return "paused in Prefect: resume the flow runs there"
        if any(state.name == "AwaitingConcurrencySlot" for state in states):
            return f"waiting for a slot: {self._name!r} has a concurrency limit"
        return self._no_worker(client, self._waiting_since)

    def _no_worker(self, client: SyncPrefectClient, since: float) -> str:
        now = time.monotonic()
        if now - since < _PATIENCE_SECONDS:
            return ""
        if now - self._asked > _ASK_SECONDS:
            self._asked = now
            try:
                self._deployment = client.read_deployment(self._deployment.id)
            except ObjectNotFound:
                return f"the deployment {self._name!r} was deleted; cancel the job"
        return f"waiting for a worker of {self._name!r}{self._absence()}"

    def _absence(self) -> str:
        """Return what to do, where nobody asks for work."""
        polled = self._deployment.last_polled
        if polled is not None and (dt.datetime.now(dt.UTC) - polled).total_seconds() < _GONE_SECONDS:
            return ""
        pool = self._deployment.work_pool_name
        todo = (
            f"start one: prefect worker start --pool {pool}"
            if pool
            else "serve it: nbf.serve(flow, name=...), or flow.serve() in a script"
        )
        return f", and there is none; {todo}"


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


_PAGE = 200
"""Flow runs that Prefect's server tells of in one request, if it is not told otherwise."""
_LOOK_SECONDS = 0.5
"""Between two requests of 200 flow runs: at most two requests a second, however many are open."""
_SHARE = 1.0
"""A request that takes a second is followed by so many seconds without one: a busy server is asked less often."""
_MOST_SECONDS = 5.0
"""Between two looks, at most."""
_MISSING = 5
"""Flow runs that a look did not find and that are asked for one by one, in each look."""
_CANCEL_SECONDS = 30.0
"""How long a flow run may take to end after its cancel was asked for; Prefect's workers give a process this long."""
_CANCELLERS = 4

_logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class OpenRun:
    """A flow run that was made and is not known to have ended."""

    index: int
    """The item."""
    round: int
    """The item's round."""
    id: UUID
    """Prefect's id."""
    is_running: bool = False
    cancel_asked: float | None = None
    """When Prefect was asked to cancel it, by a clock that only goes on; `None` if it was not."""


class Watcher:
    """Tells a job how flow runs stand, from a thread of its own.

    Args:
        run: The job.
        name: What people call the deployment.
        deployment: As the API gives it.
        wake: Wakes the job's dispatcher.
    """

    def __init__(self, run: Run, name: str, deployment: DeploymentResponse, wake: Callable[[], None]) -> None:
        self._run = run
        self._name = name
        self._wake_dispatcher = wake
        self._open: dict[UUID, OpenRun] = {}
        self._by_index: dict[int, OpenRun] = {}
        self._lock = threading.Lock()
        self._turn = threading.Event()
        """Set to have a look at once."""
        self._closing = False
        self._note = WaitingNote(run, name, deployment)
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._main,), name=f"nbfutures watcher {run.name}", daemon=True
        )
        self._thread.start()

    def __len__(self) -> int:
        """Return how many flow runs are open."""
        return len(self._open)

    def running(self) -> int:
        """Return how many flow runs are running."""
        return sum(one.is_running for one in list(self._open.values()))

    def is_running(self, index: int) -> bool:
        """Tell whether the item's flow run is running."""
        one = self._by_index.get(index)
        return one is not None and one.is_running

    def add(self, one: OpenRun) -> None:
        """Watch a flow run."""
        with self._lock:
            self._open[one.id] = one
            self._by_index[one.index] = one
        if self._run.stopped.is_set():
            self._turn.set()

    def cancel(self) -> None:
        """Have the open flow runs cancelled in Prefect. Does not block."""
        self._turn.set()

    def close(self) -> None:
        """End the thread; does not wait for it."""
        self._closing = True
        self._turn.set()

    # --- in the thread ---------------------------------------------------------------------------------------------

    def _main(self) -> None:
        pause = _LOOK_SECONDS
        while True:
            self._turn.wait(pause)
            self._turn.clear()
            if self._closing or (self._run.state.is_done and not self._open):
                return
            began = time.monotonic()
            try:
                self._look()
            except Exception:
                # The job says by itself that Prefect does not answer, and goes on when it does.
                _logger.debug("Prefect did not tell how the flow runs of %s stand", self._run.name, exc_info=True)
            pages = max(-(-len(self._open) // _PAGE), 1)
            pause = min(max(_LOOK_SECONDS * pages, (time.monotonic() - began) * _SHARE), _MOST_SECONDS)

    def _look(self) -> None:
        with self._lock:
            open_runs = list(self._open.values())
        if not open_runs:
            return
        with shared_client() as client:
            if self._run.stopped.is_set():
                self._give_up(open_runs)
                self._ask_to_cancel(client, [one for one in open_runs if one.cancel_asked is None])
            found: list[FlowRun] = []
            for start in range(0, len(open_runs), _PAGE):
                ids = [one.id for one in open_runs[start : start + _PAGE]]
                found += client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=ids)))
            told = {flow_run.id for flow_run in found}
            missing = [one for one in open_runs if one.id not in told][:_MISSING]
            found += [flow_run for one in missing if (flow_run := self._ask_for(client, one)) is not None]
            self._take_in(found)
            self._note.update(client, found)

    def _take_in(self, found: list[FlowRun]) -> None:
        for flow_run in found:
            one = self._open.get(flow_run.id)
            if one is None:
                continue
            state = flow_run.state
            one.is_running = state is not None and (state.is_running() or state.is_cancelling())
            if state is None or not state.is_final():
                continue
            outcome = outcome_of_run(
                flow_run, one.index, round_=one.round, queued=self._run.queued,
                now=self._run.state.clock.now(), worker=self._name,
            )  # fmt: skip
            self._settle(one, outcome)
        self._wake_dispatcher()

    def _ask_for(self, client: SyncPrefectClient, one: OpenRun) -> FlowRun | None:
        try:
            return client.read_flow_run(one.id)
        except ObjectNotFound:
            gone = JobCrashedError("Its flow run was deleted in Prefect. Run it with job.retry().")
            self._settle(one, self._unknown(one, OutcomeKind.FAILED, gone))
            return None

    # --- cancelling ------------------------------------------------------------------------------------------------

    def _ask_to_cancel(self, client: SyncPrefectClient, runs: list[OpenRun]) -> None:
        def ask(one: OpenRun) -> None:
            # Prefect itself makes this Cancelled for a flow run that nobody has started.
            client.set_flow_run_state(one.id, Cancelling(message="Cancelled from the notebook."))

        if not runs:
            return
        with ThreadPoolExecutor(_CANCELLERS, thread_name_prefix="nbfutures cancel") as pool:
            asked = [(one, pool.submit(copy_context().run, ask, one)) for one in runs]
        for one, future in asked:
            if future.exception() is not None:
                _logger.debug("Prefect did not cancel %s", one.id, exc_info=future.exception())
            # Once: where Prefect does not answer, the item is given up on like one that does not end.
            one.cancel_asked = time.monotonic()

    def _give_up(self, runs: list[OpenRun]) -> None:
        """Settle what should have ended by now: its worker may be gone."""
        now = time.monotonic()
        for one in runs:
            if one.cancel_asked is None or now - one.cancel_asked < _CANCEL_SECONDS:
                continue
            told = ItemCancelledError(
                f"Prefect was asked to cancel it, and nobody confirmed that within {_CANCEL_SECONDS:.0f} s: its worker "
                f"may be gone. Run it with job.retry()."
            )
            self._settle(one, self._unknown(one, OutcomeKind.CANCELLED, told))

    # --- telling ---------------------------------------------------------------------------------------------------

    def _settle(self, one: OpenRun, outcome: Outcome) -> None:
        with self._lock:
            self._open.pop(one.id, None)
            if self._by_index.get(one.index) is one:
                del self._by_index[one.index]
        self._run.settle([outcome])
        self._wake_dispatcher()

    def _unknown(self, one: OpenRun, kind: OutcomeKind, error: BaseException) -> Outcome:
        return Outcome(
            one.index, kind, None, error, self._run.queued, None, self._run.state.clock.now(),
            task_run_id=one.id, round=one.round,
        )  # fmt: skip

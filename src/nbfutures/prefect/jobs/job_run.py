"""A job from submission to its last outcome: what the other layers hold of it."""

from __future__ import annotations

import itertools
import logging
import threading
import time
import weakref
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from nbfutures.engine import capture
from nbfutures.engine.inline_executor import CallingThread
from nbfutures.engine.job_waiting import not_exiting, raisable, wait_for_failure
from nbfutures.errors import ItemCancelledError, ItemSkippedError, JobCrashedError, NbfuturesError
from nbfutures.model.events import JobEvent, JobPhase, PhaseChanged, Settled
from nbfutures.model.job_state import JobState
from nbfutures.model.outcome import Outcome, OutcomeKind
from nbfutures.prefect.runners import check_installed, workers_of
from nbfutures.prefect.ui import flow_run_path, ui_place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from uuid import UUID

    from nbfutures.engine.contracts import Caller, Connection, Run, Work
    from nbfutures.engine.dispatcher import Dispatcher
    from nbfutures.model.dry_run import DryRunReport
    from nbfutures.model.item import Item
    from nbfutures.model.options import JobOptions
    from nbfutures.prefect.jobs.futures import ItemFuture, JobFuture
    from nbfutures.prefect.session import Session

__all__ = ["JobRun"]

_NOT_BEGUN = "The flow was cancelled before it began. Run it again, such as by nbf.run(flow, ...)."


def run_job(run: Run, work: Work, indices: Sequence[int], connection: Connection) -> None:
    """Run items of a job to their end. Blocks; raises nothing: what goes wrong is told on the job.

    Args:
        run: The job.
        work: What it runs.
        indices: The items.
        connection: What connects to Prefect.
    """
    capture.install()
    try:
        if not connection.ready.is_set():
            run.state.set_note("Prefect is starting: some ten seconds, and up to thirty the first time.")
        connection.wait_until_ready(run.stopped)
        run.state.set_note("")
        from nbfutures.prefect.execution import execute

        execute(run, work, indices)
    except BaseException as error:
        if not run.state.is_done:
            if run.stopped.is_set() and run.state.crashed is None:
                told = ItemCancelledError("Cancelled before it ran. Run it with job.retry().")
                run.settle_open(OutcomeKind.CANCELLED, told)
                if work.is_flow:
                    run.fail(ItemCancelledError(_NOT_BEGUN))
                run.state.set_open_ended(is_open=False)
            else:
                run.crash(error)
    finally:
        capture.uninstall()


class OpenDispatchers:
    """Those of a job's dispatchers that are not closed: one for each of its flow runs that goes on.

    Args:
        lock: The job's, held to decide that a dispatcher is closed.
    """

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._all: list[Dispatcher] = []

    def cancel(self, reason: str) -> None:
        """Settle what has not started as cancelled."""
        for dispatcher in self._open():
            dispatcher.cancel(reason)

    def halt(self) -> None:
        """Start no further items."""
        for dispatcher in self._open():
            dispatcher.queue.halt()

    def go_on(self) -> None:
        """Start items again."""
        for dispatcher in self._open():
            dispatcher.queue.go_on()
            dispatcher.wake()

    def is_running(self, index: int) -> bool:
        """Tell whether the item is being worked on."""
        return any(dispatcher.is_running(index) for dispatcher in self._open())

    def _open(self) -> list[Dispatcher]:
        # Two only where a job was retried twice before the first retry's flow run had started.
        with self._lock:
            return [dispatcher for dispatcher in self._all if not dispatcher.closed]

    # --- with the lock held ------------------------------------------------------------------------------------------

    def add(self, dispatcher: Dispatcher, *, is_halted: bool) -> None:
        """Add a new one, which starts nothing yet if the job is halted."""
        self._all = [*(one for one in self._all if not one.closed), dispatcher]
        if is_halted:
            dispatcher.queue.halt()

    def offer(self, indices: Iterable[int]) -> bool:
        """Have one of them run more items; return whether there is one."""
        dispatcher = next((one for one in self._all if not one.closed), None)
        if dispatcher is None:
            return False
        dispatcher.queue.go_on()
        dispatcher.offer(indices)
        return True


_logger = logging.getLogger(__name__)


class DoneCallbacks:
    """The done-callbacks of one job, each called once. Safe to use from any thread.

    Args:
        state: The job's.
    """

    def __init__(self, state: JobState) -> None:
        self._state = state
        self._of_items: dict[int, list[Callable[[], None]]] = {}
        self._lock = threading.Lock()
        state.subscribe(self._on_event)

    def add_for_item(self, index: int, then: Callable[[], None]) -> None:
        """Have `then` called when the item ended, on the thread that tells it, or at once if it has."""
        with self._lock:
            if self._state.outcome(index) is None:
                self._of_items.setdefault(index, []).append(then)
                return
        then()

    def add_for_job(self, then: Callable[[], None]) -> None:
        """Have `then` called when the job is done, on the thread that tells it, or at once if it is."""
        called = threading.Lock()

        def tell(event: JobEvent) -> None:
            if isinstance(event, PhaseChanged) and event.phase is JobPhase.DONE and called.acquire(blocking=False):
                unsubscribe()
                then()

        unsubscribe = self._state.subscribe(tell)
        if self._state.is_done:
            tell(PhaseChanged(JobPhase.DONE))

    def _on_event(self, event: JobEvent) -> None:
        if not isinstance(event, Settled):
            return
        # Asked with the lock held: who is just adding a callback has either seen the outcome, or is seen here.
        with self._lock:
            if not self._of_items:
                return
            due = [then for one in event.outcomes for then in self._of_items.pop(one.index, ())]
        for then in due:
            try:
                then()
            except Exception:
                _logger.exception("A done-callback of an item of %s raised", self._state.name)


_keys = itertools.count(1)
_LINK = "Prefect run"
_CUT_SHORT = "Cancelled before its iterator had ended: only what had come is in the job. Its values: job.values()."


class JobRun:
    """A job: its items, its state, and the threads that run it. Safe to use from any thread.

    Args:
        work: What to run.
        options: How to run it.
        session: The kernel's session.
        name: What people call it.
    """

    def __init__(self, work: Work, options: JobOptions, session: Session, name: str) -> None:
        check_installed(options.runner)
        self.key = f"{name} #{next(_keys)}"
        self.name = name
        self.work = work
        self.options = options
        self.session = session
        self.workers = workers_of(options)
        # Of flow runs of a deployment, and of what other code runs, nobody knows how many may run at once; who serves
        # background tasks is asked.
        is_known = work.owns_calls and options.deployment is None and not options.background
        known_workers = self.workers if is_known else 0
        self.state = JobState(name, work.known_length or 0, workers=known_workers, is_flow=work.is_flow)
        if work.known_length is None:
            self.state.set_open_ended(is_open=True)
        self.queued = self.state.created
        self.lock = threading.Lock()
        """Held to decide that a dispatcher is closed, or to give it more."""
        self.owner: Any = None
        """What the user holds of this job."""
        self.flow_run_ids: list[UUID] = []
        """All of its flow runs, the newest last: a retry has one of its own."""
        self.summarize: Callable[[], str] | None = None
        """Returns the job as Markdown, for Prefect's interface."""
        self.result: Any = None
        """What the flow returned, where the job is a flow of the user's."""
        self.rounds = 0
        self.thread: threading.Thread | None = None
        """The flow thread; it outlives the job a little, until Prefect knows how the flow run ended."""
        self.left: float | None = None
        """When that thread last ended, by `time.monotonic`."""
        has_calls = work.owns_calls or work.is_flow
        self.caller: Caller | None = CallingThread(self) if options.runner == "inline" and has_calls else None
        """The thread that makes the calls, where that is the one which asks for the job."""
        self._dispatchers = OpenDispatchers(self.lock)
        self._is_followed_running: Callable[[int], bool] | None = None
        self._paused = False
        self._stop = threading.Event()
        self._futures: weakref.WeakValueDictionary[int, ItemFuture[Any]] = weakref.WeakValueDictionary()
        self._futures_lock = threading.Lock()
        self._on_cancel: list[Callable[[], None]] = []
        self._done_callbacks = DoneCallbacks(self.state)

    # --- what people do --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Run the job in the background; or to its end, where it runs inline."""
        self.session.start()
        self.session.add(self)
        if self.state.is_done:
            self.session.jobs.tidy()
            return
        self._launch(self.work.all_indices())
        self._serve()

    def cancel(self, reason: str = "Cancelled before it ran. Run it with job.retry().") -> None:
        """Cancel what has not started; what runs ends by itself. Does not block."""
        if self.state.is_done:
            return
        self._stop.set()
        self.state.set_phase(JobPhase.CANCELLING)
        if self.work.stream is not None:
            self.work.stream.stop(self, told=ItemCancelledError(_CUT_SHORT))
        self._dispatchers.cancel(reason)
        for stop in self._on_cancel:
            stop()

    def abandon(self) -> None:
        """Cancel the job: the call that starts it was interrupted, so that nobody gets to hold it. Does not block."""
        reason = "Cancelled since the call that started it was interrupted. Run it with job.retry()."
        self.cancel(reason)
        if self.thread is None or self.thread.ident is None:
            # Interrupted before its thread had begun, which would settle the items.
            self.settle_open(OutcomeKind.CANCELLED, ItemCancelledError(reason))
            self.state.set_open_ended(is_open=False)

    def pause(self) -> None:
        """Start no further items until `resume`; what runs goes on.

        Raises:
            NbfuturesError: If the items are with workers elsewhere.
        """
        if self.options.background:
            raise NbfuturesError(
                "A background job cannot be paused: its items are with Prefect's server, and workers take them from "
                "there. Cancel it, and go on later with job.retry()."
            )
        if self.state.is_done or self._stop.is_set():
            return
        self._paused = True
        self._dispatchers.halt()
        self.state.set_phase(JobPhase.PAUSED)

    def resume(self) -> None:
        """Go on after `pause`."""
        if not self._paused:
            return
        self._paused = False
        if self._stop.is_set():
            return
        self._dispatchers.go_on()
        self.state.set_phase(JobPhase.RUNNING)

    def retry(self, indices: Iterable[int], fn: Callable[..., Any] | None = None) -> int:
        """Run settled items once more, in the background; or to their end, where the job runs inline.

        Args:
            indices: The items; those that have not ended are left alone.
            fn: Called from now on instead of the job's function.

        Returns:
            How many items run again.
        """
        opened = self._reopen(indices, fn)
        if opened:
            self._serve()
        return opened

    def _serve(self) -> None:
        if self.caller is not None:
            self.caller.serve()

    def _reopen(self, indices: Iterable[int], fn: Callable[..., Any] | None) -> int:
        self.work.check_retry()
        with self.lock:
            if fn is not None:
                self.work.replace_function(fn)
            opened = self.state.reopen(indices)
            stream = self.work.stream
            # A job that never came to know its items has none to reopen: it starts anew.
            if not opened and not (self.state.is_done and self.work.known_length is None):
                if self.state.is_done and stream is not None and stream.error is None:
                    # It was cancelled when all had ended that had come by then.
                    self.state.forget_crash()
                return 0
            if not opened:
                self.state.restart()
            if stream is not None and stream.error is not None:
                # Items are missing, however those that came end.
                self.state.crash(stream.error)
            self.rounds += 1
            self._stop.clear()
            self._paused = False
            if self._dispatchers.offer(opened):
                return len(opened)
        self.session.start()
        self.session.add(self)
        self._launch(opened)
        return len(opened)

    # --- what people ask -------------------------------------------------------------------------------------------

    def future(self, index: int) -> ItemFuture[Any]:
        """Return the item's future, always the same one while somebody holds it."""
        from nbfutures.prefect.jobs.futures import ItemFuture

        with self._futures_lock:
            made = self._futures.get(index)
            if made is None:
                made = self._futures[index] = ItemFuture(self, index)
            return made

    def __len__(self) -> int:
        """Return the number of items known so far."""
        return len(self.state)

    def item(self, index: int) -> Item:
        """Return the item at `index`."""
        return self.work.item(index)

    def is_running(self, index: int) -> bool:
        """Tell whether the item is being worked on."""
        followed = self._is_followed_running
        if followed is not None and followed(index):
            return True
        return self._dispatchers.is_running(index)

    def collect(self, timeout: float | None, *, single: bool) -> Any:
        """Block until the job is done and return the values; raise the first error as soon as it is known.

        Args:
            timeout: Seconds to wait at most; `None` for no limit.
            single: Whether to return the one value, not a list.

        Raises:
            TimeoutError: If the job is not done in time.
        """
        __tracebackhide__ = True
        failure = wait_for_failure(self.state, timeout, is_patient=self.work.is_flow)
        if failure is not None and not self.work.is_flow:
            raise raisable(failure)
        if self.state.crashed is not None:
            raise not_exiting(self.state.crashed, f"The flow {self.name!r}")
        if self.work.is_flow:
            return self.result
        values = []
        for told in self.state.outcomes():
            if told is None:
                # It was retried meanwhile.
                return self.collect(timeout, single=single)
            if told.kind is not OutcomeKind.COMPLETED:
                raise raisable(told)
            values.append(told.value)
        return values[0] if single else values

    def dry_run(self) -> DryRunReport | None:
        """Return what a dry run tells of the whole job; `None`: this runs all of it."""
        return None

    @property
    def url(self) -> str | None:
        """Address of the flow run in Prefect's UI; `None` before Prefect knows of it."""
        flow_run_id = self.flow_run_id
        place = ui_place(self.session) if flow_run_id is not None else None
        return place.page(flow_run_path(flow_run_id)) if flow_run_id is not None and place is not None else None

    def on_item_done(self, index: int, then: Callable[[], None]) -> None:
        """Have `then` called when the item ended, on the thread that tells it, or at once if it has."""
        self._done_callbacks.add_for_item(index, then)

    def on_done(self, then: Callable[[], None]) -> None:
        """Have `then` called once when the job is done, on the thread that tells it, or at once if it is."""
        self._done_callbacks.add_for_job(then)

    def whole(self) -> JobFuture:
        """Return the whole job as one future."""
        from nbfutures.prefect.jobs.futures import JobFuture

        return JobFuture(self)

    def note_health(self, trouble: str) -> None:
        """Say on the job that Prefect does not answer, or that it does again (an empty text)."""
        if trouble:
            self.state.set_note(
                f"Prefect is not answering ({trouble}); what has ended is kept, the job goes on when it does"
            )
        elif self.state.note.startswith("Prefect is not answering"):
            self.state.set_note("")

    # --- for the rest of the layer -----------------------------------------------------------------------------------

    @property
    def cpu_clock(self) -> Callable[[], float]:
        """What tells the CPU seconds of the calling thread."""
        return time.thread_time

    @property
    def is_halted(self) -> bool:
        """Whether nothing new may start."""
        return self._paused or self._stop.is_set()

    @property
    def flow_run_id(self) -> UUID | None:
        """Prefect's id of the flow run that is the job's by now; `None` before there is one."""
        return self.flow_run_ids[-1] if self.flow_run_ids else None

    @property
    def is_server_local(self) -> bool:
        """Whether Prefect's server is the one of this machine that nbfutures has started."""
        return self.session.lease is not None

    @property
    def stopped(self) -> threading.Event:
        """Set while the job is being cancelled."""
        return self._stop

    def note_flow_run(self, flow_run_id: UUID) -> None:
        """Tell the job which flow run of Prefect's is its own from now on."""
        self.flow_run_ids.append(flow_run_id)
        if self.session.lease is not None and not self.options.background:
            self.session.lease.note_open(flow_run_id)
        place = ui_place(self.session)
        if place is not None:
            self.state.put_link(_LINK, place.login(flow_run_path(flow_run_id)), is_first=True)

    def drain_at_exit(self) -> None:
        """Have the kernel's jobs end before Prefect's services do when the process ends."""
        self.session.drain_at_exit()

    def on_cancel(self, stop: Callable[[], None]) -> None:
        """Have `stop` called when the job is cancelled; it must not block."""
        self._on_cancel.append(stop)

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Tell how items ended."""
        self.state.settle(outcomes)
        if self.work.stream is not None:
            self.work.stream.let_go(outcomes, self)
        if self.options.fail_fast and not self._stop.is_set():
            failed = next((one for one in outcomes if one.kind is OutcomeKind.FAILED), None)
            if failed is not None:
                self.cancel(f"Cancelled since item {failed.index} failed (fail_fast). Run it with job.retry().")

    def settle_unrun(self, indices: Iterable[int], kind: OutcomeKind, error: BaseException) -> None:
        """Settle items that never ran."""
        now, queued, round_of = self.state.clock.now(), self.queued, self.state.round_of
        outcomes = [Outcome(index, kind, None, error, queued, None, now, round=round_of(index)) for index in indices]
        self.state.settle(outcomes)
        if self.work.stream is not None:
            self.work.stream.let_go(outcomes, self)

    def settle_open(self, kind: OutcomeKind, error: BaseException) -> None:
        """Settle all items that have not ended."""
        open_items = [index for index in range(len(self.state)) if self.state.outcome(index) is None]
        self.settle_unrun(open_items, kind, error)

    def fail(self, error: BaseException) -> None:
        """Record that the flow itself failed; its task runs keep their outcomes."""
        self.state.crash(self.session.explained(error))

    def skip_all(self, reason: str) -> None:
        """Settle every open item as skipped."""
        error = ItemSkippedError(f"Skipped: {reason}")
        if self.work.known_length is None:
            self.crash(error)
            return
        self.settle_open(OutcomeKind.SKIPPED, error)

    def crash(self, error: BaseException) -> None:
        """End the job, since it cannot go on: what is not settled is cancelled, and can be retried."""
        self._stop.set()
        if self.work.stream is not None:
            self.work.stream.stop(self)
        error = self.session.explained(error)
        self.state.crash(error)
        told = error if isinstance(error, JobCrashedError) else JobCrashedError(f"The job could not go on: {error}")
        if told is not error:
            told.__cause__ = error
        self.settle_open(OutcomeKind.CANCELLED, told)
        self.state.set_open_ended(is_open=False)

    # --- threads -----------------------------------------------------------------------------------------------------

    def _launch(self, indices: Sequence[int]) -> None:
        # A copy of the caller's context: its tags and settings hold for the job.
        self.thread = threading.Thread(
            target=copy_context().run, args=(self._main, indices), name=f"nbfutures {self.name}", daemon=True
        )
        self.thread.start()

    def _main(self, indices: Sequence[int]) -> None:
        try:
            run_job(self, self.work, indices, self.session)
        finally:
            self.left = time.monotonic()
            self.session.jobs.tidy()
            if self.session.lease is not None:
                for flow_run_id in self.flow_run_ids:
                    self.session.lease.note_ended(flow_run_id)

    def attach_dispatcher(self, dispatcher: Dispatcher) -> None:
        """Take a new dispatcher; it starts as the job stands: paused or being cancelled, perhaps."""
        with self.lock:
            self._dispatchers.add(dispatcher, is_halted=self.is_halted)
        if self._stop.is_set():
            dispatcher.cancel("Cancelled before it ran. Run it with job.retry().")

    def began(self, when: float | None) -> None:
        """Say when a job began that another kernel began, in seconds since the epoch; before it is started."""
        if when is not None:
            self.state.created = self.queued = when

    def attach_follower(self, is_running: Callable[[int], bool]) -> None:
        """Have it asked which items run, where others than dispatchers know it."""
        self._is_followed_running = is_running

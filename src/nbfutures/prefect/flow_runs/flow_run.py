"""One flow run for each job."""

from __future__ import annotations

import functools
import itertools
import logging
import re
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect import flow, tags
from prefect.context import FlowRunContext
from prefect.events.worker import EventsWorker

from nbfutures.engine.calls.work import name_of
from nbfutures.engine.dispatcher import Dispatcher
from nbfutures.engine.inline_lane import InlineLaneWindow
from nbfutures.engine.job_note import JobNote
from nbfutures.engine.lane_window import LaneWindow
from nbfutures.engine.lanes import COROUTINES, LaneWork
from nbfutures.errors import ItemSkippedError, JobCrashedError
from nbfutures.prefect.feed import Feed
from nbfutures.prefect.flow_runs import flow_start
from nbfutures.prefect.flow_runs.flow_end import crashed_state, final_state, force_cancelled
from nbfutures.prefect.flow_runs.flow_watch import watched_in_prefect
from nbfutures.prefect.flow_runs.summaries import record_summary
from nbfutures.prefect.limits.slot_leases import Keeper
from nbfutures.prefect.limits.slot_waits import SlotWaits
from nbfutures.prefect.names import argument_words, flow_name, run_name
from nbfutures.prefect.private_settings import private_settings
from nbfutures.prefect.runners import KERNEL_RUNNERS, make_runner
from nbfutures.prefect.runners.threads import nesting
from nbfutures.prefect.task_run_lanes import TaskRunLanes
from nbfutures.prefect.tasks.inline_task_window import InlineTaskWindow
from nbfutures.prefect.tasks.lasting_print import lasting_print, logs_prints
from nbfutures.prefect.tasks.task_window import TaskWindow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from uuid import UUID

    from prefect.client.schemas.objects import State

    from nbfutures.engine.calls.work import CallWork
    from nbfutures.engine.contracts import Run
    from nbfutures.engine.dispatcher import Window

__all__ = ["flow_settings", "run_calls", "run_launch", "wait_for_futures"]

_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")
# What Prefect logs of it, and all that it tells.
_MISSING = re.compile(r"Concurrency limits \['(?P<first>.*?)'.*\] do not exist")


@contextmanager
def missing_limits_told(run: Run) -> Iterator[None]:
    """Within it, what Prefect logs of limits that do not exist is told on the job, with what to do.

    Args:
        run: The job. Of its items in other processes, nothing is heard here.
    """
    listener = _Listener(run)
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addHandler(listener)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(listener)
        if listener.told and not run.state.note:
            # A job's end takes its note back; this one is still worth reading.
            run.state.set_note(listener.told)


class _Listener(logging.Handler):
    def __init__(self, run: Run) -> None:
        super().__init__(logging.WARNING)
        self._run = run
        self._note = JobNote(run.state)
        self.told = ""
        """What was told."""

    def emit(self, record: logging.LogRecord) -> None:
        """Take in a line of Prefect's log."""
        found = _MISSING.match(record.getMessage())
        if found is not None and str(getattr(record, "flow_run_id", "")) == str(self._run.flow_run_id):
            name = found["first"]
            self.told = (
                f"Prefect has no limit {name!r} and lets items pass. Create it, for example with 4 slots: "
                f"%limit {name} 4"
            )
            self._note.tell(self.told)


def job_window(dispatcher: Dispatcher, feed: Feed, *, runner: Any) -> Window:
    """Return a window for a job's runner and function.

    Args:
        dispatcher: The dispatcher that is to own it.
        feed: Tells when a task run is done.
        runner: Where the task runs run.
    """
    run, work = dispatcher.run, dispatcher.work
    options = run.options
    is_remote = options.runner not in KERNEL_RUNNERS
    if work.is_task and is_remote:
        from nbfutures.prefect.remote.task_window import RemoteTaskWindow

        # One for each worker: what waits can then be taken back, and what runs can be stopped alone.
        size = min(options.in_flight or run.workers, run.workers)
        return RemoteTaskWindow(dispatcher, feed, runner, work, size=size)
    if work.is_task and options.runner == "inline":
        return InlineTaskWindow(dispatcher, feed, runner, work, size=1)
    if work.is_task:
        # Coroutines need no thread: where no number of workers is given, all of the window runs at once.
        is_open = work.is_async and not options.workers
        size = options.in_flight or (COROUTINES if is_open else 2 * run.workers + 2)
        if options.limit and not work.is_async:
            # What waits for a thread would hold a slot.
            size = min(size, run.workers)
        return TaskWindow(dispatcher, feed, runner, work, size=size)
    shared = LaneWork(
        work=work,
        queue=dispatcher.queue,
        limit=dispatcher.limit,
        state=run.state,
        wake=dispatcher.wake,
        # One at a time: whoever runs a coroutine inline is blocked by it as by a plain function.
        is_async=work.is_async and options.runner != "inline",
        quota=None if isinstance(options.batch, str) else options.batch,
        retries=options.retries or 0,
        retry_delay=options.retry_delay or 0.0,
        timeout=options.timeout,
        fail_fast=options.fail_fast,
        stopped=run.stopped,
        queued=run.queued,
        cpu_clock=run.cpu_clock,
    )
    if is_remote:
        from nbfutures.prefect.remote.window import RemoteWindow

        return RemoteWindow(
            dispatcher, feed, runner, shared, workers=run.workers, in_flight=options.in_flight, name=run.name
        )
    if options.runner == "inline":
        return InlineLaneWindow(dispatcher, TaskRunLanes(run.name, runner, feed), shared, workers=1, in_flight=1)
    in_flight = options.in_flight or ((options.workers or COROUTINES) if work.is_async else None)
    start = TaskRunLanes(run.name, runner, feed)
    return LaneWindow(dispatcher, start, shared, workers=run.workers, in_flight=in_flight)


_SPARE_THREADS = 1000
"""For items that were given up on: their threads are lost to the pool. A pool starts a thread when it needs one."""

_LOOK_SECONDS = 0.2

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Launch:
    """What a flow run is to do: the items of a job, or those of a retry, which may begin before the first has ended."""

    run: Run
    work: CallWork
    indices: Sequence[int]
    make_window: Callable[[Dispatcher, Feed], Window] | None = None
    """Makes what is in flight, where that is not in a runner of the job's."""
    flow_run_id: UUID | None = None
    """Its flow run, once that has begun."""
    error: BaseException | None = None
    """What stopped it."""
    is_over: bool = False
    """Whether every item that it was given has ended."""


_launches: dict[str, _Launch] = {}
_numbers = itertools.count(1)


# Prefect pickles the flow, by value, with every task that leaves the process: it refers to one function, by its name.
@flow(name="nbfutures", validate_parameters=False, persist_result=False)
def job_flow(job: str, function: str, items: int, arguments: str, runner: str, workers: int) -> Any:  # noqa: ARG001, PLR0917 - for Prefect's UI
    """Run a job's items to their end."""
    return run_launch(job)


def run_launch(job: str) -> State[Any]:
    """Run the items of a launch to their end, within its flow run."""
    launch = _launches[job]
    run, work = launch.run, launch.work
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    launch.flow_run_id = context.flow_run.id
    run.note_flow_run(launch.flow_run_id)
    # Prefect's services are running by now; what is registered last is called first when the process ends.
    EventsWorker.instance()
    run.drain_at_exit()
    flow_start.started()
    dispatcher = Dispatcher(run, work, launch.indices)
    if run.options.limit:
        dispatcher.limit = Keeper(run, dispatcher.wake)
    run.attach_dispatcher(dispatcher)
    chosen = launch.make_window or functools.partial(job_window, runner=context.task_runner)
    if run.options.background and launch.make_window is None:
        chosen = _background_window(launch)
    prints = lasting_print() if logs_prints(work.target) else nullcontext()
    with watched_in_prefect(run, launch.flow_run_id) as seen, prints, SlotWaits(run):
        try:
            feed = Feed(run.name)
            dispatcher.drive(lambda dispatcher: chosen(dispatcher, feed), feed)
        except Exception as error:
            launch.error = error
            return crashed_state(error)
        except BaseException as error:
            launch.error = error
            raise
    launch.is_over = True
    return final_state(run, is_cancelled=seen.is_cancelled)


def _background_window(launch: _Launch) -> Callable[[Dispatcher, Feed], Window]:
    from nbfutures.prefect.background.window import BackgroundWindow

    return lambda dispatcher, _: BackgroundWindow(dispatcher, launch.work, launch.indices)


def run_calls(
    run: Run,
    work: CallWork,
    indices: Sequence[int],
    make_window: Callable[[Dispatcher, Feed], Window] | None = None,
) -> None:
    """Run some items of a job in a new flow run. Blocks until they ended.

    Args:
        run: The job.
        work: Its calls.
        indices: The items; all of them where their number becomes known only now.
        make_window: Makes what is in flight, for items that run in no runner of the job's.
    """
    wait_for_futures(run, run.options.wait_for)
    if run.state.is_done:
        return
    if work.table is None:
        wait_for_futures(run, tuple(work.arguments.values()))
        if run.stopped.is_set():
            run.state.set_open_ended(is_open=False)
            return
        indices = _resolve_length(run, work)
    indices = _all_of_background(run, work, indices)
    if run.state.is_done:
        return
    spare = _SPARE_THREADS if run.options.runner in {"threads", "inline"} and not work.is_task else 0
    is_open = work.is_task and work.is_async and run.options.runner == "threads" and not run.options.workers
    workers = (run.options.in_flight or COROUTINES) if is_open else run.workers + spare
    runner = make_runner(run.options, workers, run.workers)
    _note_cluster(run, runner)
    again = f" (retry {run.rounds})" if run.rounds else ""
    named = job_flow.with_options(name=flow_name(run.name), task_runner=runner)
    key = run_name(f"{run.key}{again}, launch {next(_numbers)}")
    parameters = {
        "job": key,
        "function": name_of(work.target),
        "items": len(indices),
        "arguments": argument_words(work.table),
        "runner": run.options.runner,
        "workers": run.workers,
    }
    launch = _launches[key] = _Launch(run, work, indices, make_window)
    try:
        with flow_settings(run), _repeats_told(run, work, make_window):
            ended = flow_start.start_flow(named, parameters, name=f"{run.name}{again}")
            if ended.is_cancelling() and launch.flow_run_id is not None:
                # Somebody has cancelled it in its last moment, so that Prefect did not take its final state.
                force_cancelled(run, launch.flow_run_id)
        if launch.is_over:
            record_summary(run, launch.flow_run_id)
    except Exception:
        if not launch.is_over:
            raise
        # The job may be running again by now, and what has ended is kept.
        _logger.debug("Prefect could not record the end of %s", key, exc_info=True)
    finally:
        del _launches[key]
    if not launch.is_over:
        told = f": {type(launch.error).__name__}: {launch.error}" if launch.error is not None else ""
        raise JobCrashedError(
            f"Prefect ended the flow run early{told}. Its log in Prefect's UI (job.url) says more."
        ) from launch.error


def _repeats_told(run: Run, work: CallWork, make_window: Any) -> AbstractContextManager[None]:
    if make_window is not None or run.options.runner in KERNEL_RUNNERS:
        return nullcontext()
    from nbfutures.engine.workers.generators import repeats_told

    return repeats_told(run, work)


def _note_cluster(run: Run, runner: Any) -> None:
    """Have a job use all of its cluster, if it asks for no number of workers, and lead to its dashboard."""
    capacity = getattr(runner, "capacity", None)
    if capacity and run.options.workers is None:
        run.workers = run.state.workers = capacity
    dashboard = getattr(runner, "dashboard", None)
    if dashboard is not None:
        run.state.put_link(*dashboard)


@contextmanager
def flow_settings(run: Run) -> Iterator[None]:
    """Within it, a flow run on this thread is the job's, and does not wait a second for its heartbeat to end."""
    # The environment cannot say "no heartbeat"; and this is for our flow runs only.
    nesting.set(0)
    quiet = functools.partial(flow_start.changed_settings, "flows", heartbeat_frequency=None)
    with private_settings(), quiet(), tags(*run.options.tags), missing_limits_told(run):
        yield


def wait_for_futures(run: Run, given: tuple[Any, ...]) -> None:
    """Block until futures are done, or the job is cancelled; skip its items if it waits for them and they failed.

    Args:
        run: The job.
        given: Futures and jobs, or what holds them.
    """
    from nbfutures.engine.calls.futures_in import find_futures

    futures = find_futures(list(given))
    if futures:
        run.state.set_note("waiting for what it depends on")
    for future in futures:
        while not future._final_state and not run.stopped.is_set():
            future.wait(0.2)
    run.state.set_note("")
    if given is run.options.wait_for and any(
        not future.state.is_completed() for future in futures if future._final_state
    ):
        run.skip_all("what it waits for (wait_for) did not complete. Retry that first, then this job.")


def _all_of_background(run: Run, work: CallWork, indices: Sequence[int]) -> Sequence[int]:
    """Read all items of a background job from their iterators: they are noted before the first is submitted."""
    stream = work.stream
    if not run.options.background or stream is None or stream.is_over:
        return indices
    stream.begin(run, lambda _, __: None)
    while not stream.ended.wait(_LOOK_SECONDS) and not run.stopped.is_set():
        pass
    return work.list_stream()


def _resolve_length(run: Run, work: CallWork) -> range:
    try:
        indices = work.resolve_length()
    except ItemSkippedError:
        raise JobCrashedError("What it maps over did not complete. Retry that job first, then this one.") from None
    if work.stream is not None:
        return indices
    run.state.grow(len(indices))
    run.state.set_open_ended(is_open=False)
    return indices

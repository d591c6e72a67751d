"""The window of a background job: its items are given to Prefect's server, for whoever serves the task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect.context import FlowRunContext

from nbfutures.engine.workers.packing import unpicklable_argument
from nbfutures.errors import ItemSkippedError, MapArgumentsError
from nbfutures.model.outcome import Outcome, OutcomeKind
from nbfutures.prefect.background.manifest import Manifest, write_manifest
from nbfutures.prefect.background.packed_tasks import as_task
from nbfutures.prefect.background.runs import BackgroundRuns, Entry, run_id_of
from nbfutures.prefect.background.task_keys import with_steady_key
from nbfutures.prefect.outcomes import Observed
from nbfutures.prefect.tasks.task_window import PreparedTask

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Sequence

    from prefect import Task
    from prefect.client.schemas.objects import TaskRun

    from nbfutures.engine.calls.work import CallWork
    from nbfutures.engine.dispatcher import Dispatcher
    from nbfutures.model.options import JobOptions

__all__ = ["BackgroundWindow"]

_SUBMITTED_AT_ONCE = 6
_MOST = 900
"""Items that wait for workers, where nothing else is said: Prefect's server keeps the 1,001st waiting at the door."""
_LISTEN_SECONDS = 2.0
_MANIFEST_SECONDS = 30.0


class BackgroundWindow:
    """Keeps items with Prefect's server until workers have run them.

    Args:
        dispatcher: The dispatcher that owns this window.
        work: The calls of the user's task.
        indices: The items of this flow run.
    """

    def __init__(self, dispatcher: Dispatcher, work: CallWork, indices: Sequence[int]) -> None:
        self._dispatcher = dispatcher
        self._run = dispatcher.run
        self._work = work
        context = FlowRunContext.get()
        assert context is not None
        assert context.flow_run is not None
        self._context = context
        self._flow_run_id = context.flow_run.id
        self._size = self._run.options.in_flight or _MOST
        self._prepared = _prepared(work.target, self._run.options)
        self._runs = BackgroundRuns(self._run, [self._flow_run_id], self._prepared.task, dispatcher.wake)
        self._submitting: set[int] = set()
        self._runs.watcher.start()
        self._write_manifest(indices)
        self._runs.watcher.listening.wait(_LISTEN_SECONDS)

    @property
    def is_growing(self) -> bool:
        """Whether a look follows soon: never, since each end of a task run makes one."""
        return False

    @property
    def busy(self) -> bool:
        """Whether items are with the workers."""
        return bool(self._submitting) or bool(len(self._runs))

    def refill(self) -> None:
        """Submit items up to the window's size, some at once."""
        self._runs.go_on()
        while len(self._submitting) < _SUBMITTED_AT_ONCE and len(self._runs) < self._size:
            index = self._dispatcher.queue.try_pull()
            if index is None:
                return
            self._submit(index)

    def sweep(self) -> None:
        """Settle what ended."""
        self._runs.take_in()

    def close(self) -> None:
        """Follow nothing any longer."""
        self._runs.drop_all()

    def running(self) -> int:
        """Return how many items are being worked on."""
        return self._runs.running()

    def is_running(self, index: int) -> bool:
        """Tell whether the item is being worked on."""
        return self._runs.is_running(index)

    def missing(self) -> int:
        """Return 0: background tasks take no slots of the job's; see `check_background`."""
        return 0

    def cancel_queued(self) -> None:
        """Settle as cancelled what no worker has begun."""
        self._runs.cancel_waiting()

    def _submit(self, index: int) -> None:
        if self._prepared.target is not self._work.target:
            self._prepared = _prepared(self._work.target, self._run.options)
            self._runs.attendance.close()
            self._runs.attendance = self._runs.attendance.of(self._prepared.task)
        round_ = self._run.state.round_of(index)
        try:
            # A future of the kernel's says nothing elsewhere; by now, it is done.
            parameters = self._prepared.parameters(self._work.parameters_for_workers(index))
        except ItemSkippedError as error:
            self._run.settle_unrun([index], OutcomeKind.SKIPPED, error)
            return
        except MapArgumentsError as error:
            self._run.settle_unrun([index], OutcomeKind.FAILED, error)
            return
        entry = Entry(index, run_id_of(self._flow_run_id, index, round_), round_, Observed(queued=self._run.queued))
        self._submitting.add(index)
        # Before it is there: it may have ended before the answer comes.
        self._runs.follow([entry])
        future = self._runs.loop.start(self._create(self._prepared.task, entry, parameters))
        future.add_done_callback(lambda done: self._on_submitted(entry, parameters, done))

    async def _create(self, task: Task[Any, Any], entry: Entry, parameters: dict[str, Any]) -> TaskRun:
        # As `task.delay` does, which makes a client for each call.
        return await task.create_run(
            client=await self._runs.loop.client(),
            id=entry.run_id,
            parameters=parameters,
            flow_run_context=self._context,
            deferred=True,
        )

    def _on_submitted(self, entry: Entry, parameters: dict[str, Any], done: concurrent.futures.Future[TaskRun]) -> None:
        error = None if done.cancelled() else done.exception()
        if error is not None and self._runs.drop(entry.index) is not None:
            told = unpicklable_argument(entry.index, parameters) or error
            state = self._run.state
            self._run.settle([
                Outcome(
                    entry.index, OutcomeKind.FAILED, None, told, self._run.queued, None, state.clock.now(),
                    round=entry.round,
                )
            ])  # fmt: skip
        self._submitting.discard(entry.index)
        self._dispatcher.wake()

    def _write_manifest(self, indices: Sequence[int]) -> None:
        """Note in Prefect's storage what this flow run consists of; `attach` reads it."""
        manifest = Manifest.of(self._run.name, self._work, self._run.options, indices)
        self._runs.loop.run(write_manifest(self._flow_run_id, manifest), _MANIFEST_SECONDS)


def _prepared(target: Any, options: JobOptions) -> PreparedTask:
    # A copy: Prefect notes on a task that its results are kept.
    return PreparedTask(with_steady_key(as_task(target)), options, target)

"""The window of a Prefect task's job: one task run for each item, with the task's own settings."""

from __future__ import annotations

import inspect
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any

from prefect.utilities.callables import collapse_variadic_parameters, get_parameter_defaults

from nbfutures.engine.item_frames import forget_locals
from nbfutures.engine.timeouts import GRACE_SECONDS, STUCK_LOOP, given_up_on
from nbfutures.errors import ItemCancelledError
from nbfutures.model.outcome import Outcome, OutcomeKind
from nbfutures.prefect.outcomes import LEFT, Observed, outcome_of
from nbfutures.prefect.runners.threads import ThreadsRunner
from nbfutures.prefect.tasks.cache_keys import UncachedNote
from nbfutures.prefect.tasks.observing import observe

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prefect.futures import PrefectFuture
    from prefect.task_runners import TaskRunner
    from prefect.tasks import Task

    from nbfutures.engine.calls.work import CallWork
    from nbfutures.engine.dispatcher import Dispatcher
    from nbfutures.model.options import JobOptions
    from nbfutures.prefect.feed import Feed

__all__ = ["PreparedTask", "TaskWindow", "take_back"]


def take_back(futures: Iterable[PrefectFuture[Any]]) -> None:
    """Cancel what no worker has started, where the runner can. Does not block.

    Args:
        futures: Futures of Prefect's runners.
    """
    # Prefect makes the coroutine of an async task when it is submitted: that of one which is taken back has no use.
    warnings.filterwarnings("ignore", "coroutine 'run_task_async' was never awaited", RuntimeWarning)
    for future in futures:
        wrapped = getattr(future, "wrapped_future", None)
        if wrapped is not None:
            wrapped.cancel()


class TaskWindow:
    """Keeps a bounded number of task runs in flight.

    Args:
        dispatcher: The dispatcher that owns this window.
        feed: Tells when a task run is done.
        runner: Where the task runs run.
        work: The calls of the user's task.
        size: Task runs in flight, at most.
    """

    def __init__(
        self, dispatcher: Dispatcher, feed: Feed, runner: TaskRunner[Any], work: CallWork, *, size: int
    ) -> None:
        self._dispatcher = dispatcher
        self._run = dispatcher.run
        self._feed = feed
        self._runner = runner
        self._work = work
        self._size = size
        self._in_flight: dict[int, tuple[PrefectFuture[Any], Observed]] = {}
        self._limit = dispatcher.limit
        self._submitting = threading.Lock()
        """Held to submit one item, so that a cancel sees it either before or in flight."""
        self._prepared = PreparedTask(work.target, dispatcher.run.options)
        self._uncached = UncachedNote(dispatcher.run)
        self._cancelled_at: float | None = None

    @property
    def is_growing(self) -> bool:
        """Whether a look follows soon: never, since each end of a task run makes one."""
        return False

    @property
    def busy(self) -> bool:
        """Whether task runs are in flight."""
        return bool(self._in_flight)

    def refill(self) -> None:
        """Submit items up to the window's size."""
        self._cancelled_at = None
        while len(self._in_flight) < self._size:
            if not self._limit.take(1):
                return
            index = self._dispatcher.queue.try_pull()
            if index is None or not self._submit(index):
                self._limit.give()
            if index is None:
                return

    def missing(self) -> int:
        """Return how many more items could run at once now if there were slots for them."""
        return min(self._size - len(self._in_flight), len(self._dispatcher.queue))

    def sweep(self) -> None:
        """Give up on coroutines that ran out of time where something blocks their event loop."""
        limit = self._prepared.task.timeout_seconds if self._work.is_async else None
        if limit is None:
            return
        now = self._run.state.clock.now()
        for index, (future, seen) in list(self._in_flight.items()):
            home, started = seen.home, seen.started
            if home is None or started is None or seen.ended is not None or home.silent_for < GRACE_SECONDS:
                continue
            if now - started < limit + GRACE_SECONDS or self._in_flight.pop(index, None) is None:
                continue
            home.retire()
            if isinstance(self._runner, ThreadsRunner):
                self._runner.let_go(future)
            error = given_up_on(limit, STUCK_LOOP)
            round_ = self._run.state.round_of(index)
            self._run.settle([
                Outcome(
                    index, OutcomeKind.FAILED, None, error, seen.queued, started, now,
                    worker=seen.worker, attempts=seen.attempts, round=round_,
                )
            ])  # fmt: skip

    def close(self) -> None:
        """Do nothing: what is in flight ends by itself."""

    def running(self) -> int:
        """Return how many items are being worked on."""
        return sum(seen.started is not None and seen.ended is None for _, seen in list(self._in_flight.values()))

    def is_running(self, index: int) -> bool:
        """Tell whether the item is being worked on."""
        entry = self._in_flight.get(index)
        return entry is not None and entry[1].started is not None

    def cancel_queued(self) -> None:
        """Take back what no worker has started, and leave what Prefect holds back at its start, by a tag limit."""
        now = time.monotonic()
        self._cancelled_at = self._cancelled_at or now
        with self._submitting:
            in_flight = list(self._in_flight.items())
        take_back(future for _, (future, _) in in_flight)
        if now - self._cancelled_at < GRACE_SECONDS:
            return
        for index, (_, seen) in in_flight:
            if seen.started is None and seen.leave() and self._in_flight.pop(index, None) is not None:
                self._run.settle_unrun([index], OutcomeKind.CANCELLED, ItemCancelledError(LEFT))

    def _submit(self, index: int) -> bool:
        """Submit an item; return whether it is in flight."""
        seen = Observed(queued=self._run.queued)
        if self._prepared.target is not self._work.target:
            self._prepared = PreparedTask(self._work.target, self._run.options)
        made = self._observed(self._prepared.task, index, seen)
        parameters = self._prepared.parameters(self._arguments(index))
        with self._submitting:
            if self._run.stopped.is_set():
                # The cancel came between taking the item and here: it goes back, and is cancelled with the others.
                self._dispatcher.queue.put([index])
                return False
            future = self._runner.submit(made, parameters)
            self._in_flight[index] = (future, seen)
        self._feed.watch(future, lambda: self._on_done(index, future, seen))
        return True

    def _on_done(self, index: int, future: PrefectFuture[Any], seen: Observed) -> None:
        """Take in the end of a task run; on the feed's thread."""
        self._limit.give()
        self._uncached.tell(seen)
        state = self._run.state
        outcome = outcome_of(future, index, now=state.clock.now(), round_=state.round_of(index), observed=seen)
        if outcome.error is not None and self._run.caller is None:
            forget_locals(outcome.error, outcome.traceback)
        told = self._ending(outcome, seen)
        entry = self._in_flight.get(index)
        if entry is None or entry[0] is not future:
            return  # It was given up on meanwhile.
        del self._in_flight[index]
        if told is not None:
            self._run.settle([told])
        self._dispatcher.wake()

    def _arguments(self, index: int) -> dict[str, Any]:
        """Return the arguments of an item, as they are submitted."""
        return self._work.parameters(index)

    def _observed(self, task: Task[Any, Any], index: int, seen: Observed) -> Task[Any, Any]:  # noqa: ARG002 - for others
        """Return a copy of the task that notes in `seen` when and where its function runs."""
        return observe(
            task, seen, self._run.state.clock.now, self._run.cpu_clock, is_watched=self._run.caller is not None
        )

    def _ending(self, outcome: Outcome, seen: Observed) -> Outcome | None:  # noqa: ARG002 - for others
        """Return the outcome to be told, or `None` if the item is tried again."""
        return outcome


class PreparedTask:
    """What is the same for all task runs of a task: looking through its signature takes longer than submitting it.

    Args:
        task: The user's task.
        options: The job's.
        target: What the task was made of, if not given as a task.
    """

    def __init__(self, task: Task[Any, Any], options: JobOptions, target: Any = None) -> None:
        self.target = target if target is not None else task
        self.task = with_job_options(task, options)
        """The task with the job's options."""
        self._defaults = get_parameter_defaults(self.task.fn)
        self._names = inspect.signature(self.task.fn).parameters.keys()

    def parameters(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return arguments, given by name, as Prefect's runners take them: with defaults, `**kwargs` in one."""
        parameters = {**self._defaults, **arguments}
        if parameters.keys() <= self._names:
            return parameters
        return collapse_variadic_parameters(self.task.fn, parameters)


def with_job_options(task: Task[Any, Any], options: JobOptions) -> Task[Any, Any]:
    """Return the task with the job's options for retries and timeout; its own settings hold where the job has none."""
    changes = {
        name: value
        for name, value in (
            ("retries", options.retries),
            ("retry_delay_seconds", options.retry_delay),
            ("timeout_seconds", options.timeout),
        )
        if value is not None
    }
    return task.with_options(**changes) if changes else task  # type: ignore[arg-type]

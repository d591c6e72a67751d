"""Task runs that others make: by a user's flow, or anywhere else; the feed tells how they end."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from typing import TYPE_CHECKING, Any

from prefect import Flow, flow
from prefect.futures import PrefectDistributedFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from nbfutures.errors import ItemCancelledError
from nbfutures.model.events import JobPhase
from nbfutures.model.item import Item
from nbfutures.runtime.cancelling import take_back
from nbfutures.runtime.event_loop import run_here
from nbfutures.runtime.feed import Feed
from nbfutures.runtime.flow_run import flow_settings, wait_for_futures
from nbfutures.runtime.names import flow_name, template_of
from nbfutures.runtime.outcomes import Observed, outcome_of
from nbfutures.runtime.processes.start import mend_main
from nbfutures.runtime.runners import make_flow_runner
from nbfutures.runtime.runners.inline import AtOnceRunner
from nbfutures.runtime.task_window import observe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from prefect.client.schemas.objects import RunInput
    from prefect.futures import PrefectFuture
    from prefect.tasks import Task

    from nbfutures.runtime.contracts import Run

__all__ = ["WatchedFutures", "run_flow", "watch_futures"]

_COUNT_SECONDS = 0.1


class WatchedFutures:
    """Futures that become known one by one; each is an item of the job.

    Args:
        run: The job.
        feed: Tells when a future is done.
        items: Where the items are kept.
    """

    def __init__(self, run: Run, feed: Feed, items: list[Item]) -> None:
        self._run = run
        self._feed = feed
        self._items = items
        self._futures: dict[int, tuple[PrefectFuture[Any], Observed]] = {}
        self._lock = threading.Lock()
        self._counted = 0.0

    def add(self, future: PrefectFuture[Any], seen: Observed, arguments: Mapping[str, Any]) -> None:
        """Take in a future; it is told when it is done."""
        with self._lock:
            index = len(self._items)
            # Before the state tells of it: who sees the item there may ask for it here.
            self._items.append(Item(index, arguments))
            self._futures[index] = (future, seen)
            self._run.state.grow(1)
        self._feed.watch(future, lambda: self._on_done(index))
        self._count_running()

    def follow(self, index: int, future: PrefectFuture[Any], seen: Observed) -> None:
        """Take in the future of an item that is known already."""
        self._futures[index] = (future, seen)
        self._feed.watch(future, lambda: self._on_done(index))

    def running(self) -> int:
        """Return how many are being worked on."""
        return sum(seen.started is not None and seen.ended is None for _, seen in list(self._futures.values()))

    def _count_running(self) -> None:
        # Looking at all of them for each of them would cost the square of their number.
        now = time.monotonic()
        if now - self._counted > _COUNT_SECONDS or not self._futures:
            self._counted = now
            self._run.state.set_running(self.running())

    def cancel_queued(self) -> None:
        """Take back what no worker has started, where the runner can."""
        take_back(future for future, _ in list(self._futures.values()))

    def _on_done(self, index: int) -> None:
        future, seen = self._futures[index]
        state = self._run.state
        outcome = outcome_of(future, index, now=state.clock.now(), round_=state.round_of(index), observed=seen)
        del self._futures[index]
        self._count_running()
        self._run.settle([outcome])


def watch_futures(run: Run, futures: Sequence[PrefectFuture[Any]], items: list[Item]) -> None:
    """Watch futures to their end. Blocks; on the job's thread."""
    run.state.set_phase(JobPhase.RUNNING)
    with Feed(run.name) as feed:
        watched = WatchedFutures(run, feed, items)
        run.on_cancel(watched.cancel_queued)
        for index, future in enumerate(futures):
            seen = Observed(queued=run.queued)
            watched.follow(index, _followed(future, seen), seen)


def _followed(future: PrefectFuture[Any], seen: Observed) -> PrefectFuture[Any]:
    if not isinstance(future, PrefectDistributedFuture):
        return future
    from nbfutures.runtime.background.delayed import DelayedFuture

    return DelayedFuture(future, seen)


def run_flow(
    run: Run, target: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], items: list[Item]
) -> None:
    """Run a flow of the user's, and watch the task runs that it submits. Blocks; on the job's flow thread.

    Args:
        run: The job.
        target: A flow, or a function to be made one.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        items: Where the items are kept.
    """
    # For the process pools that the flow, or one that it calls, may have.
    mend_main()
    run.state.set_phase(JobPhase.RUNNING)
    wait_for_futures(run, run.options.wait_for)
    if run.state.is_done or run.stopped.is_set():
        run.state.set_open_ended(is_open=False)
        return
    made: Flow[Any, Any] = target if isinstance(target, Flow) else _flow_of(target, run)
    try:
        with Feed(run.name) as feed:
            watched = WatchedFutures(run, feed, items)
            run.on_cancel(watched.cancel_queued)
            named = made.with_options(
                task_runner=_WatchingRunner(made.task_runner, run, watched),
                flow_run_name=made.flow_run_name or template_of(run.name),
                on_running=[*made.on_running_hooks, _NoteFlowRun(run)],
            )
            with flow_settings(run):
                run.result = _call_flow(run, named, args, kwargs)
    except BaseException as error:
        run.fail(ItemCancelledError("The flow was cancelled.") if run.stopped.is_set() else error)
    finally:
        run.state.set_open_ended(is_open=False)


def _call_flow(run: Run, named: Flow[Any, Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    def call_here() -> Any:
        called = named(*args, **kwargs)
        if not inspect.iscoroutine(called):
            return called
        return asyncio.run(called) if run.caller is None else run_here(called)

    return call_here() if run.caller is None else run.caller.call(call_here)


def _flow_of(fn: Callable[..., Any], run: Run) -> Flow[Any, Any]:
    runner = make_flow_runner(run.options, run.workers)
    made: Flow[Any, Any] = flow(name=flow_name(run.name), validate_parameters=False, task_runner=runner)(fn)
    return made


class _NoteFlowRun:
    """Tells a job which flow run is its own, as a hook of the flow.

    Prefect pickles the flow with every task that leaves the process, its hooks and its runner included: there, they
    are nothing.
    """

    def __init__(self, run: Run) -> None:
        self.__name__ = "note"
        self._run = run

    def __call__(self, flow: Any, flow_run: Any, state: Any) -> None:  # noqa: ARG002 - Prefect's names for a hook
        self._run.flow_run_id = flow_run.id

    def __reduce__(self) -> tuple[Any, ...]:
        return _no_hook, ()


def _no_hook() -> Any:
    return _do_nothing


def _do_nothing(flow: Any, flow_run: Any, state: Any) -> None:
    """Nothing, as a hook."""


def _as_it_is(runner: TaskRunner[Any]) -> TaskRunner[Any]:
    return runner


class _WatchingRunner(TaskRunner[Any]):
    """Another task runner, with everything that it submits watched."""

    def __init__(self, inner: TaskRunner[Any], run: Run, watched: WatchedFutures) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Prefect types it not
        self._inner = inner
        self._run = run
        self._watched = watched

    def __reduce__(self) -> tuple[Any, ...]:
        return _as_it_is, (self._inner,)

    def duplicate(self) -> _WatchingRunner:
        return _WatchingRunner(self._inner.duplicate(), self._run, self._watched)

    def submit(
        self,
        task: Task[Any, Any],
        parameters: dict[str, Any],
        wait_for: Iterable[PrefectFuture[Any]] | None = None,
        dependencies: dict[str, set[RunInput]] | None = None,
    ) -> PrefectFuture[Any]:
        if self._run.stopped.is_set():
            raise ItemCancelledError("The job was cancelled: nothing more is submitted.")
        clock = self._run.state.clock
        seen = Observed(queued=clock.now())
        # What leaves the process cannot be observed where it runs.
        local = isinstance(self._inner, ThreadPoolTaskRunner | AtOnceRunner)
        made = observe(task, seen, clock.now, is_watched=self._run.caller is not None) if local else task
        future: PrefectFuture[Any] = self._inner.submit(made, parameters, wait_for, dependencies)
        self._watched.add(future, seen, {"task": task.name, **parameters})
        return future

    def __enter__(self) -> Self:
        super().__enter__()
        self._inner.__enter__()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._inner.__exit__(exc_type, exc_value, traceback)
        super().__exit__(exc_type, exc_value, traceback)

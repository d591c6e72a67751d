"""Jobs whose task runs are made by others: a user's flow in the background, and futures that came from anywhere."""

from __future__ import annotations

import asyncio
import inspect
import threading
from typing import TYPE_CHECKING, Any

from prefect import Flow, flow
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from nbfutures.errors import ItemCancelledError, MapArgumentsError, NbfuturesError
from nbfutures.model.events import JobPhase
from nbfutures.model.item import Item
from nbfutures.runtime.feed import Feed
from nbfutures.runtime.flow_run import flow_settings
from nbfutures.runtime.mapping import bind, find_futures
from nbfutures.runtime.outcomes import Observed, outcome_of
from nbfutures.runtime.task_window import observe
from nbfutures.runtime.work import check_callable_flow, is_async_function, name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from prefect.client.schemas.objects import RunInput
    from prefect.tasks import Task

    from nbfutures.runtime.job_run import JobRun

__all__ = ["FlowWork", "TrackedWork"]


class _WatchedItems:
    """Items that become known one by one, each with a future."""

    def __init__(self) -> None:
        self._items: list[Item] = []
        self._futures: dict[int, tuple[PrefectFuture[Any], Observed]] = {}
        self._lock = threading.Lock()

    def item(self, index: int) -> Item:
        """Return the item at `index`."""
        return self._items[index]

    def add(self, run: JobRun, feed: Feed, future: PrefectFuture[Any], seen: Observed, arguments: Any) -> None:
        """Take in a future; it is told when it is done."""
        with self._lock:
            index = len(self._items)
            # Before the state tells of it: who sees the item there may ask for it here.
            self._items.append(Item(index, arguments))
            self._futures[index] = (future, seen)
            run.state.grow(1)
        feed.watch(future, lambda: self._on_done(run, index))

    def running(self) -> int:
        """Return how many are being worked on."""
        return sum(seen.started is not None and seen.ended is None for _, seen in list(self._futures.values()))

    def cancel_queued(self) -> None:
        """Take back what no worker has started, where the runner can."""
        for future, _ in list(self._futures.values()):
            wrapped = getattr(future, "wrapped_future", None)
            if wrapped is not None:
                wrapped.cancel()

    def _on_done(self, run: JobRun, index: int) -> None:
        future, seen = self._futures.pop(index)
        state = run.state
        state.set_running(self.running())
        run.settle(
            [outcome_of(future, index, now=state.clock.now(), round_=state.round_of(index), observed=seen)]
        )


class FlowWork:
    """A user's flow, run in the background; the task runs that it submits are the job's items.

    Args:
        target: A Prefect flow, or a function to be made one.
        args: Positional arguments.
        kwargs: Keyword arguments.

    Raises:
        MapArgumentsError: If `target` is neither, or does not take the arguments.
    """

    known_length = None

    def __init__(self, target: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        check_callable_flow(target)
        self._target = target
        self._args = args
        self._kwargs = dict(kwargs)
        bind(target.fn if isinstance(target, Flow) else target, args, kwargs)
        self._watched = _WatchedItems()

    def all_indices(self) -> Sequence[int]:
        """Return the items that are known before the flow runs: none."""
        return range(0)

    def item(self, index: int) -> Item:
        """Return the task run at `index`, in the order of their submission."""
        return self._watched.item(index)

    def replace_function(self, fn: Callable[..., Any]) -> None:
        """Refuse: a flow's task runs belong to the flow."""
        raise NbfuturesError(_NO_RETRY)

    def cancel(self, run: JobRun) -> None:
        """Take back what is queued; what the flow submits from now on is refused, so that it ends."""
        self._watched.cancel_queued()

    def execute(self, run: JobRun, indices: Sequence[int]) -> None:
        """Run the flow. Blocks; on the job's flow thread."""
        if run.stopped.is_set():
            run.state.set_open_ended(is_open=False)
            return
        run.state.set_phase(JobPhase.RUNNING)
        made = self._target if isinstance(self._target, Flow) else _flow_of(self._target, run.name)
        try:
            with Feed(run.name) as feed:
                watched = made.with_options(
                    task_runner=_WatchingRunner(made.task_runner, run, self._watched, feed),
                    flow_run_name=made.flow_run_name or run.name,
                )
                with flow_settings(run):
                    called = watched(*self._args, **self._kwargs)
                    run.result = asyncio.run(called) if inspect.iscoroutine(called) else called
        except BaseException as error:
            if run.stopped.is_set():
                run.state.set_note("cancelled")
            run.fail(error)
        finally:
            run.state.set_open_ended(is_open=False)


class TrackedWork:
    """Futures that somebody else made.

    Args:
        futures: Prefect futures, in a list or alone, or in lists, tuples, sets or dicts.

    Raises:
        MapArgumentsError: If there is none among them.
    """

    def __init__(self, futures: Any) -> None:
        self._given: list[PrefectFuture[Any]] = list(dict.fromkeys(reversed(find_futures(futures))))
        if not self._given and not (isinstance(futures, list | tuple) and not futures):
            raise MapArgumentsError(
                "track() takes Prefect futures: what task.submit(), task.map() or task.delay() return, in a list. "
                "For other work use map() or submit()."
            )
        self._watched = _WatchedItems()

    @property
    def known_length(self) -> int | None:
        """Number of futures: they are added when the job starts."""
        return None if self._given else 0

    def all_indices(self) -> Sequence[int]:
        """Return no item: they are added when the job starts."""
        return range(0)

    def item(self, index: int) -> Item:
        """Return the future at `index`."""
        return Item(index, {"future": self._given[index]})

    def replace_function(self, fn: Callable[..., Any]) -> None:
        """Refuse: who made the futures knows how to run them again."""
        raise NbfuturesError(_NO_RETRY)

    def cancel(self, run: JobRun) -> None:
        """Take back what no worker has started, where the runner can."""
        self._watched.cancel_queued()

    def execute(self, run: JobRun, indices: Sequence[int]) -> None:
        """Watch the futures to their end. Blocks; on the job's thread."""
        run.state.set_phase(JobPhase.RUNNING)
        with Feed(run.name) as feed:
            for future in self._given:
                self._watched.add(run, feed, future, Observed(queued=run.queued), {"future": future})
            run.state.set_open_ended(is_open=False)


_NO_RETRY = (
    "The task runs of this job were made by a flow or by other code, so that they cannot be retried one by one. "
    "Run that again: nbf.run(flow, ...)."
)


class _WatchingRunner(TaskRunner[Any]):
    """Another task runner, with everything that it submits watched."""

    def __init__(self, inner: TaskRunner[Any], run: JobRun, items: _WatchedItems, feed: Feed) -> None:
        super().__init__()
        self._inner = inner
        self._run = run
        self._items = items
        self._feed = feed

    @property
    def name(self) -> str:
        return self._inner.name if hasattr(self, "_inner") else "watching"

    def duplicate(self) -> _WatchingRunner:
        return _WatchingRunner(self._inner.duplicate(), self._run, self._items, self._feed)

    def submit(  # type: ignore[override]  # the overloads tell sync from async; this passes either on
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
        local = isinstance(self._inner, ThreadPoolTaskRunner)
        made = observe(task, seen, clock.now) if local else task
        future: PrefectFuture[Any] = self._inner.submit(made, parameters, wait_for, dependencies)
        self._items.add(self._run, self._feed, future, seen, {"task": task.name, **parameters})
        self._run.state.set_running(self._items.running())
        return future

    def __enter__(self) -> _WatchingRunner:
        super().__enter__()
        self._inner.__enter__()
        context = FlowRunContext.get()
        if context is not None and context.flow_run is not None:
            self._run.flow_run_id = context.flow_run.id
        return self

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        self._inner.__exit__(exc_type, exc_value, traceback)
        super().__exit__(exc_type, exc_value, traceback)


def _flow_of(fn: Callable[..., Any], name: str) -> Flow[Any, Any]:
    if is_async_function(fn) and not inspect.iscoroutinefunction(fn):
        raise MapArgumentsError(f"{name_of(fn)} is async through a wrapper; give an `async def` function or a flow.")
    made: Flow[Any, Any] = flow(fn, name=name, validate_parameters=False)
    return made

"""Tasks and flows that a watched flow calls, rather than submits.

Prefect has no place to ask about these. So the first watched flow puts a wrapper around `Task.__call__`, `Task.delay`
and `Flow.__call__`, which does nothing but where the context says that somebody watches. Prefect hands the context on
to the threads of its runners, and `asyncio` to its tasks.
"""

from __future__ import annotations

import copy
import functools
import threading
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from prefect import Flow, State, Task
from prefect.context import FlowRunContext
from prefect.utilities.callables import get_call_parameters

from nbfutures.runtime.background.delayed import DelayedFuture
from nbfutures.runtime.background.task_keys import with_steady_key
from nbfutures.runtime.outcomes import Ending, Observed
from nbfutures.runtime.tasks.observing import observe
from nbfutures.runtime.watching.watched_futures import refuse_if_cancelled
from nbfutures.runtime.watching.watching_runner import WatchingRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from nbfutures.runtime.watching.watched_futures import WatchedFutures

__all__ = ["watched_calls"]

_watcher: ContextVar[WatchedFutures | None] = ContextVar("nbfutures_watcher", default=None)
_lock = threading.Lock()
_is_installed = False


@contextmanager
def watched_calls(watched: WatchedFutures) -> Iterator[None]:
    """Within it, tasks that are called and task runs of flows that are called are watched, in whatever thread."""
    _install()
    token = _watcher.set(watched)
    try:
        yield
    finally:
        _watcher.reset(token)


def _install() -> None:
    global _is_installed  # noqa: PLW0603 - Prefect's classes are the process's
    with _lock:
        if not _is_installed:
            _is_installed = True
            Task.__call__ = _with_watched_task(Task.__call__)  # type: ignore[method-assign]  # on purpose
            Task.delay = _with_watched_delay(Task.delay)  # type: ignore[method-assign]  # on purpose
            Flow.__call__ = _with_watched_flow(Flow.__call__)  # type: ignore[method-assign]  # on purpose


def _watched() -> WatchedFutures | None:
    watched = _watcher.get()
    return watched if watched is not None and watched.is_open else None


def _with_watched_flow(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(flow: Flow[Any, Any], /, *args: Any, **kwargs: Any) -> Any:
        watched = _watched()
        if watched is None or isinstance(flow.task_runner, WatchingRunner):
            return original(flow, *args, **kwargs)
        refuse_if_cancelled(watched.run)
        twin = copy.copy(flow)
        twin.task_runner = WatchingRunner(flow.task_runner, watched)
        return original(twin, *args, **kwargs)

    return call


def _with_watched_delay(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def delay(task: Task[Any, Any], /, *args: Any, **kwargs: Any) -> Any:
        watched = _watched()
        if watched is None:
            return original(task, *args, **kwargs)
        refuse_if_cancelled(watched.run)
        seen = Observed(queued=watched.run.state.clock.now())
        served = with_steady_key(task)
        future = original(served, *args, **kwargs)
        context = FlowRunContext.get()
        flow_run = context.flow_run if context is not None else None
        watched.delayed.add(served, seen, flow_run.id if flow_run is not None else watched.run.flow_run_id)
        arguments = {"task": task.name, **_parameters(task, args, kwargs)}
        watched.add(DelayedFuture(future, seen), seen, arguments, can_leave=True)
        return future

    return delay


def _with_watched_task(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(task: Task[Any, Any], /, *args: Any, **kwargs: Any) -> Any:
        watched = _watched()
        if watched is None or task.isgenerator:
            return original(task, *args, **kwargs)
        refuse_if_cancelled(watched.run)
        called = _Call(watched, task, args, kwargs)
        if task.isasync:
            return _await_it(called, original(called.task, *args, **kwargs))
        with called:
            return called.note(original(called.task, *args, **kwargs))

    return call


async def _await_it(called: _Call, coroutine: Any) -> Any:
    # An item from when it is awaited on: a coroutine that nobody awaits never runs.
    with called:
        return called.note(await coroutine)


class _Call:
    """A call of a task; within it, it is an item of the job."""

    def __init__(
        self, watched: WatchedFutures, task: Task[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        clock = watched.run.state.clock
        self._watched = watched
        self._seen = Observed(queued=clock.now())
        self._arguments = {"task": task.name, **_parameters(task, args, kwargs)}
        self._ending = Ending()
        self.task = observe(task, self._seen, clock.now, is_watched=watched.run.caller is not None)

    def __enter__(self) -> None:
        self._index = self._watched.add_call(self._seen, self._arguments)

    def note(self, returned: Any) -> Any:
        """Note what the call returned, and return it."""
        self._ending = Ending(state=returned) if isinstance(returned, State) else Ending(value=returned)
        return returned

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watched.end_call(self._index, Ending(error=error) if error is not None else self._ending, self._seen)


def _parameters(task: Task[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    own = {name: value for name, value in kwargs.items() if name not in {"return_state", "wait_for"}}
    try:
        return get_call_parameters(task.fn, args, own)
    except Exception:
        # Prefect says what does not fit.
        return {}

"""Task runs that others make: by a user's flow, or anywhere else; the feed tells how they end."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any

from prefect import Flow, State, Task, flow
from prefect.context import FlowRunContext
from prefect.futures import PrefectDistributedFuture
from prefect.utilities.callables import get_call_parameters

from nbfutures.engine.calls.futures_in import find_futures
from nbfutures.engine.event_loop import run_here
from nbfutures.errors import FlowCallError, ItemCancelledError, ItemSkippedError
from nbfutures.model.events import JobPhase
from nbfutures.model.outcome import OutcomeKind
from nbfutures.prefect.background.delayed import DelayedFuture
from nbfutures.prefect.background.task_keys import with_steady_key
from nbfutures.prefect.feed import Feed
from nbfutures.prefect.flow_runs.flow_end import force_cancelled
from nbfutures.prefect.flow_runs.flow_run import flow_settings, wait_for_futures
from nbfutures.prefect.flow_runs.flow_watch import Watched, watched_in_prefect
from nbfutures.prefect.flow_runs.summaries import record_summary
from nbfutures.prefect.limits.slot_waits import SlotWaits
from nbfutures.prefect.names import flow_name, template_of
from nbfutures.prefect.outcomes import Ending, Observed, explain_not_found
from nbfutures.prefect.processes.start import mend_main
from nbfutures.prefect.runners import make_flow_runner
from nbfutures.prefect.tasks.lasting_print import lasting_print
from nbfutures.prefect.tasks.observing import observe
from nbfutures.prefect.watching.returned import returned_values
from nbfutures.prefect.watching.watched_futures import WatchedFutures, refuse_if_cancelled
from nbfutures.prefect.watching.watching_runner import WatchingRunner

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from prefect.futures import PrefectFuture

    from nbfutures.engine.contracts import Run
    from nbfutures.model.item import Item

__all__ = ["run_flow", "watch_futures"]

_LOOK_SECONDS = 0.1
_GRACE_SECONDS = 0.25
"""How long what has just been given to a worker may take to begin."""
_PATIENCE_SECONDS = 2.0
"""How long a flow may take to notice that all that it waits for has ended or will not begin."""


class CancelledFlow:
    """Takes back what has not begun, and ends the job where its flow does not end by itself then.

    Made on the job's thread, in whose context it works.

    Args:
        watched: The job's task runs.
        let_go: Ends the job without its flow, whose thread hangs; called at most once, in another thread.
    """

    def __init__(self, watched: WatchedFutures, let_go: Callable[[], None]) -> None:
        self._watched = watched
        self._let_go = let_go
        self._is_let_go = False
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._context = copy_context()
        self._flow: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None

    def begin(self) -> None:
        """Begin to cancel. Does not block; any thread, any number of times."""
        self._watched.cancel_queued()
        with self._lock:
            if self._thread is None and not self._over.is_set():
                name = f"nbfutures cancel {self._watched.run.name}"
                self._thread = threading.Thread(target=self._context.run, args=(self._work,), name=name, daemon=True)
                self._thread.start()

    def finish(self) -> bool:
        """Say that the flow has ended; return whether the job has not ended without it."""
        with self._lock:
            self._over.set()
            return not self._is_let_go

    async def awaited(self, flow: Coroutine[Any, Any, Any]) -> Any:
        """Await an async flow, so that it can be interrupted; in a task of its own."""
        task = asyncio.current_task()
        assert task is not None
        self._flow = asyncio.get_running_loop(), task
        try:
            return await flow
        finally:
            self._flow = None

    def _work(self) -> None:
        begun = time.monotonic()
        idle: float | None = None
        is_interrupted = False
        while not self._over.wait(_LOOK_SECONDS):
            now = time.monotonic()
            self._watched.cancel_queued()
            if now - begun > _GRACE_SECONDS:
                self._watched.leave()
            # A flow that waits for nothing of this kind ends by itself, as every function that runs.
            if not self._watched.has_left or self._watched.is_busy:
                idle = None
                continue
            idle = idle or now
            if now - idle < _PATIENCE_SECONDS:
                continue
            if not is_interrupted and self._interrupt():
                is_interrupted, idle = True, None
                continue
            with self._lock:
                if self._over.is_set():
                    return
                self._is_let_go = True
            self._let_go()
            return

    def _interrupt(self) -> bool:
        """Cancel the coroutine of an async flow; return whether there is one."""
        flow = self._flow
        if flow is None:
            return False
        loop, task = flow
        # It may have ended, and its loop be closed.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(task.cancel)
        return True


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


_CANCELLED = "The flow was cancelled."


def watch_futures(run: Run, futures: Sequence[PrefectFuture[Any]], items: list[Item]) -> None:
    """Watch futures to their end. Blocks; on the job's thread."""
    run.state.set_phase(JobPhase.RUNNING)
    feed = Feed(run.name)
    watched = WatchedFutures(run, feed, items)
    # The feed ends when all of them have.
    with SlotWaits(run), feed:
        run.on_cancel(watched.cancel_queued)
        for index, future in enumerate(futures):
            seen = Observed(queued=run.queued)
            watched.follow(index, _followed(future, seen), seen)


def _followed(future: PrefectFuture[Any], seen: Observed) -> PrefectFuture[Any]:
    if not isinstance(future, PrefectDistributedFuture):
        return future
    from nbfutures.prefect.background.delayed import DelayedFuture

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
    if run.state.is_done:
        return
    if run.stopped.is_set():
        raise ItemCancelledError(_CANCELLED)
    made: Flow[Any, Any] = target if isinstance(target, Flow) else _flow_of(target, run)
    note = _NoteFlowRun(run)
    feed = Feed(run.name)
    watched = WatchedFutures(run, feed, items)
    cancelled = CancelledFlow(watched, lambda: _let_go(run, note))
    failure: BaseException | None = None
    has_returned = False
    try:
        with feed, note, lasting_print():
            run.on_cancel(cancelled.begin)
            if run.stopped.is_set():
                cancelled.begin()
            named = made.with_options(
                task_runner=WatchingRunner(made.task_runner, watched),
                flow_run_name=made.flow_run_name or template_of(run.name),
                on_running=[*made.on_running_hooks, note],
            )
            try:
                with flow_settings(run), SlotWaits(run):
                    # Of a flow that yields there is no state.
                    asked = {} if named.isgenerator else {"return_state": True}
                    returned = _call_flow(run, watched, cancelled, lambda: named(*args, **asked, **kwargs))
                has_returned = named.isgenerator or returned.is_completed()
            finally:
                watched.close()
        if has_returned or returned.is_final():
            run.result = returned_values(returned)
        else:
            # It is being cancelled in Prefect.
            failure = ItemCancelledError(_CANCELLED)
    except BaseException as error:
        failure = ItemCancelledError(_CANCELLED) if run.stopped.is_set() else _explained(_cause(run, error))
    if cancelled.finish():
        _end(run, note, failure, is_cancelled=run.stopped.is_set() and not has_returned)
    elif run.flow_run_id is not None:
        # By its end, Prefect has put the flow run into another state.
        force_cancelled(run, run.flow_run_id)
    watched.delayed.close()


def _let_go(run: Run, note: _NoteFlowRun) -> None:
    """End the job of a flow that hangs in its thread."""
    # From here on, this is what tells Prefect of the job's end.
    run.thread = threading.current_thread()
    note.close()
    _end(run, note, ItemCancelledError(_CANCELLED), is_cancelled=True)


def _end(run: Run, note: _NoteFlowRun, failure: BaseException | None, *, is_cancelled: bool) -> None:
    if failure is not None:
        run.fail(failure)
    run.state.set_open_ended(is_open=False)
    if run.flow_run_id is not None and (note.is_cancelled or is_cancelled):
        # The flow itself knows of no cancel: it ended as failed, or Prefect did not take its final state.
        force_cancelled(run, run.flow_run_id)
    record_summary(run, run.flow_run_id)


def _call_flow(run: Run, futures: WatchedFutures, cancelled: CancelledFlow, call: Callable[[], Any]) -> Any:
    def call_here() -> Any:
        with watched_calls(futures):
            called = call()
            # What a flow yields is asked for here: it runs no further than somebody asks.
            if inspect.isgenerator(called):
                return [_waited(one) for one in called]
            if inspect.isasyncgen(called):
                called = _listed(called)
            if not inspect.iscoroutine(called):
                return called
            return asyncio.run(cancelled.awaited(called)) if run.caller is None else run_here(called)

    return call_here() if run.caller is None else run.caller.call(call_here)


async def _listed(generator: AsyncIterator[Any]) -> list[Any]:
    return [await asyncio.to_thread(_waited, one) async for one in generator]


def _waited(yielded: Any) -> Any:
    """Wait for the futures that a flow has yielded: with its end, Prefect cancels what has not ended."""
    for future in find_futures(yielded):
        future.wait()
    return yielded


def _flow_of(fn: Callable[..., Any], run: Run) -> Flow[Any, Any]:
    runner = make_flow_runner(run.options, run.workers)
    made: Flow[Any, Any] = flow(name=flow_name(run.name), validate_parameters=False, task_runner=runner)(fn)
    return made


class _NoteFlowRun:
    """Tells a job which flow run is its own, as a hook of the flow; within it, a cancel in Prefect is noticed.

    Prefect pickles the flow with every task that leaves the process, its hooks and its runner included: there, they
    are nothing.
    """

    def __init__(self, run: Run) -> None:
        self.__name__ = "note"
        self._run = run
        self._stack = ExitStack()
        self._seen: Watched | None = None

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody has cancelled the flow run in Prefect."""
        return self._seen is not None and self._seen.is_cancelled

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Notice nothing more."""
        self._stack.close()

    def __call__(self, flow: Any, flow_run: Any, state: Any) -> None:  # noqa: ARG002 - Prefect's names for a hook
        # Called again where Prefect tries the flow once more: in the same flow run.
        if self._run.flow_run_id != flow_run.id:
            self._run.note_flow_run(flow_run.id)
            self._seen = self._stack.enter_context(watched_in_prefect(self._run, flow_run.id))

    def __reduce__(self) -> tuple[Any, ...]:
        return _no_hook, ()


def _no_hook() -> Any:
    return _do_nothing


def _do_nothing(flow: Any, flow_run: Any, state: Any) -> None:
    """Nothing, as a hook."""


def _cause(run: Run, error: BaseException) -> BaseException:
    """Return why a task that a flow returned did not run: the first failure of the others."""
    told = run.state.outcomes() if isinstance(error, ItemSkippedError) else []
    failed = [one.error for one in told if one is not None and one.kind is OutcomeKind.FAILED]
    return failed[0] or error if failed else error


_TASKS_ONLY = frozenset({"delay", "submit", "map", "apply_async"})


def _explained(error: BaseException) -> BaseException:
    """Return an error that says what to write instead, where Prefect's does not."""
    explain_not_found(error)
    if not isinstance(error, AttributeError) or not isinstance(error.obj, Flow) or error.name not in _TASKS_ONLY:
        return error
    called = error.obj.fn.__name__
    told = FlowCallError(
        f"Flows have no .{error.name}() in Prefect 3: only tasks have. Call the flow in a task, and use that: "
        f"@task def run_{called}(*args): return {called}(*args); then run_{called}.{error.name}(...)."
    )
    return told.with_traceback(error.__traceback__)

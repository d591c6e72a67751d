"""Task runs that others make: by a user's flow, or anywhere else; the feed tells how they end."""

from __future__ import annotations

import asyncio
import inspect
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from prefect import Flow, flow
from prefect.futures import PrefectDistributedFuture

from nbfutures.errors import FlowCallError, ItemCancelledError, ItemSkippedError
from nbfutures.model.events import JobPhase
from nbfutures.model.outcome import OutcomeKind
from nbfutures.runtime.calls.futures_in import find_futures
from nbfutures.runtime.event_loop import run_here
from nbfutures.runtime.feed import Feed
from nbfutures.runtime.flow_runs.flow_end import force_cancelled
from nbfutures.runtime.flow_runs.flow_run import flow_settings, wait_for_futures
from nbfutures.runtime.flow_runs.flow_watch import Watched, watched_in_prefect
from nbfutures.runtime.flow_runs.summaries import record_summary
from nbfutures.runtime.limits.slot_waits import SlotWaits
from nbfutures.runtime.names import flow_name, template_of
from nbfutures.runtime.outcomes import Observed, explain_not_found
from nbfutures.runtime.processes.start import mend_main
from nbfutures.runtime.runners import make_flow_runner
from nbfutures.runtime.tasks.lasting_print import lasting_print
from nbfutures.runtime.watching.cancelled_flow import CancelledFlow
from nbfutures.runtime.watching.returned import returned_values
from nbfutures.runtime.watching.watched_calls import watched_calls
from nbfutures.runtime.watching.watched_futures import WatchedFutures
from nbfutures.runtime.watching.watching_runner import WatchingRunner

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from typing import Self

    from prefect.futures import PrefectFuture

    from nbfutures.model.item import Item
    from nbfutures.runtime.contracts import Run

__all__ = ["run_flow", "watch_futures"]

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

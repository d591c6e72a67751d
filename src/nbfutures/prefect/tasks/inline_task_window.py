"""Prefect tasks of the runner `inline`: called in the thread that asked for the job."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

from prefect.task_engine import TaskRunTimeoutError

from nbfutures.engine.event_loop import await_within, run_here
from nbfutures.engine.inline_executor import Interrupt
from nbfutures.engine.inline_lane import as_cancelled
from nbfutures.engine.timeouts import interrupt_after
from nbfutures.prefect.tasks.task_window import TaskWindow

if TYPE_CHECKING:
    from prefect.tasks import Task

    from nbfutures.model.outcome import Outcome
    from nbfutures.prefect.outcomes import Observed

__all__ = ["InlineTaskWindow"]


class InlineTaskWindow(TaskWindow):
    """The window of a Prefect task's job: one task run at a time, whose function is called in that thread."""

    def _observed(self, task: Task[Any, Any], index: int, seen: Observed) -> Task[Any, Any]:
        made = super()._observed(task, index, seen)
        caller, fn, limit = self._run.caller, made.fn, task.timeout_seconds
        assert caller is not None
        if made is task:
            # A generator: calling it runs nothing of it.
            return task

        def call_here(*args: Any, **kwargs: Any) -> Any:
            # Prefect's own timeout is for the thread of its engine, which waits.
            late = TaskRunTimeoutError(f"Scope timed out after {limit} second(s).")
            if task.isasync:
                return run_here(await_within(fn(*args, **kwargs), limit, late))
            with interrupt_after(limit, TaskRunTimeoutError):
                return fn(*args, **kwargs)

        @functools.wraps(fn)
        def handed_over(*args: Any, **kwargs: Any) -> Any:
            try:
                return caller.call(functools.partial(call_here, *args, **kwargs))
            except Interrupt as error:
                # What a coroutine saw of it is that it was cancelled.
                seen.error = error
                raise

        # What is left for Prefect is a plain function that waits for that thread, also where it is a coroutine there.
        del handed_over.__wrapped__
        handed_over.__signature__ = inspect.signature(fn)  # type: ignore[attr-defined]
        made.fn = handed_over
        made.isasync = False
        return made

    def _ending(self, outcome: Outcome, seen: Observed) -> Outcome | None:
        told = super()._ending(outcome, seen)
        return as_cancelled(told) if told is not None else None

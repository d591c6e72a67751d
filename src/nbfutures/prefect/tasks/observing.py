"""What is seen of a Prefect task's function in the thread that runs it."""

from __future__ import annotations

import copy
import functools
import inspect
import threading
import time
from typing import TYPE_CHECKING, Any

from prefect.context import TaskRunContext

from nbfutures.engine import capture
from nbfutures.engine.forked_children import end_if_forked, forks
from nbfutures.engine.shared_loop import home_loop
from nbfutures.prefect.tasks.cache_keys import watch_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from prefect.tasks import Task

    from nbfutures.prefect.outcomes import Observed

__all__ = ["observe"]


def observe(
    task: Task[Any, Any],
    seen: Observed,
    now: Callable[[], float],
    cpu_clock: Callable[[], float] = time.thread_time,
    *,
    is_watched: bool = False,
) -> Task[Any, Any]:
    """Return a copy of a task that notes in `seen` when and where its function runs.

    Args:
        task: Any task; one whose function is a generator is returned as it is.
        seen: Filled in by the thread that runs the function.
        now: Tells the time in seconds since the epoch.
        cpu_clock: Tells the CPU seconds of the calling thread.
        is_watched: Whether somebody may debug it.
    """
    fn = task.fn
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        return task
    is_async = inspect.iscoroutinefunction(fn)
    sink = capture.OutputSink(lets_debuggers_speak=is_watched)
    attempt = functools.partial(_Attempt, seen, sink, now, cpu_clock, is_async=is_async)
    if is_async:

        @functools.wraps(fn)
        async def observed_async(*args: Any, **kwargs: Any) -> Any:
            with attempt(), capture.into(sink):
                return await fn(*args, **kwargs)

        made: Any = observed_async
    else:

        @functools.wraps(fn)
        def observed_sync(*args: Any, **kwargs: Any) -> Any:
            with attempt(), capture.into(sink):
                return fn(*args, **kwargs)

        made = observed_sync
    twin = copy.copy(task)
    twin.fn = made
    watch_key(twin, functools.partial(setattr, seen, "uncached"))
    return twin


class _Attempt:
    """One run of the function; noted while it is entered."""

    def __init__(
        self,
        seen: Observed,
        sink: capture.OutputSink,
        now: Callable[[], float],
        cpu_clock: Callable[[], float],
        *,
        is_async: bool,
    ) -> None:
        self._seen = seen
        self._sink = sink
        self._now = now
        self._cpu_clock = cpu_clock
        self._is_async = is_async
        self._cpu_started = 0.0
        self._forks = 0

    def __enter__(self) -> None:
        self._forks = forks.count
        capture.renew()
        seen = self._seen
        seen.worker, seen.task_run_id = _worker_name(), _task_run_id()
        seen.home = home_loop() if self._is_async else None
        seen.begin(self._now())
        self._cpu_started = self._cpu_clock()

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        end_if_forked(self._forks, error)
        seen = self._seen
        # In a shared loop, what others use in between would count as well; a clock of its own says that there are none.
        is_alone = seen.home is None or self._cpu_clock is not time.thread_time
        seen.cpu_seconds = self._cpu_clock() - self._cpu_started if is_alone else None
        seen.ended = self._now()
        seen.output = self._sink.take()
        seen.error = error
        # From the user's function on: Prefect's frames come before it while the error goes up.
        seen.traceback = error.__traceback__.tb_next if error is not None and error.__traceback__ else None


def _task_run_id() -> UUID | None:
    context = TaskRunContext.get()
    return context.task_run.id if context is not None else None


def _worker_name() -> str:
    """Name the current thread as people count: "thread 1" is the pool's first."""
    if threading.current_thread() is threading.main_thread():
        return "main thread"
    name = threading.current_thread().name.removeprefix("nbfutures ")
    _, _, number = name.rpartition("_")
    return f"thread {int(number) + 1}" if number.isdigit() else name

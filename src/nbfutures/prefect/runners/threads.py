"""Items in threads of the kernel, on Prefect's `ThreadPoolTaskRunner`."""

from __future__ import annotations

import functools
import threading
import uuid
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any

from prefect.futures import PrefectConcurrentFuture
from prefect.task_engine import run_task_async
from prefect.task_runners import ThreadPoolTaskRunner

from nbfutures.engine.calls.futures_in import find_futures
from nbfutures.engine.countdown import Countdown
from nbfutures.engine.shared_loop import BoundedLoop
from nbfutures.prefect.jobs.futures import ItemFuture, JobFuture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

    from prefect.client.schemas.objects import RunInput
    from prefect.futures import PrefectFuture
    from prefect.tasks import Task

    from nbfutures.model.options import JobOptions

__all__ = ["ThreadsRunner", "make", "make_for_flow", "nesting", "when_done"]

nesting: ContextVar[int] = ContextVar("nbfutures_nesting", default=0)
"""How many task runs of the current job enclose the code that runs."""


class ThreadsRunner(ThreadPoolTaskRunner[Any]):
    """A thread pool in which a task may wait for tasks that it submits itself.

    A task that a task submits goes to a pool of its own level: a parent that waits holds no thread that its children
    need, so that a pool of any size comes to an end (PrefectHQ/prefect#17060).

    Args:
        max_workers: Threads for the job's own task runs; one is started when it is needed.
        nested: Threads for each level of task runs that task runs submit; as many if not given.
    """

    def __init__(self, max_workers: int, nested: int | None = None) -> None:
        super().__init__(max_workers=max_workers)
        self._nested = nested or max_workers
        self._levels: dict[int, ThreadPoolTaskRunner[Any]] = {}
        self._coroutines: dict[int, BoundedLoop] = {}
        self._levels_lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        # Prefect pickles the flow, and so its runner, with the arguments of what it delays.
        return ThreadsRunner, (self._max_workers, self._nested)

    def duplicate(self) -> ThreadsRunner:
        """Return a new runner of the same sizes."""
        return ThreadsRunner(self._max_workers, self._nested)

    def submit(
        self,
        task: Task[Any, Any],
        parameters: dict[str, Any],
        wait_for: Iterable[PrefectFuture[Any]] | None = None,
        dependencies: dict[str, set[RunInput]] | None = None,
    ) -> PrefectConcurrentFuture[Any]:
        """Run a task in a thread of the pool of the caller's level. Never blocks."""
        level = nesting.get()
        if task.isasync:
            return self._submit_async(level, task, parameters, wait_for, dependencies)
        # The pool copies the caller's context into the worker.
        token = nesting.set(level + 1)
        try:
            if level == 0:
                return super().submit(task, parameters, wait_for, dependencies)
            return self._level(level).submit(task, parameters, wait_for, dependencies)
        finally:
            nesting.reset(token)

    def _submit_async(
        self,
        level: int,
        task: Task[Any, Any],
        parameters: dict[str, Any],
        wait_for: Iterable[PrefectFuture[Any]] | None,
        dependencies: dict[str, set[RunInput]] | None,
    ) -> PrefectConcurrentFuture[Any]:
        """Run an async task in the shared event loop: as many as there would be threads, without a thread for each."""
        run_id = uuid.uuid4()
        upstream = list(wait_for or ())
        future: Future[Any] = Future()
        bounded = self._bounded(level)
        given: dict[str, Any] = {
            "task": task,
            "task_run_id": run_id,
            "parameters": parameters,
            "wait_for": upstream,
            "return_type": "state",
            "dependencies": dependencies,
            "context": {"cancel_event": threading.Event()},
        }
        context = copy_context()
        context.run(nesting.set, level + 1)
        # Prefect's engine does not await what a task depends on: it would block the loop that this needs, perhaps.
        when_done(
            find_futures([parameters, upstream]),
            lambda: context.run(bounded.submit, functools.partial(run_task_async, **given), future),
        )
        return PrefectConcurrentFuture(task_run_id=run_id, wrapped_future=future)

    def let_go(self, future: PrefectFuture[Any]) -> None:
        """Give the place of an async task that was given up on to another."""
        wrapped = getattr(future, "wrapped_future", None)
        if wrapped is not None:
            with self._levels_lock:
                coroutines = list(self._coroutines.values())
            for bounded in coroutines:
                bounded.let_go(wrapped)

    def _bounded(self, level: int) -> BoundedLoop:
        with self._levels_lock:
            if level not in self._coroutines:
                self._coroutines[level] = BoundedLoop(self._nested if level else self._max_workers)
            return self._coroutines[level]

    def _level(self, level: int) -> ThreadPoolTaskRunner[Any]:
        with self._levels_lock:
            if level not in self._levels:
                self._levels[level] = ThreadPoolTaskRunner[Any](max_workers=self._nested).__enter__()
            return self._levels[level]

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Cancel what is queued and wait for what runs."""
        super().__exit__(exc_type, exc_value, traceback)
        with self._levels_lock:
            levels = [self._levels.pop(level) for level in sorted(self._levels)]
            coroutines = list(self._coroutines.values())
        for bounded in coroutines:
            bounded.close()
        for pool in levels:
            pool.__exit__(exc_type, exc_value, traceback)


def when_done(futures: Sequence[PrefectFuture[Any]], then: Callable[[], None]) -> None:
    """Call `then` once futures have ended, in whatever way; at once if they have. Does not block."""
    if not futures:
        then()
        return
    countdown = Countdown(len(futures), then)
    others: list[PrefectFuture[Any]] = []
    for future in futures:
        if isinstance(future, PrefectConcurrentFuture | ItemFuture | JobFuture):
            future.add_done_callback(lambda _: countdown())
        else:
            others.append(future)

    def wait() -> None:
        for future in others:
            # How it ended is for Prefect's engine to find out.
            with suppress(Exception, CancelledError):
                future.wait()
            countdown()

    if others:
        # Some of Prefect's futures hold one callback for each run, which may be somebody else's.
        threading.Thread(target=copy_context().run, args=(wait,), name="nbfutures upstream", daemon=True).start()


def make(options: JobOptions, size: int, nested: int) -> ThreadsRunner:  # noqa: ARG001 - as every runner's
    """Return a runner with `size` threads, and `nested` for each level below."""
    return ThreadsRunner(size, nested)


def make_for_flow(options: JobOptions, workers: int) -> ThreadsRunner:  # noqa: ARG001 - as every runner's
    """Return a bounded pool in which tasks may wait for tasks: Prefect's default starts a thread for every task."""
    return ThreadsRunner(workers)

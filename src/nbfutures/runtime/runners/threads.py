"""Items in threads of the kernel, on Prefect's `ThreadPoolTaskRunner`."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from prefect.task_runners import ThreadPoolTaskRunner

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from prefect.client.schemas.objects import RunInput
    from prefect.futures import PrefectConcurrentFuture, PrefectFuture
    from prefect.tasks import Task

    from nbfutures.model.options import JobOptions

__all__ = ["ThreadsRunner", "make", "make_for_flow", "nesting"]

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
        self._levels_lock = threading.Lock()

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
        # The pool copies the caller's context into the worker.
        token = nesting.set(level + 1)
        try:
            if level == 0:
                return super().submit(task, parameters, wait_for, dependencies)
            return self._level(level).submit(task, parameters, wait_for, dependencies)
        finally:
            nesting.reset(token)

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
        for pool in levels:
            pool.__exit__(exc_type, exc_value, traceback)


def make(options: JobOptions, size: int, nested: int) -> ThreadsRunner:  # noqa: ARG001 - as every runner's
    """Return a runner with `size` threads, and `nested` for each level below."""
    return ThreadsRunner(size, nested)


def make_for_flow(options: JobOptions, workers: int) -> ThreadsRunner:  # noqa: ARG001 - as every runner's
    """Return a bounded pool in which tasks may wait for tasks: Prefect's default starts a thread for every task."""
    return ThreadsRunner(workers)

"""Items one after the other in the thread that asks for them, for debugging and where there are no threads to spare.

In a notebook that is the kernel's main thread: `map` returns when all items have ended, `breakpoint()` in an item opens
the debugger in the cell, and an interrupt meets the item that runs. The parts:

- `nbfutures.engine.inline_executor`: the thread that asked waits there, and makes the calls of the items;
- `nbfutures.engine.inline_lane` and `nbfutures.prefect.tasks.inline_task_window`: hand each call over to it;
- here: where Prefect's engine runs. For a job that is a thread beside, so that an interrupt cannot meet the engine. The
  task runs of a flow (`nbf.run`) run where the flow submits them, engine included.
"""

from __future__ import annotations

import concurrent.futures
import threading
import uuid
from typing import TYPE_CHECKING, Any

from prefect.futures import PrefectConcurrentFuture
from prefect.task_engine import run_task_async, run_task_sync
from prefect.task_runners import TaskRunner

from nbfutures.engine.event_loop import run_here
from nbfutures.prefect.runners.threads import ThreadsRunner

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prefect.client.schemas.objects import RunInput
    from prefect.futures import PrefectFuture
    from prefect.tasks import Task

    from nbfutures.model.options import JobOptions

__all__ = ["AtOnceRunner", "make", "make_for_flow"]


class AtOnceRunner(TaskRunner[PrefectConcurrentFuture[Any]]):
    """Runs a task to its end where and when it is submitted; `submit` returns a future that is done."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Prefect types it not

    def duplicate(self) -> AtOnceRunner:
        """Return another one."""
        return AtOnceRunner()

    def submit(
        self,
        task: Task[Any, Any],
        parameters: dict[str, Any],
        wait_for: Iterable[PrefectFuture[Any]] | None = None,
        dependencies: dict[str, set[RunInput]] | None = None,
    ) -> PrefectConcurrentFuture[Any]:
        """Run a task in the current thread. Blocks until it has ended."""
        run_id = uuid.uuid4()
        given: dict[str, Any] = {
            "task": task,
            "task_run_id": run_id,
            "parameters": parameters,
            "wait_for": wait_for,
            "return_type": "state",
            "dependencies": dependencies,
            "context": {"cancel_event": threading.Event()},
        }
        done: concurrent.futures.Future[Any] = concurrent.futures.Future()
        done.set_result(run_here(run_task_async(**given)) if task.isasync else run_task_sync(**given))
        return PrefectConcurrentFuture(task_run_id=run_id, wrapped_future=done)

    def cancel_all(self) -> None:
        """Nothing: nothing waits."""


def make(options: JobOptions, size: int, nested: int) -> ThreadsRunner:  # noqa: ARG001 - as every runner's
    """Return where the engine runs while the items are called in the thread that asked for the job."""
    return ThreadsRunner(size, nested)


def make_for_flow(options: JobOptions, workers: int) -> AtOnceRunner:  # noqa: ARG001 - as every runner's
    """Return a runner that runs each task where the flow submits it."""
    return AtOnceRunner()

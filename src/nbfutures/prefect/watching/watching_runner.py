"""A task runner around another one, whose task runs are watched."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from nbfutures.engine.workers.hub import get_hub
from nbfutures.prefect.outcomes import Observed
from nbfutures.prefect.processes.start import use_worker_context
from nbfutures.prefect.remote.observing import Ticket, observe_elsewhere
from nbfutures.prefect.runners.inline import AtOnceRunner
from nbfutures.prefect.tasks.observing import observe
from nbfutures.prefect.watching.watched_futures import refuse_if_cancelled

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Self

    from prefect.client.schemas.objects import RunInput
    from prefect.futures import PrefectFuture
    from prefect.tasks import Task

    from nbfutures.prefect.watching.watched_futures import WatchedFutures


__all__ = ["WatchingRunner"]

_numbers = itertools.count(1)


class WatchingRunner(TaskRunner[Any]):
    """Another task runner, with everything that it submits watched.

    Args:
        inner: The runner that does the work. A process that gets this one gets only that.
        watched: Where the task runs are kept.
    """

    def __init__(self, inner: TaskRunner[Any], watched: WatchedFutures) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Prefect types it not
        self._inner = inner
        self._watched = watched

    def __reduce__(self) -> tuple[Any, ...]:
        return _as_it_is, (self._inner,)

    def duplicate(self) -> WatchingRunner:
        """Return another one around another runner, as Prefect asks for each flow run."""
        return WatchingRunner(self._inner.duplicate(), self._watched)

    def submit(
        self,
        task: Task[Any, Any],
        parameters: dict[str, Any],
        wait_for: Iterable[PrefectFuture[Any]] | None = None,
        dependencies: dict[str, set[RunInput]] | None = None,
    ) -> PrefectFuture[Any]:
        """Have the runner within run a task; the task run is an item of the job."""
        run = self._watched.run
        future: PrefectFuture[Any]
        if not self._watched.is_open:
            future = self._inner.submit(task, parameters, wait_for, dependencies)
            return future
        refuse_if_cancelled(run)
        clock = run.state.clock
        seen = Observed(queued=clock.now())
        # Elsewhere, nobody knows here at once that a function begins, nor can keep it from that.
        is_here = isinstance(self._inner, ThreadPoolTaskRunner | AtOnceRunner)
        if is_here:
            made = observe(task, seen, clock.now, is_watched=run.caller is not None)
            future = self._inner.submit(made, parameters, wait_for, dependencies)
        elif isinstance(self._inner, ProcessPoolTaskRunner):
            hub = get_hub()
            name = f"task run {next(_numbers)} of {run.key}"
            ticket = Ticket(name, seen, None, hub)
            future = self._inner.submit(observe_elsewhere(task, name, hub.route), parameters, wait_for, dependencies)
            future.add_done_callback(lambda _: ticket.close())
        else:
            # On a cluster of the user's, whose workers may not reach the kernel.
            future = self._inner.submit(task, parameters, wait_for, dependencies)
        can_leave = is_here and not task.isgenerator
        self._watched.add(future, seen, {"task": task.name, **parameters}, can_leave=can_leave)
        return future

    def __enter__(self) -> Self:
        super().__enter__()
        self._inner.__enter__()
        # What starts the processes goes there by reference: one of the script's own needs the script.
        if isinstance(self._inner, ProcessPoolTaskRunner) and not _is_of_script(self._inner._initializer):
            use_worker_context(self._inner._executor, is_preloaded=False)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._inner.__exit__(exc_type, exc_value, traceback)
        super().__exit__(exc_type, exc_value, traceback)


def _is_of_script(fn: Any) -> bool:
    return getattr(fn, "__module__", "__main__" if fn is not None else None) == "__main__"


def _as_it_is(runner: TaskRunner[Any]) -> TaskRunner[Any]:
    return runner

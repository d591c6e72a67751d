"""Lanes as task runs of Prefect, in threads of the kernel."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext
from prefect.states import Completed, Failed

from nbfutures.prefect.names import template_of
from nbfutures.prefect.outcomes import problem_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from prefect.client.schemas.objects import State
    from prefect.task_runners import TaskRunner

    from nbfutures.engine.lanes import Lane
    from nbfutures.prefect.feed import Feed

__all__ = ["TaskRunLanes"]

_lanes: dict[str, Lane] = {}
_numbers = itertools.count(1)


@task(name="lane", persist_result=False, cache_policy=NO_CACHE)
def run_lane(lane: str) -> State[Any]:
    """Work through items; the argument is a name, so that Prefect has nothing to look through or to store."""
    context = TaskRunContext.get()
    working = _lanes[lane]
    failed = working.run(context.task_run.id if context else None)
    told = f"{working.pulled:,} items" + (f", {failed:,} failed" if failed else "")
    return Failed(message=told) if failed else Completed(message=told, data=working.pulled)


class TaskRunLanes:
    """Starts each lane in a task run of its own.

    Args:
        name: Name of the job.
        runner: Where the task runs run.
        feed: Tells when a task run is done.
    """

    def __init__(self, name: str, runner: TaskRunner[Any], feed: Feed) -> None:
        self._name = name
        self._runner = runner
        self._feed = feed

    def __call__(self, lane: Lane, number: int, on_done: Callable[[BaseException | None], None]) -> None:
        """Start a lane; within the job's flow run."""
        key = f"{self._name} {number} ({next(_numbers)})"
        _lanes[key] = lane
        named = run_lane.with_options(name=self._name, task_run_name=template_of(f"{self._name} {number}"))
        future = self._runner.submit(named, {"lane": key})

        def tell() -> None:
            del _lanes[key]
            on_done(problem_of(future))

        self._feed.watch(future, tell)

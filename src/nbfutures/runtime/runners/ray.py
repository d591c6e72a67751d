"""Items on Ray, on prefect-ray's `RayTaskRunner`."""

from __future__ import annotations

import concurrent.futures
from typing import TYPE_CHECKING, Any, Self

import ray
from prefect.client.schemas.objects import State
from prefect_ray.task_runners import PrefectRayFuture, RayTaskRunner

from nbfutures.runtime.clusters.ray import RayCluster, get_cluster
from nbfutures.runtime.runners.on_cluster import OnCluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from uuid import UUID

    from prefect.client.schemas.objects import RunInput
    from prefect.futures import PrefectFuture
    from prefect.tasks import Task

    from nbfutures.model.options import JobOptions

__all__ = ["RayRunner", "make", "make_for_flow"]


class RayFuture(PrefectRayFuture[Any]):  # type: ignore[misc]  # prefect-ray has no types
    """A future that tells of a worker's end, which prefect-ray's own makes a state of.

    It never asks Ray: where Ray is not there any more, that would start another one.

    Args:
        task_run_id: The task run.
        wrapped_future: Where Ray has what comes of it: an `ObjectRef`.
        answer: Gets what comes of it.
    """

    _final_state: State[Any] | None

    def __init__(self, task_run_id: UUID, wrapped_future: Any, answer: concurrent.futures.Future[Any]) -> None:
        super().__init__(task_run_id=task_run_id, wrapped_future=wrapped_future)
        self._answer = answer

    def __reduce__(self) -> tuple[Any, ...]:
        # It goes to the workers with a task that waits for it: there, Ray can be asked.
        return PrefectRayFuture, (self.task_run_id, self.wrapped_future)

    def wait(self, timeout: float | None = None) -> None:
        """Block until the task run is done, or for so many seconds.

        Raises:
            Exception: What Ray says of a task that its workers could not run.
        """
        if self._final_state is None and concurrent.futures.wait([self._answer], timeout).done:
            ended = self._answer.result()
            if isinstance(ended, State):
                self._final_state = ended

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> Any:
        """Block until the task run is done, and return its value.

        Raises:
            TimeoutError: If it is not done after so many seconds.
        """
        self.wait(timeout)
        if self._final_state is not None:
            return super().result(raise_on_failure=raise_on_failure)
        if not self._answer.done():
            raise TimeoutError(f"Task run {self.task_run_id} did not complete within {timeout} seconds")
        return self._answer.result()

    def add_done_callback(self, fn: Callable[[RayFuture], Any]) -> None:
        """Have `fn` called with this future when the task run is done; at once if it is."""
        self._answer.add_done_callback(lambda _: fn(self))


class RayRunner(OnCluster, RayTaskRunner[Any]):  # type: ignore[misc]  # prefect-ray has no types
    """Submits to a Ray that stays connected between jobs.

    Args:
        cluster: Ray as the kernel sees it.
    """

    cluster: RayCluster
    cluster_name = "Ray"
    deaths_allowed = 3
    """As `max_retries` of Ray's own tasks."""

    def __init__(self, cluster: RayCluster) -> None:
        super().__init__()
        self.cluster = cluster

    def __reduce__(self) -> tuple[Any, ...]:
        # It goes to the workers with the flow: there, it finds the Ray that it is on.
        return RayTaskRunner, ()

    @property
    def capacity(self) -> int:
        """How many task runs the cluster can run at once."""
        return self.cluster.cpus()

    def submit(
        self,
        task: Task[Any, Any],
        parameters: dict[str, Any],
        wait_for: Iterable[PrefectFuture[Any]] | None = None,
        dependencies: dict[str, set[RunInput]] | None = None,
    ) -> RayFuture:
        """Run a task on the cluster. Does not block.

        Raises:
            ConnectionAbortedError: If the cluster was let go of.
        """
        self.cluster.check_connected()
        made = super().submit(task, parameters, wait_for, dependencies)
        return RayFuture(made.task_run_id, made.wrapped_future, self.cluster.answer(made.wrapped_future))

    def __enter__(self) -> Self:
        """Use the connection."""
        super().__enter__()
        self.cluster.users += 1
        return self

    def __exit__(self, *raised: object) -> None:
        """Keep it for the next job."""
        self.cluster.users -= 1
        super().__exit__(*raised)

    def let_go(self, future: PrefectFuture[Any]) -> None:
        """Nothing: Ray knows itself who is free."""

    def take_back(self, future: RayFuture) -> None:
        """Have a task not run, if it has not begun."""
        if self.cluster.is_connected:
            ray.cancel(future.wrapped_future, force=False)

    def kill(self, future: Any) -> bool:
        """End the process that runs a task."""
        if self.cluster.is_connected:
            ray.cancel(future.wrapped_future, force=True)
        return True

    def is_death(self, error: BaseException | None) -> bool:
        """Tell whether an error is a worker's end, not a task's."""
        deaths = (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError, ray.exceptions.TaskCancelledError)
        return isinstance(error, deaths)


def make(options: JobOptions, size: int, nested: int) -> RayRunner:  # noqa: ARG001 - as every runner's
    """Return a runner on the cluster that the options name. Blocks while that starts, or is connected to.

    Raises:
        ClusterUnreachableError: If no cluster answers at the address.
    """
    return RayRunner(get_cluster(options.address, options.workers))


def make_for_flow(options: JobOptions, workers: int) -> RayRunner:
    """As `make`: Ray queues what it is given."""
    return make(options, workers, workers)

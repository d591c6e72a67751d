"""Items on a Dask cluster, on prefect-dask's `DaskTaskRunner`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask
import distributed
from prefect.client.schemas.objects import State
from prefect_dask.task_runners import DaskTaskRunner, PrefectDaskFuture

from nbfutures.runtime.clusters.dask import DaskCluster, get_cluster
from nbfutures.runtime.runners.on_cluster import OnCluster

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prefect.client.schemas.objects import RunInput
    from prefect.tasks import Task
    from prefect_dask.client import PrefectDaskClient

    from nbfutures.model.options import JobOptions

__all__ = ["DaskRunner", "make"]


class DaskFuture(PrefectDaskFuture[Any]):
    """A future that tells of a worker's end and of a cancel, which prefect-dask's own keeps to itself."""

    def wait(self, timeout: float | None = None) -> None:
        """Block until the task run is done, or for so many seconds.

        Raises:
            CancelledError: If it was cancelled.
            Exception: What Dask says of a task that its workers could not run.
        """
        if self._final_state is not None:
            return
        try:
            ended = self.wrapped_future.result(timeout=timeout)
        except distributed.TimeoutError:
            return
        if isinstance(ended, State):
            self._final_state = ended


class DaskRunner(OnCluster, DaskTaskRunner):
    """Submits to a cluster that stays connected between jobs.

    Args:
        cluster: The cluster.
    """

    cluster: DaskCluster
    cluster_name = "Dask"

    def __init__(self, cluster: DaskCluster) -> None:
        super().__init__(address=cluster.address)
        self.cluster = cluster

    def __reduce__(self) -> tuple[Any, ...]:
        # It goes to the workers with the flow: there, it finds the cluster that it is on.
        return DaskTaskRunner, ()

    @property
    def client(self) -> PrefectDaskClient:
        """The kernel's client of the cluster."""
        return self.cluster.client

    @property
    def capacity(self) -> int:
        """How many task runs the cluster can run at once."""
        return self.cluster.threads()

    @property
    def deaths_allowed(self) -> int:
        """How often an item whose worker died is run again: what Dask is configured to do with a task."""
        return int(dask.config.get("distributed.scheduler.allowed-failures", 3))

    def submit(  # type: ignore[override]  # prefect-dask's own differs from Prefect's, too
        self,
        task: Task[Any, Any],
        parameters: dict[str, Any],
        wait_for: Iterable[PrefectDaskFuture[Any]] | None = None,
        dependencies: dict[str, set[RunInput]] | None = None,
    ) -> DaskFuture:
        """Run a task on the cluster. Does not block."""
        made = super().submit(task, parameters, wait_for, dependencies)
        return DaskFuture(task_run_id=made.task_run_id, wrapped_future=made.wrapped_future)

    def take_back(self, future: DaskFuture) -> None:
        """Have a task not run, if it has not begun; what it makes is forgotten if it has."""
        future.wrapped_future.cancel()

    def let_go(self, future: DaskFuture) -> None:
        """Have Dask forget a task that is done; it knows itself who is free."""
        if future.wrapped_future.done():
            future.wrapped_future.release()

    def kill(self, future: Any) -> bool:
        """End the worker that runs a task, if it is the kernel's own; others may be busy for other people."""
        if self.cluster.is_local:
            self.cluster.kill_worker_of(future.wrapped_future)
        return self.cluster.is_local

    def is_death(self, error: BaseException | None) -> bool:
        """Tell whether an error is a worker's end, not a task's."""
        return isinstance(error, distributed.KilledWorker)

    def __exit__(self, *_: object) -> None:
        """Keep the connection for the next job."""
        self._started = False


def make(options: JobOptions, size: int, nested: int) -> DaskRunner:  # noqa: ARG001 - as every runner's
    """Return a runner on the cluster that the options name. Blocks while that starts, or is connected to.

    Raises:
        ClusterUnreachableError: If no scheduler answers at the address.
    """
    return DaskRunner(get_cluster(options.address, options.workers))


def make_for_flow(options: JobOptions, workers: int) -> DaskRunner:
    """As `make`: Dask queues what it is given."""
    return make(options, workers, workers)

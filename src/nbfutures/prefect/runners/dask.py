"""Items on a Dask cluster, on prefect-dask's `DaskTaskRunner`."""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import logging
import os
import signal
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import dask
import distributed
from prefect.client.schemas.objects import State
from prefect_dask.client import PrefectDaskClient
from prefect_dask.task_runners import DaskTaskRunner, PrefectDaskFuture

from nbfutures.engine.cpus import usable_cpus
from nbfutures.engine.workers.mailbox import MailPost, connect_by_mail
from nbfutures.errors import ClusterUnreachableError
from nbfutures.prefect.processes.start import mend_main
from nbfutures.prefect.runners.on_cluster import OnCluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prefect.client.schemas.objects import RunInput
    from prefect.tasks import Task

    from nbfutures.engine.workers.contracts import Connection
    from nbfutures.model.options import JobOptions

__all__ = ["DaskRunner", "make"]

_CONNECT_SECONDS = 10
_ASK_SECONDS = 2.0
_LOST_SECONDS = 3600
_PRELOADED = "nbfutures.prefect.remote.worker"
_logger = logging.getLogger(__name__)


class _Mailbox:
    """Boxes that a Dask scheduler keeps, as `distributed.Queue`s.

    Args:
        client: A client in the kernel, or the one that a worker has.
    """

    def __init__(self, client: distributed.Client) -> None:
        self._client = client
        self._boxes: dict[str, distributed.Queue] = {}
        self._lock = threading.Lock()

    def open(self, box: str) -> None:
        """Have a box."""
        self._ask(lambda: self._box(box))

    def put(self, box: str, message: bytes) -> None:
        """Put a message into a box."""
        self._ask(lambda: self._box(box).put(message))

    def take(self, box: str, timeout: float | None) -> bytes:
        """Take the first message out of a box, waiting for it."""
        taken: bytes = self._ask(lambda: self._box(box).get(timeout=timeout))
        return taken

    def drop(self, box: str, *, openers: int = 1) -> None:
        """Forget a box."""
        with self._lock:
            queue = self._boxes.pop(box, None)
        if queue is not None:
            for _ in range(openers):
                self._ask(queue.close)

    def _box(self, name: str) -> distributed.Queue:
        with self._lock:
            found = self._boxes.get(name)
        if found is None:
            found = distributed.Queue(name, client=self._client)
            with self._lock:
                found = self._boxes.setdefault(name, found)
        return found

    @staticmethod
    def _ask(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except OSError:
            raise
        except BaseException as error:
            # A client that is closed cancels what it was asked, and a box that the other end has dropped is not there.
            raise ConnectionAbortedError(f"{type(error).__name__}: {error}") from error


@dataclass(frozen=True, slots=True)
class _DaskRoute:
    """How a Dask worker reaches the kernel: by its scheduler, which is all that it can be sure to reach."""

    reception: str

    def connect(self, name: str) -> Connection:
        """Connect with who expects this name in the kernel."""
        return connect_by_mail(_Mailbox(distributed.get_client()), self.reception, name)


class DaskCluster:
    """A Dask cluster as one kernel sees it.

    Args:
        client: The kernel's client, which stays open.
        own: The cluster, if it was started here.
    """

    def __init__(self, client: PrefectDaskClient, own: distributed.LocalCluster | None = None) -> None:
        self.client = client
        self.post = MailPost(_Mailbox(client), _DaskRoute)
        self._own = own
        self._asked = float("-inf")
        self._threads = 0
        self._lock = threading.Lock()

    @property
    def is_local(self) -> bool:
        """Whether it was started by this kernel."""
        return self._own is not None

    @property
    def is_alive(self) -> bool:
        """Whether its scheduler is connected."""
        return bool(self.client.status == "running")

    @property
    def address(self) -> str:
        """Address of the scheduler."""
        return _address_of(self.client)

    @property
    def dashboard(self) -> str | None:
        """Address of Dask's dashboard; `None` if it has none, as it needs bokeh."""
        if self.is_local and importlib.util.find_spec("bokeh") is None:
            return None
        link: str | None = self.client.dashboard_link
        return link

    def threads(self) -> int:
        """Return how many tasks its workers can run at once, as it was a moment ago. Blocks for one message."""
        with self._lock:
            if time.monotonic() - self._asked > _ASK_SECONDS:
                self._threads = sum(self.client.nthreads().values())
                self._asked = time.monotonic()
            return self._threads

    def grow(self, workers: int) -> None:
        """Have as many workers, where the cluster is the kernel's own."""
        if self._own is not None and len(self._own.worker_spec) < workers:
            self._own.scale(workers)
            self.client.wait_for_workers(workers, timeout=_CONNECT_SECONDS * 6)
            self._asked = float("-inf")

    def kill_worker_of(self, future: distributed.Future[Any]) -> None:
        """End the process that runs a task, where the cluster is the kernel's own; its nanny starts another.

        Does not block.
        """

        def kill() -> None:
            try:
                running = self.client.processing()
                # Else Dask would run the task once more.
                future.cancel()
                busy = [address for address, keys in running.items() if future.key in keys]
                for nanny in list(self._own.workers.values()) if self._own is not None else []:
                    # Dask's own restart waits for the task to end.
                    if nanny.worker_address in busy and nanny.pid is not None:
                        os.kill(nanny.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
            except Exception:
                _logger.debug("A Dask worker could not be ended", exc_info=True)

        threading.Thread(target=kill, name="nbfutures kill", daemon=True).start()

    def close(self) -> None:
        """Let go of it, and end it if it was started here."""
        with contextlib.suppress(OSError):
            self.client.close(timeout=2)
        if self._own is not None:
            # Ended with the kernel in any case: its processes are daemons.
            with contextlib.suppress(OSError):
                self._own.close(timeout=5)

    @classmethod
    def start(cls, workers: int) -> Self:
        """Start a cluster of this machine, of processes with one thread each. Blocks for a second or two."""
        mend_main()
        # A worker that was ended takes its time to come back: until then, Dask is not to give it up.
        dask.config.set({"distributed.deploy.lost-worker-timeout": _LOST_SECONDS})
        own = distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            # What becomes of workers is told by the items.
            silence_logs=logging.CRITICAL,
            # The first item need not wait for Prefect to be imported.
            preload=[_PRELOADED],
        )
        return cls(PrefectDaskClient(own, set_as_default=False), own)

    @classmethod
    def connect(cls, address: str | distributed.Client) -> Self:
        """Connect to a cluster of the user's.

        Raises:
            ClusterUnreachableError: If no scheduler answers there.
        """
        security = None
        target: Any = address
        if isinstance(address, distributed.Client):
            security = address.security
            target = address.cluster or _address_of(address)
        try:
            made = PrefectDaskClient(target, set_as_default=False, security=security, timeout=_CONNECT_SECONDS)
        except (OSError, ValueError) as error:
            raise ClusterUnreachableError(
                f"No Dask scheduler answers at {target} ({error}). Start one (dask scheduler) or correct the address; "
                f"or leave address= out for a cluster of this machine. Then run job.retry()."
            ) from None
        return cls(made)


_lock = threading.Lock()
_own: DaskCluster | None = None
_others: dict[Any, DaskCluster] = {}


def get_cluster(address: str | distributed.Client | None, workers: int | None) -> DaskCluster:
    """Return the cluster to work on, connected; it is kept for the next job. Blocks while it starts.

    Args:
        address: The scheduler's, or a client of it. If not given, the user's current Dask client is taken where there
            is one, else a cluster of this machine.
        workers: How many workers a cluster of this machine is to have, at least; as many as CPUs if not given.

    Raises:
        ClusterUnreachableError: If no scheduler answers at the address.
    """
    global _own  # noqa: PLW0603 - one for each kernel
    with _lock:
        given = address if address is not None else _current_client()
        if given is not None:
            key = given if isinstance(given, str) else _address_of(given)
            found = _others.get(key)
            if found is None or not found.is_alive:
                found = _others[key] = DaskCluster.connect(given)
            return found
        if _own is None or not _own.is_alive:
            _own = DaskCluster.start(workers or usable_cpus())
            atexit.register(_own.close)
        if workers is not None:
            _own.grow(workers)
        return _own


def close() -> None:
    """Let go of all clusters, and end the kernel's own."""
    global _own  # noqa: PLW0603
    with _lock:
        closing = [*_others.values(), *([_own] if _own is not None else [])]
        _others.clear()
        _own = None
    for cluster in closing:
        atexit.unregister(cluster.close)
        cluster.close()


def _address_of(client: distributed.Client) -> str:
    if client.scheduler is None:
        raise ClusterUnreachableError("The Dask client is closed. Make a new one, and give it as address=.")
    return str(client.scheduler.address)


def _current_client() -> distributed.Client | None:
    try:
        found = distributed.default_client()
    except ValueError:
        return None
    return found if found.status == "running" else None


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

"""Items on Ray, on prefect-ray's `RayTaskRunner`."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import functools
import logging
import sys
import threading
import uuid
from collections import Counter, defaultdict
from concurrent.futures import Future, InvalidStateError, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import ray
from prefect.client.schemas.objects import State
from prefect_ray.task_runners import PrefectRayFuture, RayTaskRunner
from ray.job_config import JobConfig
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from nbfutures.engine.cpus import usable_cpus
from nbfutures.engine.workers.mailbox import MailPost, connect_by_mail
from nbfutures.errors import ClusterUnreachableError
from nbfutures.prefect.processes.start import mend_main
from nbfutures.prefect.runners.on_cluster import OnCluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from uuid import UUID

    from prefect.client.schemas.objects import RunInput
    from prefect.futures import PrefectFuture
    from prefect.tasks import Task

    from nbfutures.engine.workers.contracts import Connection
    from nbfutures.model.options import JobOptions

__all__ = ["RayRunner", "make", "make_for_flow"]

_LOOK_SECONDS = 0.5
"""Between two looks whether Ray is still there, while an answer is waited for."""
GONE = "Ray was shut down."


class Boxes:
    """Boxes, in a process that Ray keeps next to the kernel."""

    def __init__(self) -> None:
        self._boxes: defaultdict[str, asyncio.Queue[bytes]] = defaultdict(asyncio.Queue)
        self._openers: Counter[str] = Counter()

    async def answer(self) -> None:
        """Nothing: that it comes back says that this is there."""

    async def open(self, box: str) -> None:
        """Note that one more uses a box."""
        self._openers[box] += 1

    async def put(self, box: str, message: bytes) -> None:
        """Put a message into a box."""
        self._boxes[box].put_nowait(message)

    async def take(self, box: str, seconds: float | None) -> bytes | None:
        """Return the first message of a box; `None` if none comes in so many seconds."""
        try:
            return await asyncio.wait_for(self._boxes[box].get(), seconds)
        except TimeoutError:
            return None

    async def drop(self, box: str, openers: int) -> None:
        """Note that so many have done with a box, and forget it after the last one."""
        # Not before both ends have: one may not have taken the last message yet.
        self._openers[box] -= openers
        if self._openers[box] <= 0:
            self._openers.pop(box)
            self._boxes.pop(box, None)


class RayMailbox:
    """The boxes, asked from the kernel or from a worker.

    Args:
        boxes: The actor that holds them.
    """

    def __init__(self, boxes: Any) -> None:
        self._boxes = boxes
        self._opened: set[str] = set()
        self.is_closed = False
        """Whether Ray is about to be shut down: it ends the whole process where it is asked after that."""

    def open(self, box: str) -> None:
        """Have a box."""
        if box not in self._opened:
            self._opened.add(box)
            self._ask("open", box)

    def put(self, box: str, message: bytes) -> None:
        """Put a message into a box."""
        self.open(box)
        self._ask("put", box, message)

    def take(self, box: str, timeout: float | None) -> bytes:
        """Take the first message out of a box, waiting for it."""
        self.open(box)
        taken: bytes | None = self._ask("take", box, timeout)
        if taken is None:
            raise TimeoutError
        return taken

    def drop(self, box: str, *, openers: int = 1) -> None:
        """Forget a box."""
        if box in self._opened:
            self._opened.discard(box)
            self._ask("drop", box, openers)

    def _ask(self, what: str, *arguments: Any) -> Any:
        self.check()
        try:
            # Not by `ray.get`: where Ray is shut down meanwhile, that may end the whole process.
            answer: Future[Any] = getattr(self._boxes, what).remote(*arguments).future()
            while not wait([answer], _LOOK_SECONDS).done and not self.is_gone:
                pass
            return answer.result(0)
        except Exception as error:
            raise ConnectionAbortedError(f"{type(error).__name__}: {error}") from error

    @property
    def is_gone(self) -> bool:
        """Whether Ray cannot be asked any more."""
        return self.is_closed or not ray.is_initialized()

    def check(self) -> None:
        """Raise `ConnectionAbortedError` if Ray was shut down: to ask all the same would start another one."""
        if self.is_gone:
            raise ConnectionAbortedError(GONE)


@dataclass(frozen=True, slots=True)
class RayRoute:
    """How a Ray worker reaches the kernel."""

    boxes: Any
    reception: str

    def connect(self, name: str) -> Connection:
        """Connect with who expects this name in the kernel."""
        return connect_by_mail(RayMailbox(self.boxes), self.reception, name)


_AT_ONCE = 10_000
"""Calls that the boxes serve at once: each lane waits in one."""


class RayCluster:
    """The Ray that this kernel is connected to: there can be one.

    Args:
        dashboard: Address of Ray's dashboard, if it has one.
        is_own: Whether it was started, or connected to, here.
        is_local: Whether it was started here, on this machine.
        address: Where it is, as the user said.
    """

    def __init__(self, dashboard: str | None, *, is_own: bool, is_local: bool, address: str | None) -> None:
        self.address = address
        self.users = 0
        """How many flow runs are on it."""
        self.dashboard = dashboard
        self.is_own = is_own
        self.is_local = is_local
        # Next to the kernel, so that no worker's machine takes it along when it goes.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        # As Ray documents it for actors; its types know it for functions only.
        actor: Any = ray.remote(num_cpus=0, max_concurrency=_AT_ONCE, scheduling_strategy=here)  # type: ignore[call-overload]
        boxes = actor(Boxes).options(name=f"nbfutures {uuid.uuid4().hex[:8]}").remote()
        self._boxes = boxes
        self._mailbox = RayMailbox(boxes)
        self._awaited: set[Future[Any]] = set()
        self.post = MailPost(self._mailbox, functools.partial(RayRoute, boxes))

    @property
    def is_alive(self) -> bool:
        """Whether the kernel is still connected to it."""
        if not ray.is_initialized():
            return False
        try:
            ray.get(self._boxes.answer.remote(), timeout=5)
        except Exception:
            return False
        return True

    @property
    def is_connected(self) -> bool:
        """Whether Ray can be asked: after its end, that would start another one. Asks nobody."""
        return not self._mailbox.is_gone

    def check_connected(self) -> None:
        """Raise `ConnectionAbortedError` if it was let go of."""
        self._mailbox.check()

    def answer(self, ref: Any) -> Future[Any]:
        """Return a future that gets what comes of a task, or `ConnectionAbortedError` when this is let go of.

        Args:
            ref: Where Ray has it: an `ObjectRef`.
        """
        answer: Future[Any] = Future()
        self._awaited.add(answer)
        answer.add_done_callback(self._awaited.discard)
        ref.future().add_done_callback(functools.partial(_pass_on, answer))
        return answer

    def cpus(self) -> int:
        """Return how many tasks it can run at once."""
        return max(int(ray.cluster_resources().get("CPU", 1)), 1)

    def close(self) -> None:
        """Let go of it, and end it if it was started here."""
        self._mailbox.is_closed = True
        for answer in list(self._awaited):
            with suppress(InvalidStateError):
                answer.set_exception(ConnectionAbortedError(GONE))
        if self.is_own:
            ray.shutdown()


def _pass_on(answer: Future[Any], from_ray: Future[Any]) -> None:
    # It may have been let go of at the same moment.
    with suppress(InvalidStateError):
        error = from_ray.exception()
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(from_ray.result())


_lock = threading.Lock()
_cluster: RayCluster | None = None


def get_cluster(address: str | None, workers: int | None) -> RayCluster:
    """Return the cluster to work on, connected; it is kept for the next job. Blocks while it starts.

    Args:
        address: As `ray.init` takes it. If not given, what the kernel is connected to already, else one of this
            machine.
        workers: CPUs of a cluster of this machine; all if not given.

    Raises:
        ClusterUnreachableError: If no cluster answers at the address.
    """
    global _cluster  # noqa: PLW0603 - Ray has one for each process
    with _lock:
        if _cluster is not None and address not in (None, _cluster.address):
            _leave(_cluster, address)
            _cluster = None
        if _cluster is None or not _cluster.is_alive:
            _cluster = _connect(address, workers)
            atexit.register(_cluster.close)
        return _cluster


def _leave(cluster: RayCluster, address: str | None) -> None:
    if not cluster.is_own:
        raise _occupied(address, "the notebook made that itself: ray.shutdown()")
    if cluster.users:
        raise _occupied(address, "jobs run on it: wait for them")
    atexit.unregister(cluster.close)
    cluster.close()


def _occupied(address: str | None, why: str) -> ClusterUnreachableError:
    return ClusterUnreachableError(
        f"Cannot connect to Ray at {address}: a kernel can be connected to one Ray, this one is to another, and {why}. "
        f"Then run job.retry()."
    )


_STARTS = 3
"""Times that Ray is started on this machine before that has failed."""


def _connect(address: str | None, workers: int | None) -> RayCluster:
    if ray.is_initialized():
        if address is not None and address != ray.get_runtime_context().gcs_address:
            raise _occupied(address, "the notebook made that itself: ray.shutdown()")
        return RayCluster(None, is_own=False, is_local=False, address=address)
    mend_main()
    url = _in_a_thread_that_stays(lambda: _start(address, workers))
    return RayCluster(f"http://{url}" if url else None, is_own=True, is_local=address is None, address=address)


def _start(address: str | None, workers: int | None) -> str | None:
    # What becomes of items is told by them; a worker's log stays in Ray.
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL, "namespace": "prefect"}
    if address is None:
        # Ray counts a CPU for each task: more of them are more tasks at once.
        cpus = max(workers or 0, usable_cpus())
        # Its workers find the modules that the kernel finds.
        job = JobConfig(code_search_path=[str(Path(one).absolute()) for one in sys.path])
        for more in reversed(range(_STARTS)):
            try:
                context: Any = ray.init(num_cpus=cpus, _node_ip_address="127.0.0.1", job_config=job, **quiet)
                break
            except Exception as error:
                # Ray gives its own processes 30 s, which a busy machine may not have for them.
                if not more or "timed out during startup" not in str(error):
                    raise
                ray.shutdown()
    else:
        try:
            context = ray.init(address, **quiet)
        except Exception as error:
            raise ClusterUnreachableError(
                f"No Ray cluster answers at {address} ({error}). Start one (ray start --head) or correct the address; "
                f"where it asks for a token, Ray wants RAY_AUTH_MODE=token in the kernel's environment; "
                f"or leave address= out for a cluster of this machine. Then run job.retry()."
            ) from None
    return getattr(context, "dashboard_url", None)


def _in_a_thread_that_stays(call: Callable[[], str | None]) -> str | None:
    """Call something in a thread that does not end: Ray's processes do, with the thread that started them."""
    done: Future[str | None] = Future()

    def run() -> None:
        try:
            done.set_result(call())
        except BaseException as error:
            done.set_exception(error)
            return
        threading.Event().wait()

    threading.Thread(target=run, name="nbfutures ray", daemon=True).start()
    return done.result()


def close() -> None:
    """Let go of Ray, and end it if it was started here."""
    global _cluster
    with _lock:
        closing, _cluster = _cluster, None
    if closing is not None:
        atexit.unregister(closing.close)
        closing.close()


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

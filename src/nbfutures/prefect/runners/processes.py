"""Items in processes of this machine, on Prefect's `ProcessPoolTaskRunner`; the processes stay warm between jobs."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import threading
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.futures import PrefectConcurrentFuture
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner

from nbfutures.engine.cpus import inner_threads, usable_cpus
from nbfutures.engine.workers.hub import Hub, get_hub
from nbfutures.engine.workers.surroundings import Surroundings
from nbfutures.prefect.processes.start import contained, start_worker, use_worker_context

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType
    from typing import Self

    from prefect.client.schemas.objects import RunInput
    from prefect.futures import PrefectFuture
    from prefect.tasks import Task

    from nbfutures.model.options import JobOptions

__all__ = ["OneProcess", "ProcessesRunner", "close", "make", "make_for_flow", "start_seconds"]

_IDLE_SECONDS = 300.0
_COLD_SECONDS = 5.0
"""Until the first process is there: it imports Prefect."""


class OneProcess(ProcessPoolTaskRunner):
    """A pool of one process: one that dies takes no other with it."""

    def __init__(self, max_workers: int | None = 1, *, threads: int = 1) -> None:
        super().__init__(max_workers=max_workers, initializer=start_worker, initargs=(threads,))
        self.threads = threads
        self.free_since = 0.0
        """When its last job let go of it, by `time.monotonic`."""
        self.is_broken = False
        self.generation = 0
        self.tasks: set[Any] = set()
        """The futures of what it has not done yet."""

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    def __enter__(self) -> Self:
        """Make ready to start the process, which starts with the first task."""
        super().__enter__()
        if self._subprocess_message_queue is not None:
            # A process that is killed may hold this queue's lock: the kernel would wait for it when it ends.
            self._subprocess_message_queue.cancel_join_thread()
        executor: Any = self._executor
        use_worker_context(executor, is_preloaded=True)
        submit = executor.submit
        executor.submit = lambda *call, **more: submit(contained, Surroundings(), *call, **more)
        return self

    def renew(self) -> None:
        """Forget the flow run that the last tasks belonged to."""
        self._cached_context = None
        self._cached_env = None

    def submit(self, *args: Any, **kwargs: Any) -> PrefectConcurrentFuture[Any]:
        """As `TaskRunner.submit`."""
        with _shielded():
            return super().submit(*args, **kwargs)

    @property
    def is_dead(self) -> bool:
        """Whether its process ended while it had nothing to do."""
        return bool(getattr(self._executor, "_broken", False))

    def kill(self) -> None:
        """End the process, whatever it is doing."""
        for process in self._its_processes():
            process.kill()

    @property
    def is_stopped(self) -> bool:
        """Whether the process was stopped by a signal, which may be its own; known on Linux."""
        return any(_state_of(process.pid) == "T" for process in self._its_processes())

    def _its_processes(self) -> list[Any]:
        return list((getattr(self._executor, "_processes", None) or {}).values())


def _state_of(pid: int) -> str:
    """Return the letter for what a process does, as `ps` shows it; empty if that is not known."""
    try:
        # The name before it may hold anything.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


@contextlib.contextmanager
def _shielded() -> Iterator[None]:
    """Within it, no interrupt reaches a process that is being started before it can ignore it."""
    # The thread that starts the process inherits this.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if hasattr(signal, "pthread_sigmask") else None
    try:
        yield
    finally:
        if before is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Processes:
    """The warm processes of a kernel that are free."""

    def __init__(self) -> None:
        self._free: list[OneProcess] = []
        self._held = 0
        self._most_held = usable_cpus()
        self._sweeper: threading.Timer | None = None
        self._generation = 0
        self._lock = threading.Lock()

    def take(self, workers: int) -> OneProcess:
        """Return a warm process, or a new one, which shares the CPUs with so many."""
        with self._lock:
            for dead in [one for one in self._free if one.is_dead]:
                self._free.remove(dead)
                _end(dead)
            threads = inner_threads(workers)
            # What BLAS was loaded with stays: a process for fewer or more workers has another share of the CPUs.
            suitable = [one for one in self._free if one.threads == threads]
            # One that is about to end its last task is better than a new one.
            process = min(suitable, key=lambda one: len(one.tasks), default=None)
            unsuitable = None
            if process is not None:
                self._free.remove(process)
            elif self._free and len(self._free) + self._held >= self._most_held:
                unsuitable = self._free.pop(0)
            self._held += 1
            self._most_held = max(self._most_held, self._held)
            generation = self._generation
        if unsuitable is not None:
            _end(unsuitable)
        if process is None:
            process = OneProcess(threads=threads).__enter__()
            process.generation = generation
        process.renew()
        return process

    def give_back(self, process: OneProcess) -> None:
        """Keep a process for the next job, unless it is broken or there are enough."""
        with self._lock:
            self._held -= 1
            is_kept = (
                not process.is_broken
                and process.generation == self._generation
                and len(self._free) + self._held < self._most_held
            )
            if is_kept:
                process.free_since = time.monotonic()
                self._free.append(process)
                self._sweep_later()
        if not is_kept:
            _end(process)

    def _sweep_later(self) -> None:
        if self._sweeper is None and self._free and (seconds := idle_seconds()) > 0:
            idle_for = time.monotonic() - min(one.free_since for one in self._free)
            self._sweeper = threading.Timer(min(max(seconds - idle_for, 0.0), threading.TIMEOUT_MAX), self._sweep)
            self._sweeper.daemon = True
            self._sweeper.start()

    def _sweep(self) -> None:
        """End the processes that no job has used for long; look again when the next may be."""
        seconds, now = idle_seconds(), time.monotonic()
        with self._lock:
            self._sweeper = None
            idle = [one for one in self._free if seconds > 0 and now - one.free_since >= seconds]
            for process in idle:
                self._free.remove(process)
            self._sweep_later()
        for process in idle:
            _end(process)

    def drop(self, process: OneProcess) -> None:
        """Have a process that broke not be taken."""
        with self._lock:
            if process not in self._free:
                return
            self._free.remove(process)
        _end(process)

    @property
    def are_warm(self) -> bool:
        """Whether there are some."""
        return bool(self._free) or self._held > 0

    def close(self) -> None:
        """End the processes that no job uses, and the others when their jobs have ended."""
        with self._lock:
            self._generation += 1
            free, self._free = self._free, []
            if self._sweeper is not None:
                self._sweeper.cancel()
                self._sweeper = None
        for process in free:
            process.__exit__(None, None, None)


def _end(process: OneProcess) -> None:
    # In a thread of its own: it waits for the one that may call this.
    threading.Thread(target=process.__exit__, args=(None, None, None), name="nbfutures end", daemon=True).start()


_processes = _Processes()
atexit.register(_processes.close)


def idle_seconds() -> float:
    """Return how long a process stays that no job uses: 300, or what `NBFUTURES_IDLE_SECONDS` says; 0: for ever."""
    try:
        return float(os.environ.get("NBFUTURES_IDLE_SECONDS", _IDLE_SECONDS))
    except ValueError:
        return _IDLE_SECONDS


def start_seconds() -> float:
    """Return about how long a job that starts now waits for its first process."""
    return 0.0 if _processes.are_warm else _COLD_SECONDS


def close() -> None:
    """End the warm processes that no job uses; the others end with their jobs."""
    _processes.close()


class ProcessesRunner(TaskRunner[PrefectConcurrentFuture[Any]]):
    """Runs tasks in warm processes, one at a time in each; who submits sees to their number.

    Args:
        max_workers: Processes at once.
    """

    kind = "process"
    has_own_processes = True
    is_local = True
    deaths_allowed = 0
    capacity = None

    def __init__(self, max_workers: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Prefect types it not
        self._max_workers = max_workers
        self._holders: dict[Any, OneProcess] = {}
        """Futures to the processes that they still hold."""
        self._processes: dict[Any, OneProcess] = {}
        """Futures that are not done to the processes that they are in."""
        self._state = threading.Lock()

    def __reduce__(self) -> tuple[type[ProcessesRunner], tuple[int]]:
        # It goes to the workers with the flow, where it is not used.
        return ProcessesRunner, (self._max_workers,)

    def duplicate(self) -> ProcessesRunner:
        """Return a new runner of the same size."""
        return ProcessesRunner(self._max_workers)

    def submit(
        self,
        task: Task[Any, Any],
        parameters: dict[str, Any],
        wait_for: Iterable[PrefectFuture[Any]] | None = None,
        dependencies: dict[str, set[RunInput]] | None = None,
    ) -> PrefectConcurrentFuture[Any]:
        """Run a task in a process that is free, or in a new one. Never blocks for long."""
        process = _processes.take(self._max_workers)
        try:
            future = process.submit(task, parameters, wait_for, dependencies)
        except BaseException:
            _processes.give_back(process)
            raise
        process.tasks.add(future)
        with self._state:
            self._holders[future] = self._processes[future] = process
        future.wrapped_future.add_done_callback(lambda done: self._on_done(process, future, done))
        return future

    def let_go(self, future: PrefectFuture[Any]) -> None:
        """Let others have the process of a task that will soon end."""
        with self._state:
            process = self._holders.pop(future, None)
        if process is not None:
            _processes.give_back(process)

    def take_back(self, future: PrefectConcurrentFuture[Any]) -> None:
        """Have a task not run, if it has not begun."""
        future.wrapped_future.cancel()

    @property
    def post(self) -> Hub:
        """Where the processes reach the kernel."""
        return get_hub()

    def kill(self, future: PrefectFuture[Any]) -> bool:
        """End the process that runs a task; return whether it was there."""
        process = self._processes.get(future)
        if process is not None:
            process.kill()
        return process is not None

    def is_stopped(self, future: PrefectFuture[Any]) -> bool:
        """Tell whether the process that runs a task was stopped, so that it does nothing."""
        process = self._processes.get(future)
        return process is not None and process.is_stopped

    def is_death(self, error: BaseException | None) -> bool:
        """Tell whether an error is the end of a process, not a task's."""
        return isinstance(error, BrokenProcessPool)

    def _on_done(self, process: OneProcess, future: PrefectFuture[Any], done: Any) -> None:
        process.tasks.discard(future)
        self._processes.pop(future, None)
        if not done.cancelled() and isinstance(done.exception(), BrokenProcessPool):
            process.is_broken = True
            _processes.drop(process)
        self.let_go(future)

    def cancel_all(self) -> None:
        """Nothing: the window takes back what it submitted."""

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Keep the processes for the next job."""
        with self._state:
            futures = list(self._holders)
        for future in futures:
            self.let_go(future)
        super().__exit__(exc_type, exc_value, traceback)


def make(options: JobOptions, size: int, nested: int) -> ProcessesRunner:  # noqa: ARG001 - as every runner's
    """Return a runner with `size` processes; a task in a process has a runner of its own."""
    return ProcessesRunner(size)


def make_for_flow(options: JobOptions, workers: int) -> ProcessPoolTaskRunner:  # noqa: ARG001 - as every runner's
    """Return a pool of Prefect's, which ends with the flow."""
    return ProcessPoolTaskRunner(max_workers=workers, initializer=start_worker, initargs=(inner_threads(workers),))

"""One service: worker processes of this kernel that serve some tasks, and how they stand."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from nbfutures.engine.process_lock import ProcessLock
from nbfutures.errors import NbfuturesError
from nbfutures.prefect.background.records import (
    WorkerRecord,
    serving_directory,
    worker_endings,
    worker_lock,
    worker_record,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from nbfutures.engine.contracts import Connection
    from nbfutures.prefect.background.records import ServiceRecord

__all__ = ["Service", "ServiceStatus", "send_signal", "status_of"]

RESTARTS = 3
"""Within a minute, without an item done in between."""
_WITHIN_SECONDS = 60.0


class Patience:
    """Counts how often a process ended.

    Args:
        now: Tells the time, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._ends: deque[float] = deque()

    def allows(self, *, has_worked: bool) -> bool:
        """Take in that it ended, and tell whether to start it again.

        Args:
            has_worked: Whether it has done an item since it was started.
        """
        now = self._now()
        if has_worked:
            self._ends.clear()
        while self._ends and now - self._ends[0] > _WITHIN_SECONDS:
            self._ends.popleft()
        self._ends.append(now)
        return len(self._ends) <= RESTARTS


_LOCK_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """How one service stands."""

    id: str
    names: tuple[str, ...]
    """Its tasks."""
    workers: int
    """Processes that live."""
    wanted: int
    """Processes that it began with."""
    ready: int
    """Processes that take items."""
    pids: tuple[int, ...]
    """Ids of those processes."""
    running: tuple[str, ...]
    """Names of the task runs that they work on."""
    done: int
    """Items that they have run."""
    keep: bool
    """Whether it outlives the kernel."""
    is_ending: bool
    """Whether it takes no more items."""
    error: str
    """Why there is none; empty if there is."""
    trouble: str = ""
    """Why there are fewer than wanted; empty if there are not."""


class Service:
    """Worker processes of this kernel that serve some tasks.

    Args:
        record: What it is.
        connection: Connects to Prefect.
    """

    def __init__(self, record: ServiceRecord, connection: Connection) -> None:
        self.record = record
        self._connection = connection
        self.error = ""
        self.trouble = ""
        """Which process is not started again, and why."""
        self.processes: list[subprocess.Popen[bytes]] = []
        self.is_stopped = False
        self._lock = threading.Lock()
        self._started = threading.Event()
        self._restarting: set[int] = set()
        self._keepers: list[threading.Thread] = []

    @property
    def is_starting(self) -> bool:
        """Whether processes are about to be started."""
        return not self._started.is_set() or bool(self._restarting)

    @property
    def goes_on(self) -> bool:
        """Whether there are processes, or will be."""
        return not self._started.is_set() or any(keeper.is_alive() for keeper in self._keepers)

    def join(self, timeout: float) -> None:
        """Block until it is told what the processes had that ended, for `timeout` seconds at most."""
        deadline = time.monotonic() + timeout
        for keeper in self._keepers:
            keeper.join(max(deadline - time.monotonic(), 0))

    def stop(self) -> None:
        """Have no more processes started."""
        with self._lock:
            self.is_stopped = True

    def spawn(self) -> None:
        """Start its processes, once Prefect can be reached. Blocks until then."""
        try:
            self._connection.wait_until_ready()
            _listen()
            with self._lock:
                if not self.is_stopped:
                    self.processes.extend(_spawn(self.record, number) for number in range(self.record.workers))
        except Exception as error:
            self.error = str(error)
        finally:
            self._keepers = [
                threading.Thread(
                    target=copy_context().run, args=(self._keep_alive, number), name="nbfutures serving", daemon=True
                )
                for number in range(len(self.processes))
            ]
            for keeper in self._keepers:
                keeper.start()
            self._started.set()

    def _keep_alive(self, number: int) -> None:
        """Start a process again whenever it ends by itself, until that is hopeless. Blocks until then."""
        limit = Patience()
        done = 0
        while True:
            how = self._await_end(number)
            left = WorkerRecord.read(worker_record(self.record.id, number))
            self._restarting.add(number)
            try:
                self._tell_lost(number, left, how)
                before, done = done, max(done, left.done if left is not None else 0)
                if not self._start_again(number, done, is_hopeless=not limit.allows(has_worked=done > before)):
                    return
            finally:
                self._restarting.discard(number)

    def _await_end(self, number: int) -> str:
        process = self.processes[number]
        code = process.wait()
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            # What it started ends with it, and with that the last holder of its lock.
            os.killpg(process.pid, signal.SIGKILL)
        return _how(code)

    def _tell_lost(self, number: int, left: WorkerRecord | None, how: str) -> None:
        """Tell what a process had that ended without a word: somebody may wait for that."""
        from nbfutures.prefect.background.lost import tell_ends, tell_lost
        from nbfutures.prefect.background.unreported_endings import read_endings

        file = worker_endings(self.record.id, number)
        ends = read_endings(file)
        if ends:
            tell_ends(ends)
        file.unlink(missing_ok=True)
        if left is not None and (left.running or left.held):
            who = f"Worker process {number + 1} of {', '.join(self.record.names)} (process id {left.pid}) ended ({how})"
            if self.is_stopped:
                who = "Its worker was stopped"
            begun = {run_id: name for run_id, name in left.running.items() if UUID(run_id) not in ends}
            tell_lost(begun, left.held, who)
        worker_record(self.record.id, number).unlink(missing_ok=True)

    def _start_again(self, number: int, done: int, *, is_hopeless: bool) -> bool:
        if is_hopeless and not self.is_stopped:
            self.trouble = (
                f"worker {number + 1} ended {RESTARTS + 1} times within a minute without an item done, and is "
                f"not started again; {serving_directory() / self.record.id}.log says why"
            )
            return False
        try:
            with self._lock:
                if not self.is_stopped:
                    self.processes[number] = _spawn(self.record, number, done)
                return not self.is_stopped
        except Exception as error:
            self.trouble = f"worker {number + 1} cannot be started again: {error}"
            return False

    def pid(self, number: int) -> int | None:
        """Return the id of a process, if it is there."""
        return self.processes[number].pid if number < len(self.processes) else None


def _listen() -> None:
    """Have Prefect's own futures of `.delay()` hear of ends, from before the first is made.

    The first that is awaited begins to listen, does not wait until it can hear, and waits for ever where the task run
    ends between its look at Prefect and that.
    """
    from prefect.task_runs import TaskRunWaiter

    with contextlib.suppress(Exception):
        TaskRunWaiter.instance()


def send_signal(record: ServiceRecord, service: Service | None, number: signal.Signals) -> None:
    """Send a signal to the processes of a service that live; to their process groups if it kills."""
    for worker in record.living():
        note = WorkerRecord.read(worker_record(record.id, worker))
        pid = note.pid if note is not None else service.pid(worker) if service is not None else None
        if pid is None:
            continue
        send: Callable[[int, int], None] = os.killpg if number == signal.SIGKILL else os.kill
        with contextlib.suppress(ProcessLookupError, PermissionError):
            send(pid, number)


def status_of(record: ServiceRecord, living: list[int], service: Service | None, *, is_starting: bool) -> ServiceStatus:
    """Return how a service stands."""
    notes = [WorkerRecord.read(worker_record(record.id, number)) for number in range(record.workers)]
    told = [note for number, note in enumerate(notes) if note is not None and number in living]
    error = service.error if service is not None else ""
    trouble = service.trouble if service is not None else ""
    if not living and not is_starting and not error:
        error = trouble or f"its processes ended by themselves; {serving_directory() / record.id}.log says why"
    return ServiceStatus(
        id=record.id,
        names=tuple(record.names),
        workers=len(living),
        wanted=record.workers,
        ready=sum(note.is_ready for note in told),
        pids=tuple(note.pid for note in told),
        running=tuple(name for note in told for name in note.running.values()),
        done=sum(note.done for note in notes if note is not None),
        keep=record.keep,
        is_ending=any(note.is_draining for note in told),
        error=error,
        trouble=trouble,
    )


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _spawn(record: ServiceRecord, number: int, done: int = 0) -> subprocess.Popen[bytes]:
    lock = ProcessLock.acquire(worker_lock(record.id, number))
    deadline = time.monotonic() + _LOCK_SECONDS
    while lock is None and time.monotonic() < deadline:
        # What the process before it had started is ending.
        time.sleep(0.05)
        lock = ProcessLock.acquire(worker_lock(record.id, number))
    if lock is None:
        raise NbfuturesError(f"The files of {', '.join(record.names)} in {serving_directory()} are in use. Try again.")
    output = os.open(
        serving_directory() / f"{record.id}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
    )
    try:
        return subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "nbfutures.prefect.background.worker", record.id, str(number), str(done)],
            # The other end of its input is closed when the kernel ends, however it does.
            stdin=subprocess.DEVNULL if record.keep else subprocess.PIPE,
            stdout=output,
            stderr=output,
            pass_fds=[lock.descriptor],
            # An interrupt of the kernel is meant for the cell.
            start_new_session=True,
        )
    finally:
        os.close(output)
        lock.close()

"""One service: worker processes of this kernel that serve some tasks, and how they stand."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nbfutures.errors import NbfuturesError
from nbfutures.runtime.background.records import WorkerRecord, serving_directory, worker_lock, worker_record
from nbfutures.runtime.process_lock import ProcessLock

if TYPE_CHECKING:
    from collections.abc import Callable

    from nbfutures.runtime.background.records import ServiceRecord
    from nbfutures.runtime.contracts import Connection

__all__ = ["Service", "ServiceStatus", "send_signal", "status_of"]


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
        self.processes: list[subprocess.Popen[bytes]] = []
        self.is_stopped = False
        self.started = threading.Event()
        """Set once its processes are there, or cannot be."""

    def spawn(self) -> None:
        """Start its processes, once Prefect can be reached. Blocks until then."""
        try:
            self._connection.wait_until_ready()
            if not self.is_stopped:
                self.processes.extend(_spawn(self.record, number) for number in range(self.record.workers))
        except Exception as error:
            self.error = str(error)
        finally:
            self.started.set()
        for number, process in enumerate(self.processes):
            threading.Thread(
                target=copy_context().run,
                args=(self._await_end, number, process),
                name="nbfutures serving",
                daemon=True,
            ).start()

    def _await_end(self, number: int, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        left = WorkerRecord.read(worker_record(self.record.id, number))
        if left is None or not left.running:
            return
        # It ended without a word: what it had is lost, and somebody may wait for that.
        from nbfutures.runtime.background.lost import tell_lost

        tell_lost(list(left.running), "Its worker process ended while it ran.")
        worker_record(self.record.id, number).unlink(missing_ok=True)

    def pid(self, number: int) -> int | None:
        """Return the id of a process, if it is there."""
        return self.processes[number].pid if number < len(self.processes) else None


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
    if not living and not is_starting and not error:
        error = f"its processes ended by themselves; {serving_directory() / record.id}.log says why"
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
    )


def _spawn(record: ServiceRecord, number: int) -> subprocess.Popen[bytes]:
    lock = ProcessLock.acquire(worker_lock(record.id, number))
    if lock is None:
        raise NbfuturesError(f"The files of {', '.join(record.names)} in {serving_directory()} are in use. Try again.")
    output = os.open(
        serving_directory() / f"{record.id}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
    )
    try:
        return subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "nbfutures.runtime.background.worker", record.id, str(number)],
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

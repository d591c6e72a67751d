"""Worker processes for tasks of the notebook: start them, tell what they do, end them."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbfutures.errors import InvalidOptionError, MapArgumentsError, NbfuturesError
from nbfutures.runtime.background.records import (
    ServiceRecord,
    WorkerRecord,
    read_services,
    serving_directory,
    worker_lock,
    worker_record,
)
from nbfutures.runtime.process_lock import ProcessLock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nbfutures.runtime.contracts import Connection

__all__ = ["Service", "ServiceStatus", "close", "end", "is_outdated", "is_starting", "serve", "statuses", "stop"]

_LIMIT = 10
"""Items that a process runs at once, as in Prefect."""
_END_SECONDS = 5.0


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


_lock = threading.Lock()
_services: list[Service] = []


def serve(targets: Sequence[Any], connection: Connection, *, workers: int, limit: int | None, keep: bool) -> Service:
    """Start worker processes for tasks; those that serve tasks of the same names end with what they run now.

    Does not block: the processes start in the background.

    Args:
        targets: Prefect tasks, or functions, which become ones.
        connection: Connects to Prefect.
        workers: How many processes.
        limit: How many items each runs at once; 10 if not given.
        keep: Whether they outlive the kernel.

    Raises:
        MapArgumentsError: If there is no task, or something else among them.
        InvalidOptionError: If a number is none.
        PicklingError: If a task cannot be sent to another process.
    """
    if sys.platform == "win32":
        raise NbfuturesError(
            "Worker processes cannot be started from here on Windows. Put the tasks into a file and run in a terminal: "
            "prefect task serve tasks.py:fetch"
        )
    _check_number("workers", workers)
    _check_number("limit", limit if limit is not None else 1)
    if not targets:
        raise MapArgumentsError("serve() takes the tasks to be served: nbf.serve(fetch, workers=2).")
    for target in targets:
        _check_target(target)
    connection.start()
    from nbfutures.runtime.background.packed_tasks import PackedTask, pack_task, read_tasks, write_tasks

    packed = [pack_task(target) for target in targets]
    names = {task.name for task in packed}
    made: list[tuple[Service, list[PackedTask]]] = []
    with _lock:
        for old in [one for one in read_services() if names & set(one.names)]:
            # Its other tasks are served on, by new processes.
            others = [task for task in read_tasks(old.id) if task.name not in names]
            _drain(old)
            if others:
                made.append((Service(_record(others, old.workers, old.limit, keep=old.keep), connection), others))
        service = Service(_record(packed, workers, limit or _LIMIT, keep=keep), connection)
        made.append((service, packed))
        _services.extend(one for one, _ in made)
    for one, tasks in made:
        write_tasks(one.record.id, tasks)
        one.record.write()
        threading.Thread(target=copy_context().run, args=(one.spawn,), name="nbfutures serving", daemon=True).start()
    return service


def stop(names: Sequence[str] = ()) -> list[str]:
    """End worker processes, with what they run: that fails, and can be retried. Blocks for some seconds at most.

    Args:
        names: Tasks; none for all that are served. Those of other kernels of the user are ended only if named, or if
            their kernel is gone.

    Returns:
        Names of the tasks that are served no longer.

    Raises:
        NbfuturesError: If nobody serves a task of such a name.
    """
    wanted = set(names)
    own = {service.record.id for service in _services}
    found = [
        one for one in read_services() if (wanted & set(one.names)) or (not wanted and (one.id in own or one.keep))
    ]
    served = {name for one in found for name in one.names}
    if wanted - served:
        known = ", ".join(sorted({name for one in read_services() for name in one.names})) or "none"
        missing = ", ".join(sorted(wanted - served))
        raise NbfuturesError(f"Nobody serves {missing}. Served tasks: {known}.")
    _end(found)
    return sorted(served)


def end(record: ServiceRecord) -> None:
    """End the worker processes of one service, as `stop`."""
    _end([record])


def statuses() -> list[ServiceStatus]:
    """Return how the services of this user stand, the oldest first; files of those that are gone are removed."""
    own = {service.record.id: service for service in _services}
    made = []
    for record in read_services():
        service = own.get(record.id)
        living = record.living()
        is_starting = service is not None and not service.started.is_set()
        has_failed = service is not None and not service.is_stopped and (service.error or _has_died(service))
        if not living and not is_starting and not has_failed:
            record.remove()
            continue
        made.append(_status(record, living, service, is_starting=is_starting))
    return made


def is_starting(task_key: str) -> bool:
    """Tell whether processes of this kernel that will serve a task are about to."""
    for service in _services:
        if service.is_stopped or service.error or task_key not in service.record.keys:
            continue
        if not service.started.is_set():
            return True
        records = [WorkerRecord.read(worker_record(service.record.id, number)) for number in service.record.living()]
        if records and not any(one is not None and one.is_ready for one in records):
            return True
    return False


def is_outdated(name: str, task_key: str) -> bool:
    """Tell whether this kernel serves a task of the name, but with other code."""
    alive = [service.record for service in list(_services) if not service.is_stopped and not service.error]
    return any(name in record.names for record in alive) and not any(task_key in record.keys for record in alive)


def close() -> None:
    """End the worker processes that end with the kernel."""
    _end([service.record for service in _services if not service.record.keep and not service.is_stopped])


# --- one service -----------------------------------------------------------------------------------------------------


def _record(packed: Sequence[Any], workers: int, limit: int, *, keep: bool) -> ServiceRecord:
    return ServiceRecord(
        id=secrets.token_hex(6),
        names=[task.name for task in packed],
        keys=[task.key for task in packed],
        workers=workers,
        limit=limit,
        keep=keep,
        kernel=os.getpid(),
        started=time.time(),
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


def _status(record: ServiceRecord, living: list[int], service: Service | None, *, is_starting: bool) -> ServiceStatus:
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


def _has_died(service: Service) -> bool:
    return service.started.is_set() and any(process.poll() not in (None, 0) for process in service.processes)


def _drain(record: ServiceRecord) -> None:
    """Have processes take no more items, and end with those that they have."""
    _mark_stopped(record)
    _signal(record, signal.SIGUSR1)


def _end(records: Sequence[ServiceRecord]) -> None:
    for record in records:
        _mark_stopped(record)
        _signal(record, signal.SIGTERM)
    deadline = time.monotonic() + _END_SECONDS
    for record in records:
        while record.living() and time.monotonic() < deadline:
            time.sleep(0.02)
        _signal(record, signal.SIGKILL)
        record.remove()


def _mark_stopped(record: ServiceRecord) -> None:
    for service in _services:
        if service.record.id == record.id:
            service.is_stopped = True


def _signal(record: ServiceRecord, number: signal.Signals) -> None:
    own = next((service for service in _services if service.record.id == record.id), None)
    for worker in record.living():
        note = WorkerRecord.read(worker_record(record.id, worker))
        pid = note.pid if note is not None else own.processes[worker].pid if own and own.processes else None
        if pid is None:
            continue
        send: Callable[[int, int], None] = os.killpg if number == signal.SIGKILL else os.kill
        with contextlib.suppress(ProcessLookupError, PermissionError):
            send(pid, number)


def _check_target(target: Any) -> None:
    from nbfutures.runtime.work import check_callable

    check_callable(target, is_background=True)


def _check_number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidOptionError(f"{name} must be a whole number of at least 1, got {value!r}.")

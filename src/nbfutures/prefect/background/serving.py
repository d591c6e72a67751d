"""Worker processes for tasks of the notebook: start them, tell what they do, end them."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import threading
import time
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from nbfutures.errors import MapArgumentsError, NbfuturesError, ServeError
from nbfutures.model.options import check_whole
from nbfutures.prefect.background.records import (
    ServiceRecord,
    WorkerRecord,
    read_services,
    remove_old_logs,
    worker_record,
)
from nbfutures.prefect.background.service import Service, ServiceStatus, send_signal, status_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nbfutures.engine.contracts import Connection

__all__ = ["Service", "ServiceStatus", "close", "end", "is_outdated", "is_starting", "serve", "statuses", "stop"]

_LIMIT = 10
"""Items that a process runs at once, as in Prefect."""
_END_SECONDS = 5.0
_TELL_SECONDS = 2.0
"""In which it is told what processes had that had to be killed."""
_START_SECONDS = 600.0
"""In which the processes of a service start, if ever."""

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
        raise ServeError(
            "Worker processes cannot be started from here on Windows. Put the tasks into a file and run in a terminal: "
            "prefect task serve tasks.py:fetch"
        )
    check_whole("workers", workers, least=1, optional=False)
    check_whole("limit", limit, least=1)
    if not targets:
        raise MapArgumentsError("serve() takes the tasks to be served: nbf.serve(fetch, workers=2).")
    for target in targets:
        _check_target(target)
    connection.start()
    from nbfutures.prefect.background.packed_tasks import PackedTask, pack_task, read_tasks, write_tasks

    packed = [pack_task(target) for target in targets]
    names = {task.name for task in packed}
    made: list[tuple[Service, list[PackedTask]]] = []
    with _lock:
        remove_old_logs()
        for old in [one for one in read_services() if names & set(one.names) and _is_mine(one) and _goes_on(one)]:
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
        names: Tasks; none for all that this kernel serves, and those whose kernel is gone. A task of another kernel is
            served no longer only if it is named, and this one does not serve it.

    Returns:
        Names of the tasks that are served no longer.

    Raises:
        NbfuturesError: If nobody serves a task of such a name.
    """
    wanted = set(names)
    there = read_services()
    mine = [one for one in there if _is_mine(one)]
    found = [one for one in mine if not wanted or wanted & set(one.names)]
    # A task that this kernel does not serve may be served by another one.
    others = wanted - {name for one in mine for name in one.names}
    found += [one for one in there if one not in mine and others & set(one.names)]
    served = {name for one in found for name in one.names}
    if wanted - served:
        known = ", ".join(sorted({name for one in there for name in one.names})) or "none"
        raise NbfuturesError(f"Nobody serves {', '.join(sorted(wanted - served))}. Served tasks: {known}.")
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
        is_starting = service is not None and service.goes_on
        is_over = not _goes_on(record) if service is not None else _is_left(record)
        if not living and is_over:
            record.remove()
            continue
        is_starting = is_starting or (service is None and not living)
        made.append(status_of(record, living, service, is_starting=is_starting))
    return made


def is_starting(task_key: str) -> bool:
    """Tell whether processes of this kernel that will serve a task are about to."""
    for service in _services:
        if service.is_stopped or service.error or task_key not in service.record.keys:
            continue
        if service.is_starting:
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
        keys=[key for task in packed for key in task.keys],
        workers=workers,
        limit=limit,
        keep=keep,
        kernel=os.getpid(),
        started=time.time(),
    )


def _is_mine(record: ServiceRecord) -> bool:
    """Tell whether a service is this kernel's, or nobody's any more."""
    return record.kernel == os.getpid() or _is_gone(record.kernel)


def _goes_on(record: ServiceRecord) -> bool:
    """Tell whether a service has neither been stopped by this kernel nor replaced."""
    service = _own(record)
    return service is None or not service.is_stopped


def _is_left(record: ServiceRecord) -> bool:
    """Tell whether a service of another kernel that has no process is nobody's."""
    return _is_gone(record.kernel) or time.time() - record.started > _START_SECONDS


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _own(record: ServiceRecord) -> Service | None:
    return next((service for service in _services if service.record.id == record.id), None)


def _drain(record: ServiceRecord) -> None:
    """Have processes take no more items, and end with those that they have."""
    _mark_stopped(record)
    send_signal(record, _own(record), signal.SIGUSR1)


def _end(records: Sequence[ServiceRecord]) -> None:
    for record in records:
        _mark_stopped(record)
        send_signal(record, _own(record), signal.SIGTERM)
    deadline = time.monotonic() + _END_SECONDS
    for record in records:
        while record.living() and time.monotonic() < deadline:
            time.sleep(0.02)
        send_signal(record, _own(record), signal.SIGKILL)
        service = _own(record)
        if service is not None:
            service.join(_TELL_SECONDS)
        record.remove()


def _mark_stopped(record: ServiceRecord) -> None:
    service = _own(record)
    if service is not None:
        service.stop()


def _check_target(target: Any) -> None:
    from nbfutures.engine.calls.work import check_callable

    check_callable(target, is_background=True)

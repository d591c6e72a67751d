"""What a background job consists of, kept in Prefect's result storage: a new kernel makes the job from it."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect.results import ResultStore, get_or_create_default_task_scheduling_storage
from prefect.serializers import PickleSerializer
from prefect.settings import PREFECT_API_URL

from nbfutures.engine.calls.work import CallWork
from nbfutures.engine.process_lock import ProcessLock, is_held
from nbfutures.engine.workers.packing import pack, unpack
from nbfutures.prefect.background.records import serving_directory
from nbfutures.prefect.resolving import resolve_inputs
from nbfutures.prefect.server import server_state

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from uuid import UUID

    from nbfutures.model.options import JobOptions

__all__ = ["KernelMark", "Manifest", "read_manifest", "server_id", "write_manifest"]


def server_id() -> str:
    """Name the run of the user's local server that this process uses; empty for another server.

    The next run of it does not know what was waiting for workers in this one.
    """
    record = server_state.read_record(server_state.state_directory())
    return record.id if record is not None and record.api_url == PREFECT_API_URL.value() else ""


@dataclass(frozen=True, slots=True)
class KernelMark:
    """A kernel, as others can recognise it."""

    id: str
    host: str

    @property
    def is_gone(self) -> bool:
        """Whether it has certainly ended; `False` for one of another machine, of which nothing is known here."""
        lock = _lock_of(self.id)
        # The file is removed some days after its end.
        return (self.host == socket.gethostname() or lock.exists()) and not is_held(lock)


def this_kernel() -> KernelMark:
    """Return this process's mark; it holds a lock from the first call to its end."""
    global _current  # noqa: PLW0603 - one for each process
    with _mutex:
        # A process that was forked has none.
        if _current is None or _current[2] != os.getpid():
            made = KernelMark(f"{os.getpid()}-{secrets.token_hex(6)}", socket.gethostname())
            lock = ProcessLock.acquire(_lock_of(made.id))
            assert lock is not None
            _current = made, lock, os.getpid()
        return _current[0]


def _lock_of(kernel: str) -> Path:
    return serving_directory() / f"kernel-{kernel}.lock"


_mutex = threading.Lock()
_current: tuple[KernelMark, ProcessLock, int] | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one flow run of a background job consists of."""

    name: str
    """What people call the job."""
    indices: Sequence[int]
    """The items that this flow run has."""
    calls: bytes
    """The task and its arguments, packed; empty where these cannot be pickled."""
    options: dict[str, Any]
    """Options of the job that hold for a retry, too."""
    server: str
    """Which run of the local server it was given to; empty for another server."""
    kernel: KernelMark
    """Which kernel submits the items."""

    @classmethod
    def of(cls, name: str, work: CallWork, options: JobOptions, indices: Sequence[int]) -> Manifest:
        """Return what is to be noted of a flow run."""
        kept = {"in_flight": options.in_flight, "fail_fast": options.fail_fast, "rate": options.rate}
        return cls(name, indices, _packed(work), {**kept, "tags": options.tags}, server_id(), this_kernel())

    def work(self) -> CallWork | None:
        """Return the calls; `None` if they cannot be made again here, such as without a module that they need."""
        if not self.calls:
            return None
        try:
            target, table = unpack(self.calls)
        except Exception:
            return None
        return CallWork(target, table.statics, table, resolve=resolve_inputs)


def _packed(work: CallWork) -> bytes:
    table = work.table
    if table is None or table.has_futures:
        return b""
    try:
        return pack((work.target, table))
    except Exception:
        return b""


async def write_manifest(flow_run_id: UUID, manifest: Manifest) -> None:
    """Keep the manifest of a flow run."""
    store = await _store()
    await store.awrite(key=_key(flow_run_id), obj=manifest)


async def read_manifest(flow_run_id: UUID) -> Manifest | None:
    """Return the manifest of a flow run, or `None` if it has none that can be read here."""
    store = await _store()
    try:
        record = await store.aread(_key(flow_run_id))
        found = record.result
    except Exception:
        return None
    return found if isinstance(found, Manifest) else None


async def _store() -> ResultStore:
    # Where Prefect keeps the arguments of background tasks.
    storage: Any = await get_or_create_default_task_scheduling_storage()
    return ResultStore(result_storage=storage, serializer=PickleSerializer())


def _key(flow_run_id: UUID) -> str:
    return f"nbfutures-{flow_run_id}"

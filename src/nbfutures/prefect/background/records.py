"""The files that tell which worker processes serve which tasks; those of kernels that are gone, too.

In `serving/` of the state directory, for each service (one `%serve`):

- `ID.json`: what it is, see `ServiceRecord`.
- `ID.tasks`: the tasks, packed.
- `ID-N.lock`: held by worker process N for as long as it lives.
- `ID-N.json`: what that process does, see `WorkerRecord`.
- `ID-N.ends`: how items ended that it has run in the last seconds, see `Endings`.
- `ID.log`: what its processes print.

`kernel-ID.lock` is held by a kernel that submits items, for as long as it lives.

And `cancelled-ID`, for a flow run of which nothing more is to begin: that takes effect at once, where Prefect's server
would have to be asked before each item.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Self

from nbfutures.engine.process_lock import is_held
from nbfutures.prefect.server import server_state

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "WORKER_LABEL",
    "ServiceRecord",
    "WorkerRecord",
    "is_cancelled",
    "key_of_busy",
    "mark_cancelled",
    "read_services",
    "remove_old_logs",
    "serving_directory",
    "worker_endings",
    "worker_lock",
    "worker_record",
]

WORKER_LABEL = "nbfutures.worker"
"""Label of a task run: which worker process runs it. It costs nothing, as it is told with the states."""
_FORGOTTEN_SECONDS = 7 * 24 * 3600.0
"""After which Prefect is asked only."""


@dataclass(frozen=True, slots=True)
class ServiceRecord:
    """One `%serve`."""

    id: str
    names: list[str]
    """What people call its tasks."""
    keys: list[str]
    """What Prefect calls them, in the same order."""
    workers: int
    """How many processes it began with."""
    limit: int
    """How many items each runs at once."""
    keep: bool
    """Whether it outlives the kernel."""
    kernel: int
    """Process id of the kernel that began it."""
    started: float
    """When, in seconds since the epoch."""

    @property
    def file(self) -> Path:
        """Where it is kept."""
        return serving_directory() / f"{self.id}.json"

    def write(self) -> None:
        """Keep it."""
        _write(self.file, asdict(self))

    def living(self) -> list[int]:
        """Return the numbers of its processes that live."""
        return [number for number in range(self.workers) if is_held(worker_lock(self.id, number))]

    def remove(self) -> None:
        """Remove all its files but the log."""
        for file in serving_directory().glob(f"{self.id}*"):
            if file.suffix != ".log":
                file.unlink(missing_ok=True)


@dataclass(slots=True)
class WorkerRecord:
    """What a worker process does."""

    pid: int
    is_ready: bool = False
    """Whether it takes items."""
    is_draining: bool = False
    """Whether it takes no more, and ends with the items that it has."""
    held: dict[str, str] = field(default_factory=dict)
    """Ids of task runs that it has not begun, to their names."""
    running: dict[str, str] = field(default_factory=dict)
    """Ids of those that it has begun, to their names."""
    done: int = 0
    """How many items it has run."""

    @classmethod
    def read(cls, file: Path) -> Self | None:
        """Return what a process has noted, or `None` if it has not yet."""
        found = _read(file)
        try:
            return cls(**found) if found is not None else None
        except TypeError:
            return None

    def write(self, file: Path) -> None:
        """Note it."""
        _write(file, asdict(self))


def serving_directory() -> Path:
    """Return the directory, for this user alone; it is created."""
    folder = server_state.open_state_directory() / "serving"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def worker_lock(service: str, number: int) -> Path:
    """Where the lock of a worker process is."""
    return serving_directory() / f"{service}-{number}.lock"


def worker_record(service: str, number: int) -> Path:
    """Where a worker process notes what it does."""
    return serving_directory() / f"{service}-{number}.json"


def worker_endings(service: str, number: int) -> Path:
    """Where a worker process notes the ends that Prefect may not have heard of yet."""
    return serving_directory() / f"{service}-{number}.ends"


def read_services() -> list[ServiceRecord]:
    """Return all services that there are files of, the oldest first."""
    found = []
    for file in serving_directory().glob("*.json"):
        read = _read(file)
        if read is not None and "keys" in read:
            found.append(ServiceRecord(**read))
    return sorted(found, key=lambda one: one.started)


def remove_old_logs() -> None:
    """Remove what processes printed that ended long ago, and the locks of kernels that did."""
    _remove_old("*.log")
    _remove_old("kernel-*.lock")


def _remove_old(pattern: str) -> None:
    for old in serving_directory().glob(pattern):
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > _FORGOTTEN_SECONDS and not is_held(old):
                old.unlink()


def mark_cancelled(flow_run_id: object, *, is_cancelled: bool) -> None:
    """Note that the workers of this machine are to begin nothing more of a flow run, or that they may again."""
    file = serving_directory() / f"cancelled-{flow_run_id}"
    if not is_cancelled:
        file.unlink(missing_ok=True)
        return
    _remove_old("cancelled-*")
    file.touch(mode=0o600)


def is_cancelled(flow_run_id: object) -> bool:
    """Tell whether nothing more of a flow run is to begin, as far as it was cancelled on this machine."""
    return (serving_directory() / f"cancelled-{flow_run_id}").exists()


def key_of_busy(task_key: str) -> str:
    """Return what a worker says that it serves while it takes no more items of a task."""
    return f"busy {task_key}"


def _write(file: Path, content: dict[str, Any]) -> None:
    new = file.with_suffix(".new")
    new.write_text(json.dumps(content), encoding="utf-8")
    os.replace(new, file)  # noqa: PTH105 - in one step for whoever reads it


def _read(file: Path) -> dict[str, Any] | None:
    try:
        made = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return made if isinstance(made, dict) else None

"""Tasks as files, for worker processes."""

from __future__ import annotations

import os
import pickle
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect import Task, task

from nbfutures.engine.calls.signatures import as_called
from nbfutures.engine.workers.packing import pack, unpack, unsendable_function
from nbfutures.prefect.background.records import serving_directory
from nbfutures.prefect.background.task_keys import steady_key

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PackedTask", "as_task", "pack_task", "read_tasks", "write_tasks"]


def as_task(target: Any) -> Task[Any, Any]:
    """Return a Prefect task: the one that is given, or one made of a function."""
    return target if isinstance(target, Task) else task(as_called(target))


@dataclass(frozen=True, slots=True)
class PackedTask:
    """A task that is to be served elsewhere."""

    name: str
    keys: tuple[str, ...]
    """What Prefect knows it by: its own key, which is another one once the task was sent, and the steady one."""
    data: bytes

    def unpack(self) -> Task[Any, Any]:
        """Return the task."""
        task: Task[Any, Any] = unpack(self.data)
        return task


def pack_task(target: Any) -> PackedTask:
    """Return a task, or a function made one, as it is sent.

    Raises:
        PicklingError: If it cannot be; the message names the variable that is to blame.
    """
    task = as_task(target)
    try:
        data = pack(task)
    except Exception as error:
        raise unsendable_function(task.fn, {}, task.name, error) from None
    return PackedTask(task.name, tuple(dict.fromkeys([task.task_key, steady_key(task)])), data)


def write_tasks(service: str, tasks: Sequence[PackedTask]) -> None:
    """Keep the tasks of a service, with what its processes need to find the modules that they use."""
    content = {"path": [os.path.abspath(entry) for entry in sys.path], "tasks": [_columns(task) for task in tasks]}  # noqa: PTH100 - texts
    (serving_directory() / f"{service}.tasks").write_bytes(pickle.dumps(content))


def read_tasks(service: str, *, for_use: bool = False) -> list[PackedTask]:
    """Return the tasks of a service; none if there is no such service.

    Args:
        service: Its id.
        for_use: Whether they are to be unpacked here: modules are then looked for where its kernel found them.
    """
    try:
        content = pickle.loads((serving_directory() / f"{service}.tasks").read_bytes())  # noqa: S301 - this user's own
    except OSError:
        return []
    if for_use:
        sys.path[:] = [*sys.path, *(entry for entry in content["path"] if entry not in sys.path)]
    return [PackedTask(*columns) for columns in content["tasks"]]


def _columns(task: PackedTask) -> tuple[str, tuple[str, ...], bytes]:
    return task.name, task.keys, task.data

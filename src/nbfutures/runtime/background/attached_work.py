"""What an attached job consists of: flow runs of another kernel, and their task runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nbfutures.errors import NbfuturesError
from nbfutures.model.item import Item
from nbfutures.runtime.calls.work import CallWork
from nbfutures.runtime.watching.watched_work import WatchedWork

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.schemas.objects import FlowRun, TaskRun

    from nbfutures.runtime.background.manifest import KernelMark

__all__ = ["AttachedCalls", "AttachedRuns", "Found"]


@dataclass(slots=True)
class Found:
    """What Prefect knows of a job that another kernel began."""

    name: str
    """What people call the job."""
    flow_runs: list[FlowRun]
    """The oldest first: a retry has one of its own."""
    runs: dict[int, UUID]
    """Item to the id of its last task run, which need not exist."""
    task_runs: dict[UUID, TaskRun]
    """Those that exist."""
    was_elsewhere: bool
    """Whether it was given to another run of the local server: what waited in that is not known to this one."""
    kernels: dict[UUID, KernelMark] = field(default_factory=dict)
    """Flow run to the kernel that submits its items."""
    items: dict[int, UUID] = field(default_factory=dict)
    """Item to the last flow run that has it."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the job that hold for a retry."""

    def is_abandoned(self, index: int) -> bool:
        """Tell whether the kernel that had to submit an item is certainly gone."""
        kernel = self.kernels.get(self.items[index]) if index in self.items else None
        return kernel is not None and kernel.is_gone

    @property
    def began(self) -> float | None:
        """When the job began, in seconds since the epoch."""
        started = self.flow_runs[0].start_time or self.flow_runs[0].expected_start_time
        return started.timestamp() if started is not None else None


class AttachedCalls(CallWork):
    """The calls of a job that another kernel began; they can be made again.

    Args:
        work: The calls.
        found: What Prefect knows of them.
    """

    def __init__(self, work: CallWork, found: Found) -> None:
        super().__init__(work.target, work.arguments, work.table)
        self.found = found


class AttachedRuns(WatchedWork):
    """Task runs whose calls are not known here.

    Args:
        found: What Prefect knows of them.
    """

    is_flow = False

    def __init__(self, found: Found) -> None:
        super().__init__()
        self.found = found
        for index, run_id in found.runs.items():
            task_run = found.task_runs.get(run_id)
            self.items.append(Item(index, {"task run": task_run.name if task_run is not None else str(run_id)}))

    @property
    def known_length(self) -> int:
        """Number of items."""
        return len(self.items)

    def check_retry(self) -> None:
        """Refuse: the calls are not known."""
        raise NbfuturesError(
            "The calls of this job are not known in this kernel (its arguments were futures or could not be pickled, "
            "or a module is missing here), so that they cannot be made again. Define the task and start a new job."
        )

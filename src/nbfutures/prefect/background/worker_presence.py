"""Whether workers serve the task of a job."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from nbfutures.prefect.background import serving
from nbfutures.prefect.background.records import key_of_busy
from nbfutures.prefect.flow_cells import is_of_a_flow_cell

if TYPE_CHECKING:
    import concurrent.futures

    from prefect.tasks import Task

    from nbfutures.prefect.background.api_loop import ApiLoop

__all__ = ["Attendance", "workers_serving"]

_LOOK_SECONDS = 1.0
_COUNTS = 5
"""Answers of which the highest counts."""
_ALONE_SECONDS = 2.5
"""After which nobody is expected: Prefect's server forgets a worker for the moment in which it takes a task run."""

_logger = logging.getLogger(__name__)


class Attendance:
    """Asks Prefect's server now and then who serves a task. Any thread may ask it.

    Args:
        loop: Where it runs.
        task: The task; `None` if it is not known, and nobody is asked.
    """

    def __init__(self, loop: ApiLoop, task: Task[Any, Any] | None) -> None:
        self._loop = loop
        self._counts: deque[int] = deque(maxlen=_COUNTS)
        self._task = task
        self._seen = time.monotonic()
        """When somebody was last known to serve it; at first it is not known that nobody does."""
        self._knows = False
        self._asking: concurrent.futures.Future[None] | None = loop.start(self._ask()) if task is not None else None

    @property
    def workers(self) -> int:
        """How many worker processes serve it; 0 if that is not known."""
        return max(self._counts, default=0)

    def close(self) -> None:
        """Ask no longer."""
        if self._asking is not None:
            self._asking.cancel()

    def of(self, task: Task[Any, Any]) -> Attendance:
        """Return the same for another task."""
        return Attendance(self._loop, task)

    def is_deserted(self, now: float) -> bool:
        """Tell whether nobody has served the task for some seconds."""
        return self._knows and now - self._seen > _ALONE_SECONDS

    def note(self, *, is_needed: bool) -> str:
        """Return what a job that waits has to say; nothing if somebody works for it."""
        if not is_needed or self._task is None or not self.is_deserted(time.monotonic()):
            return ""
        name = self._task.name
        if serving.is_starting(self._task.task_key):
            return f"{_WAITING}: it is starting"
        if serving.is_outdated(self._task.name, self._task.task_key):
            return (
                f"{_WAITING}: {name} is served with other code than this job's. Serve that again: %serve {name}; or "
                f"give the items to the new code: job.cancel(), then job.retry({name})"
            )
        if is_of_a_flow_cell(self._task.fn):
            return f"{_WAITING}: define {name} in a cell of its own, and serve it: %serve {name}"
        return f"{_WAITING}: %serve {name}"

    @staticmethod
    def is_own(note: str) -> bool:
        """Tell whether a note of a job is one of these."""
        return note.startswith(_WAITING)

    async def _ask(self) -> None:
        assert self._task is not None
        while True:
            try:
                found = await workers_serving(self._loop, self._task.task_key)
            except Exception:
                _logger.debug("Prefect does not tell who serves a task", exc_info=True)
                self._knows = False
            else:
                # The server forgets a worker for the moment in which it takes a task run.
                self._counts.append(found)
                if found or not self._knows:
                    self._seen = time.monotonic()
                self._knows = True
            await asyncio.sleep(_LOOK_SECONDS)


_WAITING = "waiting for a worker"


async def workers_serving(loop: ApiLoop, task_key: str) -> int:
    """Return how many worker processes serve a task; within the loop."""
    client = await loop.client()
    asked = {"task_worker_filter": {"task_keys": [task_key, key_of_busy(task_key)]}}
    answer = await client.request("POST", "/task_workers/filter", json=asked)
    answer.raise_for_status()
    return len(answer.json())

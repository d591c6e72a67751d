"""How task runs stand that run elsewhere: by Prefect's events, and by reading many at once where these are lost."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect.client.schemas.objects import State
from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventFilter, EventNameFilter
from prefect.results import ResultRecord, ResultRecordMetadata  # type: ignore[attr-defined]
from prefect.states import Failed

from nbfutures.errors import ResultUnreadableError
from nbfutures.prefect.background.api_loop import ApiLoop, api_loop
from nbfutures.prefect.background.records import WORKER_LABEL
from nbfutures.prefect.background.unreported_endings import read_by_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from prefect.client.schemas.objects import TaskRun

    Tell = Callable[["Told"], None]
    """Called on the loop's thread; it must be quick."""

__all__ = ["RunWatcher", "Told", "run_watcher"]

_READ_SECONDS = 2.0
"""Between two looks at what no event told: events are lost where a connection breaks."""
_READ_MOST = 200
"""Task runs in one answer of Prefect's API."""
_READS_AT_ONCE = 5
"""Answers asked for in one look: fewer than 10 calls in a second, whatever the number of task runs."""
_RESULTS_AT_ONCE = 16
_IDLE_SECONDS = 30.0
"""For which the connection is kept with nothing to watch: the next job finds it open."""
_NAMES = ["Running", "Retrying", "Completed", "Cached", "RolledBack", "Failed", "TimedOut", "Crashed", "Cancelled"]
"""Of states, as events have them."""
_PREFIX = "prefect.task-run."

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Told:
    """How a task run stands."""

    state: State[Any]
    task_run: TaskRun | None
    """All that Prefect knows of it, where that was read."""
    worker: str | None
    """What runs it, where that has said so."""


class RunWatcher:
    """Watches task runs until they end; `watch` and `forget` may be called from any thread.

    Args:
        loop: Where it runs.
    """

    def __init__(self, loop: ApiLoop) -> None:
        self.loop = loop
        self.listening = threading.Event()
        """Set while events are listened to."""
        self._watched: dict[UUID, Tell] = {}
        self._lock = threading.Lock()
        self._is_running = False
        self._results: asyncio.Semaphore | None = None
        self._finishing: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to listen; it ends by itself some time after the last task run."""
        with self._lock:
            if self._is_running:
                return
            self._is_running = True
        self.loop.start(self._main())

    def watch(self, runs: Mapping[UUID, Tell]) -> None:
        """Have it told how task runs go on: that they run, and at last how they ended, with their results."""
        self._watched.update(runs)
        self.start()

    def forget(self, runs: Iterable[UUID]) -> None:
        """Tell nothing more of some task runs."""
        for run_id in runs:
            self._watched.pop(run_id, None)

    def take(self, task_run: TaskRun) -> None:
        """Take in a task run that was read for another purpose; within the loop."""
        if task_run.state is not None:
            self._take(task_run.id, task_run.state, task_run, task_run.labels.get(WORKER_LABEL))

    # --- within the loop -------------------------------------------------------------------------------------------

    async def _main(self) -> None:
        listener = asyncio.ensure_future(self._listen())
        busy = time.monotonic()
        try:
            while True:
                await asyncio.sleep(_READ_SECONDS)
                with self._lock:
                    if self._watched:
                        busy = time.monotonic()
                    elif time.monotonic() - busy > _IDLE_SECONDS:
                        self._is_running = False
                        return
                if listener.done():
                    listener = asyncio.ensure_future(self._listen())
                await self._read()
        except BaseException:
            self._is_running = False
            raise
        finally:
            listener.cancel()

    async def _listen(self) -> None:
        wanted = EventFilter(event=EventNameFilter(name=[_PREFIX + name for name in _NAMES]))
        try:
            async with get_events_subscriber(filter=wanted) as events:
                self.listening.set()
                async for event in events:
                    self._take_event(event)
        except Exception:
            _logger.debug("Prefect's events are not heard; states are read instead", exc_info=True)
        finally:
            self.listening.clear()

    def _take_event(self, event: Any) -> None:
        run_id = UUID(event.resource.id.removeprefix(_PREFIX))
        if run_id not in self._watched:
            return
        try:
            told = event.payload["validated_state"]
            state: State[Any] = State.model_validate({"id": event.id, "timestamp": event.occurred, **told})
        except (KeyError, ValueError):
            _logger.debug("An event is not as expected", exc_info=True)
            return  # It is read.
        state.state_details.task_run_id = run_id
        labels = event.payload.get("task_run", {}).get("labels") or {}
        self._take(run_id, state, None, labels.get(WORKER_LABEL))

    async def _read(self) -> None:
        """Read how those stand that were watched the longest without news."""
        ids = list(itertools.islice(self._watched, _READ_MOST * _READS_AT_ONCE))
        for some in _batches(ids):
            try:
                client = await self.loop.client()
                found = await read_by_id(client, some)
            except Exception:
                _logger.debug("Prefect could not tell how task runs stand; it is asked again", exc_info=True)
                return
            for task_run in found:
                self.take(task_run)
            # Those that go on are asked about again after all others.
            for run_id in some:
                tell = self._watched.pop(run_id, None)
                if tell is not None:
                    self._watched[run_id] = tell

    def _take(self, run_id: UUID, state: State[Any], task_run: TaskRun | None, worker: object) -> None:
        tell = self._watched.get(run_id)
        if tell is None:
            return
        told = Told(state, task_run, worker if isinstance(worker, str) else None)
        if not state.is_final():
            tell(told)
            return
        self._watched.pop(run_id, None)
        task = asyncio.ensure_future(self._finish(tell, told))
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)

    async def _finish(self, tell: Tell, told: Told) -> None:
        if self._results is None:
            self._results = asyncio.Semaphore(_RESULTS_AT_ONCE)
        async with self._results:
            state = await _with_result(told.state)
        tell(replace(told, state=state))


async def _with_result(state: State[Any]) -> State[Any]:
    """Return a final state that has its value or error in it, as far as these can be read."""
    if not isinstance(state.data, ResultRecordMetadata):
        return state
    read: Any = state.aresult
    try:
        value = await read(raise_on_failure=False)
    except Exception as error:
        why = (
            f"It ran, but its value cannot be read from Prefect's result storage ({type(error).__name__}: {error}). "
            f"Return something that can be pickled; workers on other machines need a storage that is shared "
            f"(@task(result_storage=...))."
        )
        if not state.is_completed():
            why = (
                f"It failed: {state.message}. The error itself cannot be read from Prefect's result storage, since it "
                f"cannot be pickled, or the storage is not shared; job.logs() has its traceback."
            )
        told = ResultUnreadableError(why)
        told.__cause__ = error
        return Failed(data=told, message=str(told), timestamp=state.timestamp, state_details=state.state_details)
    # A copy of a state would be given another time.
    state.data = ResultRecord(metadata=state.data, result=value)
    return state


def _batches(ids: list[UUID]) -> list[list[UUID]]:
    return [ids[start : start + _READ_MOST] for start in range(0, len(ids), _READ_MOST)]


_lock = threading.Lock()
_current: RunWatcher | None = None


def run_watcher() -> RunWatcher:
    """Return the kernel's watcher; made at the first call."""
    global _current  # noqa: PLW0603 - one for each kernel
    loop = api_loop()
    with _lock:
        if _current is None or _current.loop is not loop:
            _current = RunWatcher(loop)
        return _current

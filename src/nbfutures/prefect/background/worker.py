"""A worker process: runs background tasks of a notebook, until its kernel is gone or it is told to end.

`python -m nbfutures.prefect.background.worker SERVICE NUMBER DONE` is started by the kernel that serves tasks.
It does what Prefect's own `TaskWorker` does, and besides: it takes a task run only when it can begin it, knows tasks by
the keys that they have in the kernel, leaves out what was cancelled, gives equal arguments a run each, and tells
Prefect what it had in hand when it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect import get_client
from prefect.client.schemas.objects import TaskRun
from prefect.client.subscriptions import Subscription
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelled, Crashed, Failed
from prefect.task_engine import run_task_async

from nbfutures.prefect.background.packed_tasks import read_tasks
from nbfutures.prefect.background.records import (
    WORKER_LABEL,
    WorkerRecord,
    is_cancelled,
    key_of_busy,
    read_services,
    worker_endings,
    worker_record,
)
from nbfutures.prefect.background.unreported_endings import Endings
from nbfutures.prefect.background.worker_calls import arguments_of, offered_again, prepared, run_sync
from nbfutures.prefect.private_settings import keep_secret
from nbfutures.prefect.server.lease import lease_server

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import State, StateDetails

    from nbfutures.prefect.background.packed_tasks import PackedTask
    from nbfutures.prefect.background.records import ServiceRecord

__all__ = ["main"]

_AGAIN_SECONDS = 1.0
"""Until Prefect is asked again, where the connection to it broke."""
_FULL_SECONDS = 0.5
"""For which the server may hold an item back for a worker that has no free slot."""
_KNOWN_SECONDS = 1.0
"""For which it is believed that a job goes on: how late a cancel takes effect that comes from Prefect's interface."""
_DOOR_SECONDS = 1.0
"""In which the server is told that nothing more is taken."""
_FAREWELL_SECONDS = 4.0
"""For telling Prefect what is left undone."""
_NOTE_SECONDS = 0.2

_logger = logging.getLogger("nbfutures.worker")


@dataclass(slots=True)
class _Taken:
    """A task run that this process has taken from Prefect's server."""

    run_id: UUID
    details: StateDetails
    """Of the state in which it was offered."""
    work: asyncio.Task[None] | None = None
    has_begun: bool = False


class _Worker:
    """Runs the tasks of a service.

    Args:
        service: What it is.
        number: Which of its processes this is.
        packed: Its tasks.
        done: How many items the processes before it have run.
    """

    def __init__(self, service: ServiceRecord, number: int, packed: list[PackedTask], done: int) -> None:
        self._service = service
        self._tasks = {key: task for one in packed for key, task in prepared(one).items()}
        self._file = worker_record(service.id, number)
        self._name = f"worker {number + 1} ({os.getpid()})"
        self._record = WorkerRecord(os.getpid(), done=done)
        self._record.write(self._file)
        self._executor = ThreadPoolExecutor(service.limit, thread_name_prefix="nbfutures worker")
        self._taken: dict[UUID, _Taken] = {}
        self._going_on: dict[UUID, float] = {}
        """When it was last known of a flow run that it goes on."""
        self._endings = Endings(worker_endings(service.id, number))
        self._is_dirty = False
        self._ending = threading.Lock()
        self._is_over = False
        """Whether nothing more is to be begun."""
        self._listener: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(self) -> None:
        """Run what Prefect's server gives, until told to end."""
        self._loop = loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.end, "Its worker was stopped.")
        loop.add_signal_handler(signal.SIGUSR1, self._drain)
        noting = asyncio.ensure_future(self._note())
        async with get_client() as client:
            self._listener = asyncio.ensure_future(self._listen(client))
            confirming = asyncio.ensure_future(self._endings.confirm(client))
            await asyncio.wait([self._listener])
            if self._is_over:
                # The farewell ends this process.
                await asyncio.Event().wait()
            if self._taken:
                await asyncio.wait([one.work for one in self._taken.values() if one.work is not None])
            confirming.cancel()
        noting.cancel()

    async def _listen(self, client: PrefectClient) -> None:
        slots = asyncio.Semaphore(self._service.limit)
        while True:
            given = self._subscription(self._tasks)
            self._record.is_ready = self._is_dirty = True
            try:
                while await _is_free(slots):
                    # First a slot: what is taken from the server cannot be given to another worker any more.
                    await slots.acquire()
                    try:
                        task_run = await anext(given)
                    except BaseException:
                        slots.release()
                        raise
                    self._begin(client, task_run, slots)
            except Exception:
                _logger.exception("Prefect's server is asked again")
                await asyncio.sleep(_AGAIN_SECONDS)
            finally:
                await _close(given)
            if slots.locked():
                await self._stay_away(slots)

    async def _stay_away(self, slots: asyncio.Semaphore) -> None:
        """Ask for nothing until there is a free slot: the server holds an item back for each worker that asks."""
        away = self._subscription(map(key_of_busy, self._tasks))
        asking = asyncio.ensure_future(anext(away))
        try:
            async with slots:
                pass
        finally:
            asking.cancel()
            await _close(away)

    def _subscription(self, keys: Iterable[str]) -> Subscription[TaskRun]:
        return Subscription(
            model=TaskRun,
            path="/task_runs/subscriptions/scheduled",
            keys=keys,
            client_id=f"{socket.gethostname()}-{os.getpid()}",
            base_url=PREFECT_API_URL.value(),
        )

    def _begin(self, client: PrefectClient, task_run: TaskRun, slots: asyncio.Semaphore) -> None:
        key = str(task_run.id)
        self._record.held[key] = task_run.name
        # At once: should this process be killed, this tells what it had.
        self._record.write(self._file)
        assert task_run.state is not None
        self._taken[task_run.id] = taken = _Taken(task_run.id, task_run.state.state_details)
        taken.work = asyncio.ensure_future(self._run(client, task_run, taken))

        def end(_: Any) -> None:
            del self._taken[task_run.id]
            self._record.held.pop(key, None)
            self._record.running.pop(key, None)
            self._record.done += 1
            self._is_dirty = True
            slots.release()

        taken.work.add_done_callback(end)

    async def _run(self, client: PrefectClient, task_run: TaskRun, taken: _Taken) -> None:
        try:
            if await self._is_cancelled(client, task_run.flow_run_id):
                told: State[Any] = Cancelled(message="Cancelled before it ran.")
                await client.set_task_run_state(task_run.id, told, force=True)
                return
            await self._call(task_run, taken)
        except Exception as error:
            _logger.exception("%s could not be run", task_run.name)
            told = Failed(message=f"The worker could not run it: {type(error).__name__}: {error}")
            await client.set_task_run_state(task_run.id, told, force=True)

    async def _call(self, task_run: TaskRun, taken: _Taken) -> None:
        """Run a task run, as Prefect's own workers do."""
        task = self._tasks[task_run.task_key]
        arguments = await arguments_of(task, task_run)
        if self._is_over:
            # The farewell gives it back.
            await asyncio.Event().wait()
        taken.has_begun = True
        self._record.running[str(task_run.id)] = self._record.held.pop(str(task_run.id))
        self._record.write(self._file)
        task_run.labels = {**task_run.labels, WORKER_LABEL: self._name}
        if task.isasync:
            state = await run_task_async(**arguments)
        else:
            call = functools.partial(copy_context().run, functools.partial(run_sync, arguments))
            state = await asyncio.get_running_loop().run_in_executor(self._executor, call)
        if state is not None:
            self._endings.add(task_run.id, state)

    async def _is_cancelled(self, client: PrefectClient, flow_run_id: UUID | None) -> bool:
        if flow_run_id is None:
            return False
        if is_cancelled(flow_run_id):
            return True
        if time.monotonic() - self._going_on.get(flow_run_id, -_KNOWN_SECONDS) < _KNOWN_SECONDS:
            return False
        state = (await client.read_flow_run(flow_run_id)).state
        if state is not None and (state.is_cancelling() or state.is_cancelled()):
            return True
        self._going_on[flow_run_id] = time.monotonic()
        return False

    # --- ending ----------------------------------------------------------------------------------------------------

    def end(self, why: str) -> None:
        """Take nothing more, tell Prefect what is left undone, and end this process and all that it started.

        From any thread. What it has not begun is offered to other workers again.
        """
        if self._ending.acquire(blocking=False):
            self._is_over = True
            threading.Thread(target=self._say_farewell, args=(why,), daemon=True).start()
            threading.Thread(target=self._end_late, daemon=True).start()

    def _end_late(self) -> None:
        time.sleep(_FAREWELL_SECONDS)
        self._leave()

    def _say_farewell(self, why: str) -> None:
        try:
            if self._loop is not None:
                # It may be blocked by a task: then, nothing is taken either.
                with contextlib.suppress(TimeoutError):
                    asyncio.run_coroutine_threadsafe(self._leave_door(), self._loop).result(_DOOR_SECONDS)
            left = list(self._taken.values())
            if left:
                with get_client(sync_client=True) as client:
                    for one in left:
                        if one.has_begun:
                            client.set_task_run_state(one.run_id, Crashed(message=why), force=True)
                        else:
                            client.set_task_run_state(one.run_id, offered_again(one.details))
        except Exception:
            _logger.exception("Prefect could not be told what is left undone")
        else:
            self._file.unlink(missing_ok=True)
        self._leave()

    async def _leave_door(self) -> None:
        """Have the server give what it is about to give here to others."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.wait([self._listener])

    def _leave(self) -> None:
        # The process group: a flow's process pool ends, too.
        os.killpg(0, signal.SIGKILL)

    def _drain(self) -> None:
        self._record.is_draining = self._is_dirty = True
        if self._listener is not None:
            self._listener.cancel()

    async def _note(self) -> None:
        while True:
            await asyncio.sleep(_NOTE_SECONDS)
            if self._is_dirty:
                self._is_dirty = False
                self._record.write(self._file)


async def _is_free(slots: asyncio.Semaphore) -> bool:
    """Wait a moment for a free slot."""
    try:
        async with asyncio.timeout(_FULL_SECONDS), slots:
            return True
    except TimeoutError:
        return False


async def _close(given: Subscription[TaskRun]) -> None:
    # Else the server goes on giving. There is no connection where it was refused.
    with contextlib.suppress(Exception):
        await given.websocket.close()


def _end_with_kernel(worker: _Worker, kernel: int) -> None:
    def follow() -> None:
        # Nothing is ever written: this returns when the kernel is gone, even if killed. A process that it forked may
        # hold the other end, so that its id is looked at, too.
        threading.Thread(target=read, daemon=True).start()
        while os.getppid() == kernel and not is_over.wait(1.0):
            pass
        worker.end("Its worker ended with the kernel that served it; %serve --keep lets workers go on.")

    def read() -> None:
        sys.stdin.buffer.read(1)
        is_over.set()

    is_over = threading.Event()
    threading.Thread(target=follow, name="nbfutures kernel", daemon=True).start()


def main(arguments: list[str]) -> None:
    """Be worker process number `arguments[1]` of the service `arguments[0]`, which has run `arguments[2]` items."""
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", level=logging.INFO)
    # httpx tells each request.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_secret()
    name, number, done = arguments[0], int(arguments[1]), int(arguments[2])
    service = next((one for one in read_services() if one.id == name), None)
    if service is None:
        return  # It was stopped meanwhile.
    kept = lease_server() if service.keep and _has_own_server() else None
    worker = _Worker(service, number, read_tasks(name, for_use=True), done)
    if not service.keep:
        _end_with_kernel(worker, service.kernel)
    asyncio.run(worker.serve())
    worker_record(name, number).unlink(missing_ok=True)
    if kept is not None:
        kept.release()


def _has_own_server() -> bool:
    from nbfutures.prefect.background.manifest import server_id

    return bool(server_id())


if __name__ == "__main__":
    main(sys.argv[1:])

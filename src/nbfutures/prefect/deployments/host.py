"""Serve a flow of a notebook: the process that makes its deployment, and runs what is asked of it.

`python -m nbfutures.prefect.deployments.host FOLDER` is started by `nbfutures.prefect.deployments.serving`, which
leaves the flow and what is to be done with it in the folder. It is a process in a session of its own, so that an
interrupt of a cell does not reach it; it ends with the kernel, however that ends, unless it is to be kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import select
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbfutures.engine.process_lock import ProcessLock
from nbfutures.prefect.deployments.folder import ERROR, LOCK, READY, read_plan, write_plan, write_text

if TYPE_CHECKING:
    from nbfutures.prefect.server.lease import ServerLease

__all__ = ["main"]

_POLL_SECONDS = 1.0
"""Between two questions for scheduled flow runs; Prefect's own default is 10 s."""
_PARENT_SECONDS = 1.0
_END_SECONDS = 20.0
"""For the flow runs to be cancelled, after which the process ends all the same."""


def main(arguments: list[str]) -> None:
    """Serve the flow of a folder until told to stop."""
    folder = Path(arguments[0])
    # Held as long as this process lives: so do others know.
    lock = ProcessLock.acquire(folder / LOCK)
    if lock is None:
        return
    plan = read_plan(folder)
    if plan is None:
        return
    # For a kernel that finds this process and did not start it.
    write_plan(folder, plan | {"pid": os.getpid()})
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if not plan["keep"]:
        threading.Thread(target=_follow_kernel, args=(stop,), name="nbfutures kernel", daemon=True).start()
    try:
        with _held_server(plan):
            _serve(folder, plan, stop)
    except BaseException as error:
        traceback.print_exc()
        write_text(folder / ERROR, f"{type(error).__name__}: {error}")
        raise


def _serve(folder: Path, plan: dict[str, Any], stop: threading.Event) -> None:
    sys.path.extend(path for path in plan["path"] if path not in sys.path)
    sys.path.insert(0, str(folder))
    # The module sees to it that the flow runs, which are processes, get no secret by their environment.
    flow = getattr(importlib.import_module(plan["module"]), plan["function"])
    # In a thread: in the main thread, Prefect's runner would take SIGTERM for itself.
    problem: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(_run(folder, flow, plan, stop))
        except BaseException as error:
            problem.append(error)
        finally:
            stop.set()

    runner = threading.Thread(target=run, name="nbfutures runner", daemon=True)
    runner.start()
    stop.wait()
    runner.join(_END_SECONDS)
    if runner.is_alive():
        # A flow run does not end. It would hold up this process for ever: all of its session goes.
        os.killpg(0, signal.SIGKILL)
    if problem:
        raise problem[0]


async def _run(folder: Path, flow: Any, plan: dict[str, Any], stop: threading.Event) -> None:
    from prefect.runner import Runner

    runner = Runner(
        name=plan["name"], query_seconds=_POLL_SECONDS, limit=plan["workers"], pause_on_shutdown=False, webserver=False
    )
    deployment = await runner.aadd_flow(flow, name=plan["name"])
    serving = asyncio.create_task(runner.start())
    stopping = asyncio.create_task(_wait_for(stop))
    while not runner.started and not serving.done() and not stopping.done():  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.05)
    if runner.started:
        write_text(folder / READY, str(deployment))
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        await serving
        return
    if runner.started:
        # What runs is cancelled, in Prefect too, before its process is ended.
        await runner.astop()
    else:
        serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving


async def _wait_for(stop: threading.Event) -> None:
    while not stop.is_set():  # noqa: ASYNC110 - set by a signal
        await asyncio.sleep(0.1)


@contextlib.contextmanager
def _held_server(plan: dict[str, Any]) -> Any:
    """Keep the local server, if it is that, for as long as this process serves."""
    lease: ServerLease | None = None
    if plan["is_local_server"]:
        from nbfutures.prefect.server.lease import lease_server

        lease = lease_server()
    try:
        yield
    finally:
        if lease is not None:
            lease.release()


def _follow_kernel(stop: threading.Event) -> None:
    """Wait for the end of the kernel: of the pipe that only it holds, or of the process."""
    parent = os.getppid()
    while os.getppid() == parent:
        # Nothing is ever written: what can be read is the end.
        if select.select([sys.stdin], [], [], _PARENT_SECONDS)[0]:
            break
    stop.set()


if __name__ == "__main__":
    main(sys.argv[1:])

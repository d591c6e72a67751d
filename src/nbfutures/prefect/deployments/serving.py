"""Serving a flow of the notebook as a deployment, from a process of its own.

Prefect takes no flow that is defined interactively: it is written, by value, next to a small module that can be
imported.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from nbfutures.engine.calls.work import is_prefect_flow
from nbfutures.engine.process_lock import is_held
from nbfutures.errors import InvalidOptionError, MapArgumentsError, NbfuturesError, PicklingError, ServeError
from nbfutures.model.options import check_whole
from nbfutures.prefect.deployments import folder as files
from nbfutures.prefect.prefect_logging import with_prefects_own_logging
from nbfutures.prefect.runners import default_workers

if TYPE_CHECKING:
    from pathlib import Path

    from nbfutures.engine.contracts import Connection

__all__ = ["ServedFlow", "close", "find_served", "serve_flow", "served_flows", "stop_serving"]

_LOOK_SECONDS = 0.1
_STOP_SECONDS = 25.0
"""For the flow runs to be cancelled, and the process to end."""
_TAIL = 5
_WIDTH = 300


class ServedFlow:
    """A flow that a process serves as a deployment. Safe to use from any thread.

    Args:
        name: The deployment: "flow/name".
        folder: What the process needs.
        session: The kernel's connection to Prefect.
        is_kept: Whether it goes on when the kernel ends.
    """

    def __init__(self, name: str, folder: Path, session: Connection, *, is_kept: bool) -> None:
        self.name = name
        """The deployment, for `nbf.options(deployment=...)`."""
        self.is_kept = is_kept
        """Whether it goes on when the kernel ends."""
        self._folder = folder
        self._session = session
        self._process: subprocess.Popen[bytes] | None = None
        self._is_launching = False
        self._problem: BaseException | None = None
        self._stopped = threading.Event()
        self._lock = threading.Lock()

    # --- asking ----------------------------------------------------------------------------------------------------

    @property
    def pid(self) -> int | None:
        """Id of the process; `None` before it is started."""
        if self._process is not None:
            return self._process.pid
        plan = files.read_plan(self._folder)
        return plan.get("pid") if plan is not None and self.is_alive else None

    @property
    def is_alive(self) -> bool:
        """Whether the process runs, or is about to."""
        if self._is_launching:
            return True
        if self._process is not None:
            return self._process.poll() is None
        return is_held(self._folder / files.LOCK)

    @property
    def is_starting(self) -> bool:
        """Whether it is not known yet whether the flow can be served."""
        return self.is_alive and not (self._folder / files.READY).exists()

    @property
    def is_ready(self) -> bool:
        """Whether flow runs of the deployment are run."""
        return self.is_alive and (self._folder / files.READY).exists()

    @property
    def log(self) -> Path:
        """What the process and its flow runs print."""
        return self._folder / files.LOG

    def running(self) -> list[str]:
        """Return the names of the flow runs that run now. Asks Prefect, and blocks for that."""
        if not self.is_ready:
            return []
        # A kernel that found it may not be connected yet: without that, Prefect would start a server of its own.
        self._session.wait_until_ready()
        from nbfutures.prefect.deployments.running import running_flow_runs

        return running_flow_runs(self.name)

    def check(self) -> None:
        """Raise `ServeError` if the process has ended without being told to."""
        if self.is_alive or self._stopped.is_set():
            return
        why = self._problem or _read(self._folder / files.ERROR) or _tail(self.log) or "its log is empty"
        raise ServeError(
            f"The process that serves {self.name!r} has ended: {why}. Its log: {self.log}. "
            f"Correct the cause and serve the flow again."
        )

    def wait_until_ready(self, timeout: float | None = None) -> bool:
        """Block until flow runs are run.

        Args:
            timeout: Seconds to wait at most; `None` for no limit.

        Returns:
            Whether it is ready; False if it has ended.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.is_starting:
            left = _LOOK_SECONDS if deadline is None else min(deadline - time.monotonic(), _LOOK_SECONDS)
            if left <= 0 or self._stopped.wait(left):
                break
        return self.is_ready

    def __str__(self) -> str:
        """Return what `%serve` lists, with what runs now. Asks Prefect, and blocks for that."""
        names = self.running()
        runs = f", runs {', '.join(names)}" if names else ""
        return f"{self!r}{runs}"

    def __repr__(self) -> str:
        if self.is_ready:
            state = f"served by process {self.pid}{', kept' if self.is_kept else ''}"
        else:
            state = "starting" if self.is_alive else "not served any longer"
        return f"{self.name}: {state}"

    # --- steering --------------------------------------------------------------------------------------------------

    def stop(self, timeout: float = _STOP_SECONDS) -> None:
        """Stop serving: what runs is cancelled. Blocks until the process has ended; it is killed after `timeout` s."""
        self.ask_to_stop()
        deadline = time.monotonic() + timeout
        while self.is_alive and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
        pid = self.pid
        if self.is_alive and pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                # It leads a session of its own: its flow runs end with it.
                os.killpg(pid, signal.SIGKILL)
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)

    def ask_to_stop(self) -> None:
        """Tell the process to end. Does not block."""
        self._stopped.set()
        with self._lock:
            process = self._process
        if process is None:
            pid = None if self._is_launching else self.pid
            if pid is not None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGTERM)
            return
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        if process.poll() is None:
            process.terminate()

    # --- starting --------------------------------------------------------------------------------------------------

    def launch(self, before: list[ServedFlow]) -> None:
        """Start the process in the background, once Prefect answers.

        Args:
            before: Served under the same name: they end first, so that no flow run goes to the old code.
        """
        self._is_launching = True
        threading.Thread(target=self._launch, args=(before,), name=f"nbfutures serve {self.name}", daemon=True).start()

    def _launch(self, before: list[ServedFlow]) -> None:
        try:
            for one in before:
                one.stop()
            self._session.wait_until_ready(self._stopped)
            with self._lock:
                if not self._stopped.is_set():
                    self._process = self._start(is_local_server=self._session.lease is not None)
        except BaseException as error:
            self._problem = error
        finally:
            self._is_launching = False

    def _start(self, *, is_local_server: bool) -> subprocess.Popen[bytes]:
        plan = files.read_plan(self._folder) or {}
        files.write_plan(self._folder, {**plan, "is_local_server": is_local_server})
        # Its log tells what Prefect does; the kernel's own environment keeps that out of cells.
        environment = with_prefects_own_logging(os.environ)
        environment |= {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO", "PYTHONUNBUFFERED": "1"}
        with self.log.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "nbfutures.prefect.deployments.host", str(self._folder)],
                env=environment,
                # Its end tells the process that the kernel has ended.
                stdin=subprocess.DEVNULL if self.is_kept else subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        threading.Thread(target=process.wait, name="nbfutures served flow", daemon=True).start()
        return process


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8").strip()
    except OSError:
        return ""


def _tail(log: Path) -> str:
    lines = _read(log).splitlines()[-_TAIL:]
    return " | ".join(line.strip()[:_WIDTH] for line in lines)


_served: dict[str, ServedFlow] = {}
_served_lock = threading.Lock()


def serve_flow(
    flow: Any, name: str, *, session: Connection, workers: int | None = None, keep: bool = False
) -> ServedFlow:
    """Serve a flow as a deployment from a process of its own. Does not block.

    A flow of that name which this kernel serves, or which was kept, is replaced. The flow is sent as it is now: after
    a change, serve it again. Its result is persisted, unless it says `persist_result=False`.

    Args:
        flow: A Prefect flow, also one that is defined in the notebook.
        name: Name of the deployment.
        session: The kernel's connection to Prefect.
        workers: How many of its flow runs run at once, each in a process; the number of CPUs if not given.
        keep: Whether to go on when the kernel ends.

    Raises:
        MapArgumentsError: If it is no flow.
        InvalidOptionError: If the name or the number cannot be taken.
        PicklingError: If something that the flow uses cannot be sent.
        ServeError: If this system cannot do it.
    """
    if sys.platform == "win32":
        raise ServeError("nbfutures cannot serve a flow on Windows. Use Prefect's flow.serve() in a script.")
    if not is_prefect_flow(flow):
        raise MapArgumentsError(
            f"A deployment is made of a Prefect flow, got {type(flow).__name__}. Put @flow above the function."
        )
    if not isinstance(name, str) or not name.strip() or any(sign in name for sign in "/%&<>"):
        raise InvalidOptionError(
            f"name must be a text without / % & < >, got {name!r}. With name='nightly' the deployment is called "
            f"'{flow.name}/nightly'."
        )
    check_whole("workers", workers, least=1)
    full_name = f"{flow.name}/{name}"
    if flow.persist_result is None:
        # What it returns would be lost with its process.
        flow = flow.with_options(persist_result=True)
    plan = {
        "name": name,
        "workers": workers or default_workers("processes"),
        "keep": keep,
        "path": [path for path in sys.path if path],
    }
    packed = _packed(flow)
    session.start()
    with _served_lock:
        before = [one for one in served_flows(session) if one.name == full_name]
        files.remove_ended({one._folder for one in _served.values()})
        folder = files.make_folder(full_name, flow.fn.__name__, packed, plan)
        made = ServedFlow(full_name, folder, session, is_kept=keep)
        _served[full_name] = made
    made.launch(before)
    return made


def served_flows(session: Connection) -> list[ServedFlow]:
    """Return the flows that this kernel serves, and those that were kept, by name.

    Args:
        session: The kernel's connection to Prefect.
    """
    own = [one for one in _served.values() if one.is_alive]
    known = {one._folder for one in own}
    kept = [
        ServedFlow(plan["full_name"], folder, session, is_kept=True)
        for folder in files.folders()
        if folder not in known and (plan := files.read_plan(folder)) is not None and plan.get("keep")
    ]
    return sorted([*own, *kept], key=lambda one: one.name)


def stop_serving(session: Connection, name: str | None = None) -> list[str]:
    """Stop serving flows; what runs is cancelled. Blocks until their processes have ended.

    Args:
        session: The kernel's connection to Prefect.
        name: Only the deployment of this name; all if not given.

    Returns:
        The names of the deployments.

    Raises:
        NbfuturesError: If no flow is served under this name.
    """
    served = served_flows(session)
    chosen = [one for one in served if name in (None, one.name)]
    if name is not None and not chosen:
        known = ", ".join(one.name for one in served) or "none"
        raise NbfuturesError(f"No flow is served as {name!r}. Served now: {known}.")
    for one in chosen:
        one.ask_to_stop()
    for one in chosen:
        one.stop()
    return [one.name for one in chosen]


def find_served(name: str) -> ServedFlow | None:
    """Return the flow that this kernel serves under a deployment's name, also one whose process has ended."""
    return _served.get(name)


def close() -> None:
    """Tell the processes to end that are not to be kept. Does not block."""
    with _served_lock:
        served = [one for one in _served.values() if not one.is_kept]
        _served.clear()
    for one in served:
        one.ask_to_stop()


def _packed(flow: Any) -> bytes:
    from nbfutures.engine.workers.packing import pack, unsendable_function

    try:
        return pack(flow)
    except Exception as error:
        told = unsendable_function(flow.fn, {}, flow.name, error)
        raise PicklingError(
            f"{told.problem or told}. Make it inside the flow, or give it as a parameter; then serve the flow again."
        ) from None

"""A flow that is served, as the kernel holds it: its process is started, asked and stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

from nbfutures.errors import ServeError
from nbfutures.runtime.deployments import folder as files
from nbfutures.runtime.prefect_logging import with_prefects_own_logging
from nbfutures.runtime.process_lock import is_held

if TYPE_CHECKING:
    from pathlib import Path

    from nbfutures.runtime.contracts import Connection

__all__ = ["ServedFlow"]

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
        from nbfutures.runtime.deployments.running import running_flow_runs

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
                [sys.executable, "-m", "nbfutures.runtime.deployments.host", str(self._folder)],
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

"""Find or start the local Prefect server, and hold a lease on it.

One server serves all kernels of a user. It runs below a supervisor (`supervisor.py`), in a process session of its own,
so that interrupting a cell does not reach it, and it stops when the last lease is gone. Nothing in this module
waits for the server, but `ServerLease.wait_until_ready`; nothing imports Prefect.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import filelock

from nbfutures.engine.process_lock import ProcessLock, is_held
from nbfutures.errors import ServerStartError
from nbfutures.prefect.server import server_state
from nbfutures.prefect.server.health import Health, check_health, lets_in
from nbfutures.prefect.server.orphaned_runs import ENDED, OPEN

if TYPE_CHECKING:
    from types import TracebackType
    from uuid import UUID

    from nbfutures.prefect.server.server_state import ServerRecord

__all__ = ["Health", "ServerAddress", "ServerLease", "check_health", "lease_server"]

# What tells nothing: Prefect's name in letters of lines and its address at every start, and the frames of tracebacks.
_NOISE: Final = re.compile(
    r" {4}|  File |Traceback|The above exception|During handling| ___|\| _ \\|\|  _/|\|_\| \|"
    r"|Configure Prefect|View the API|Check out|Server stopped"
)
_FULL: Final = re.compile(r"disk is full|No space left|disk quota exceeded", re.IGNORECASE)
_LITTLE: Final = 1_000_000  # bytes
_LOG_LIMIT: Final = 5_000_000  # bytes
_LOG_LINES: Final = 8  # of the log, in the message of an error
_LOG_WIDTH: Final = 300  # characters
_POLL_INTERVAL: Final = 0.1  # seconds
_POLL_TIMEOUT: Final = 5.0  # seconds; the event loop of a busy server can be slow


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where the local Prefect server is, and how to be let in."""

    api_url: str
    """For `PREFECT_API_URL`; ends in `/api`."""
    auth: str
    """For `PREFECT_API_AUTH_STRING`: `user:password`. A secret: not for command lines, environments or logs."""
    log: Path
    """What the server and its supervisor print."""
    ui_url: str
    """Prefect's user interface, for a browser on the same machine. It asks for `auth`."""


class ServerLease:
    """The right to use the local server: while a process holds one, the server stays.

    A lease ends with `release`, and with the process, however that ends. Children that are forked do not hold it.
    All methods may be called from any thread.
    """

    def __init__(self, state: Path, record: ServerRecord, lock: ProcessLock, path: Path) -> None:
        self.state = state
        """Directory of the server's state."""
        self.record = record
        """What is known of the server."""
        self._lock = lock
        self._path = path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    @property
    def address(self) -> ServerAddress:
        """Where the server is. Final once `wait_until_ready` has returned: until then its port may change."""
        record = self.record
        return ServerAddress(api_url=record.api_url, auth=record.auth, log=Path(record.log), ui_url=record.ui_url)

    def is_alive(self) -> bool:
        """Tell whether the server is there or about to be. If not, take a new lease: that starts a new server.

        Looks at one file and asks nobody. False at most a second after the server process has ended.
        """
        return is_held(server_state.supervisor_lock(self.state, self.record.id))

    def wait_until_ready(self, timeout: float = 240.0, stop: threading.Event | None = None) -> None:
        """Block until the server answers.

        Args:
            timeout: Seconds. The first start, which creates the database, takes 20 s on a quiet machine and over a
                minute on a busy one.
            stop: Set it, from another thread, to end the waiting.

        Raises:
            ServerStartError: As soon as the server has ended, at the timeout, or when `stop` is set.
        """
        stop = stop or threading.Event()
        began = time.monotonic()
        while not self._answers():
            waited = time.monotonic() - began
            if not self.is_alive():
                raise ServerStartError(self._explain(f"it ended after {waited:.0f} s of waiting for it"))
            if waited > timeout:
                raise ServerStartError(
                    self._explain(f"it does not answer at {self.address.api_url} after {waited:.0f} s")
                )
            if stop.wait(_POLL_INTERVAL):
                raise ServerStartError("The local Prefect server was no longer waited for; take a new lease to use it.")

    def release(self) -> None:
        """End the lease. The server stops some seconds after the last one. May be called again."""
        if not self._lock.closed:  # else the file may be that of the parent of this forked process
            self._path.unlink(missing_ok=True)
            self._lock.close()

    def explain_failure(self) -> str:
        """Return why the server may have answered that it failed: a disk that is full, or what its log ends with."""
        log = self.record.log
        lines = _last_lines(Path(log), self.record.log_start)
        free = shutil.disk_usage(self.state).free
        if free > _LITTLE and not _FULL.search(lines):
            told = f"Its log, {log}, ends with:\n{lines}" if lines else f"Its log, {log}, says nothing of it."
            return f"The local Prefect server failed at what it was asked for. {told}"
        place = next(one for one in (self.state, *self.state.parents) if one.is_mount())
        return (
            f"The disk at {place} is full ({free / 1e6:.1f} MB free): the local Prefect server could not write to its "
            f"database in {self.state}. Make room there, or set NBFUTURES_HOME to a directory on another disk and "
            f"restart the kernel; then run job.retry(). The server's log: {log}"
        )

    def note_open(self, flow_run_id: UUID) -> None:
        """Have a flow run be called crashed if this process ends before `note_ended`, such as by a kill."""
        self._write(f"{OPEN}{flow_run_id}")

    def note_ended(self, flow_run_id: UUID) -> None:
        """Say that a flow run has ended, or is to go on without this process."""
        self._write(f"{ENDED}{flow_run_id}")

    def _write(self, line: str) -> None:
        # A disk that is full must not end a job.
        with contextlib.suppress(OSError, ValueError):
            os.write(self._lock.descriptor, f"{line}\n".encode("ascii"))

    def _answers(self) -> bool:
        current = server_state.read_record(self.state)
        if current is not None and current.id == self.record.id:
            self.record = current
        return self.record.is_started and lets_in(self.record.api_url, self.record.auth, _POLL_TIMEOUT)

    def _explain(self, what: str) -> str:
        log = self.record.log
        lines = _last_lines(Path(log), self.record.log_start)
        return (
            f"The local Prefect server did not start: {what}.\n"
            + (f"Its log, {log}, ends with:\n{lines}\n" if lines else f"Its log, {log}, is empty.\n")
            + "Look there for the cause (often a full or read-only disk, or versions of packages that do not fit "
            "together: `python -m prefect version` in a terminal tells) and try again, "
            "or set PREFECT_API_URL to a Prefect server that runs already."
        )


def lease_server(home: Path | None = None, *, previous: ServerLease | None = None) -> ServerLease:
    """Take a lease on the user's local Prefect server, and start one if there is none.

    Returns within milliseconds, while the server may take half a minute to start: see `wait_until_ready`.

    Args:
        home: Directory for the state of servers. If None, `NBFUTURES_HOME`, else the user's state directory.
        previous: A lease that this process had. If its server is gone, the one that is started takes its place, at the
            same port and with the same secret, so that what Prefect still has open in this process finds it.

    Raises:
        ServerStartError: If no server can be started here.
    """
    if sys.platform == "win32":
        raise ServerStartError(
            "nbfutures cannot run a Prefect server of its own on Windows. "
            "Start one with `prefect server start`, and set PREFECT_API_URL=http://127.0.0.1:4200/api."
        )
    state = server_state.open_state_directory(home)
    try:
        with server_state.mutex(state):
            # Within the mutex, so that a supervisor that wants to stop either sees the lease or is gone already.
            record = _running(state) or _start(state, previous)
            return _take_lease(state, record)
    except filelock.Timeout as error:
        raise ServerStartError(
            f"Another process has been holding {state / 'state.lock'} for too long. "
            "End it (`fuser` names it) and try again, or set NBFUTURES_HOME to another directory."
        ) from error
    except OSError as error:
        raise ServerStartError(
            f"The local Prefect server cannot be started in {state}: {error}. "
            "Make room there, or set NBFUTURES_HOME to another directory, and restart the kernel."
        ) from error


def _running(state: Path) -> ServerRecord | None:
    record = server_state.read_record(state)
    if record is None or not is_held(server_state.supervisor_lock(state, record.id)):
        return None
    if record.loopback != server_state.loopback_identity():
        raise ServerStartError(
            f"The local Prefect server in {state} runs on another machine or in another container, out of reach from "
            "here. Set NBFUTURES_HOME to a directory that is not shared with it, and restart the kernel."
        )
    return record


def _start(state: Path, previous: ServerLease | None) -> ServerRecord:
    for left in state.glob("supervisor-*.lock"):  # by supervisors that were killed
        left.unlink(missing_ok=True)
    log = state / "server.log"
    if log.exists() and log.stat().st_size > _LOG_LIMIT:
        log.replace(log.with_name("server.log.1"))
    record_id = secrets.token_hex(8)
    # Where another program has the port by then, the supervisor takes a new one, and a new secret. One that had it for
    # a moment and let it go may know the secret, if a kernel asked there meanwhile.
    known = previous.record if previous is not None and previous.state == state else None
    port = known.port if known is not None else server_state.free_port()
    auth = known.auth if known is not None else server_state.new_auth()
    if known is None:
        # They let nobody in any more.
        for left in server_state.profiles_directory(state).glob("*.toml"):
            left.unlink(missing_ok=True)
    lock = ProcessLock.acquire(server_state.supervisor_lock(state, record_id))
    if lock is None:  # pragma: no cover - the name is new
        raise ServerStartError("The name of the new server is taken; try again.")
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        log_start = os.fstat(output).st_size
        process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "nbfutures.prefect.server.supervisor", str(state)],
            cwd=state,  # neither a settings file nor a module of the notebook's directory is for the server
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            close_fds=True,
            pass_fds=[lock.descriptor],
            start_new_session=True,
        )
    finally:
        os.close(output)
        lock.close()
    # Reaps the supervisor when it ends, which may be long before this process does.
    threading.Thread(target=process.wait, name="nbfutures-supervisor-wait", daemon=True).start()
    record = server_state.ServerRecord(
        id=record_id,
        pid=process.pid,
        port=port,
        api_url=server_state.api_url(port, os.environ),
        ui_url=server_state.ui_url(port, os.environ),
        auth=auth,
        log=str(log),
        log_start=log_start,
        loopback=server_state.loopback_identity(),
    )
    server_state.write_record(state, record)
    return record


def _take_lease(state: Path, record: ServerRecord) -> ServerLease:
    name = f"{record.id}-{os.getpid()}-{secrets.token_hex(4)}"
    path = server_state.leases_directory(state) / name
    # The supervisor removes lease files that nobody holds: it must not see this one before it is locked.
    unseen = path.with_name(f".{name}")
    lock = ProcessLock.acquire(unseen)
    if lock is None:  # pragma: no cover - the name is new
        raise ServerStartError("The name of the new lease is taken; try again.")
    try:
        unseen.rename(path)
    except BaseException:
        lock.close()
        raise
    return ServerLease(state, record, lock, path)


def _last_lines(log: Path, start: int) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(start, log.stat().st_size - 64_000))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [line.rstrip() for line in text.splitlines() if line.strip() and not _NOISE.match(line)]
    return "\n".join(f"    {line[:_LOG_WIDTH]}" for line in lines[-_LOG_LINES:])

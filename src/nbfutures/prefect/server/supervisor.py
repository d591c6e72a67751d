"""Own the local Prefect server: start it, watch who uses it, and end it when nobody does.

`python -m nbfutures.prefect.server.supervisor STATE` is started by `lease_server`, which has taken the supervisor's
lock for it and leaves the port and the secret in the record. It is a process of its own since the server must outlive
the kernel that started it, and must not outlive the last kernel.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import os
import runpy
import select
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nbfutures.engine.process_lock import ProcessLock
from nbfutures.prefect.prefect_logging import with_prefects_own_logging
from nbfutures.prefect.server import server_state
from nbfutures.prefect.server.health import lets_in
from nbfutures.prefect.server.orphaned_runs import tell_crashed
from nbfutures.prefect.server.server_state import LOOPBACK, ServerRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["main"]

# Settings that make Prefect's server fit for one user and thousands of short task runs. Each is a default: it is set
# if none of its names, the first of which is the current one, is in the environment.
_DEFAULTS: Final[Mapping[tuple[str, ...], str]] = {
    # One transaction for each task run event cannot keep up with a fan-out: events are dropped.
    ("PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE",): "200",
    ("PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL",): "1",
    # The feed of events and automations cost most of the server's time, and notebooks use neither.
    (
        "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED",
        "PREFECT_API_SERVICES_EVENT_PERSISTER_ENABLED",
    ): "false",
    ("PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED", "PREFECT_API_SERVICES_TRIGGERS_ENABLED"): "false",
    # A lease that is kept in memory is lost with the server, and its slots of a limit would be taken for ever.
    ("PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE",): "prefect.server.concurrency.lease_storage.filesystem",
    # How often it looks for leases whose holder has died.
    ("PREFECT_SERVER_SERVICES_REPOSSESSOR_LOOP_SECONDS",): "5",
    # How long Prefect's `concurrency()` and its tasks with tags wait before they ask again for a slot: one of each
    # process asks at a time, so that a notebook need not wait half a minute for a slot that is free.
    ("PREFECT_SERVER_CONCURRENCY_MAXIMUM_CONCURRENCY_SLOT_WAIT_SECONDS",): "0.5",
    (
        "PREFECT_SERVER_TASKS_TAG_CONCURRENCY_SLOT_WAIT_SECONDS",
        "PREFECT_TASK_RUN_TAG_CONCURRENCY_SLOT_WAIT_SECONDS",
    ): "0.5",
    # The new user interface asks an analytics host.
    ("PREFECT_SERVER_UI_V2_ENABLED",): "false",
    ("PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT",): "false",
    ("PREFECT_SERVER_LOGGING_LEVEL", "PREFECT_LOGGING_SERVER_LEVEL"): "WARNING",
}
_DATABASE_NAMES: Final = ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_API_DATABASE_CONNECTION_URL")
_UI_DIRECTORY_NAMES: Final = ("PREFECT_SERVER_UI_STATIC_DIRECTORY", "PREFECT_UI_STATIC_DIRECTORY")
_UI_BASE_NAMES: Final = ("PREFECT_SERVER_UI_SERVE_BASE", "PREFECT_UI_SERVE_BASE")
_API_BASE_NAMES: Final = ("PREFECT_SERVER_API_BASE_PATH",)
_UI_API_NAMES: Final = ("PREFECT_SERVER_UI_API_URL", "PREFECT_UI_API_URL")
# About another server, about the user's profile, or about colours: a kernel asks for them even in files, and with
# them Prefect believes that it may ask questions.
_REMOVED: Final = (
    "PREFECT_API_URL",
    "PREFECT_API_KEY",
    "PREFECT_API_AUTH_STRING",
    "PREFECT_SERVER_API_AUTH_STRING",
    "PREFECT_PROFILE",
    "PREFECT_PROFILES_PATH",
    "FORCE_COLOR",
    "CLICOLOR",
    "CLICOLOR_FORCE",
)


def server_environment(
    state: Path, record: server_state.ServerRecord, environment: Mapping[str, str]
) -> dict[str, str]:
    """Return the environment that the server is started with; its secret is not in it, the server reads the record.

    Args:
        state: The state directory.
        record: Port and addresses.
        environment: The supervisor's own. Tuning settings in it are kept; what guards the server and keeps it from
            reporting to others is not up to it.
    """
    kept = with_prefects_own_logging(environment)
    server = {name: value for name, value in kept.items() if name not in _REMOVED}
    defaults = {
        **_DEFAULTS,
        _DATABASE_NAMES: f"sqlite+aiosqlite:///{server_state.database_file(state)}",
        # By default the built interface goes into the installed package, which may be read-only or shared.
        _UI_DIRECTORY_NAMES: str(server_state.ui_directory(state)),
        # Without a host: a browser may know this machine by another name, or reach it by way of Jupyter's server.
        _UI_API_NAMES: urllib.parse.urlsplit(record.api_url).path,
        _UI_BASE_NAMES: urllib.parse.urlsplit(record.ui_url).path,
        _API_BASE_NAMES: urllib.parse.urlsplit(record.api_url).path,
    }
    for names, value in defaults.items():
        if not any(name in server for name in names):
            server[names[0]] = value
    server |= {
        # Not the user's: its profiles and settings are for clients, and other servers use it too.
        "PREFECT_HOME": str(state / "home"),
        "PREFECT_SERVER_API_HOST": server_state.LOOPBACK,
        "PREFECT_SERVER_API_PORT": str(record.port),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_CLI_COLORS": "false",
        "NO_COLOR": "1",
    }
    return server


_log: Final = logging.getLogger("nbfutures.supervisor")

_TICK: Final = 1.0  # seconds between two looks at the leases
_GRACE: Final = 5.0  # seconds without a lease after which the server is stopped
_QUIET: Final = 5.0  # seconds without a write to the database after which nothing is left to be recorded
_RECORD: Final = 60.0  # seconds after the grace that are waited for that at most
_STOP: Final = 20.0  # seconds for the server to end when asked
_START: Final = 300.0  # seconds after which a server that never answered may be stopped in its start
_PREDECESSOR: Final = 60.0  # seconds for the server before to end: _STOP, and as much again if killed
_PORTS: Final = 5  # ports that are tried


class _End(enum.Enum):
    """Why the server is not watched any longer."""

    UNUSED = "nobody uses it"
    SIGNAL = "the supervisor was told to stop"
    DIED = "it ended by itself"
    UNBORN = "it ended before it answered"


class _Supervisor:
    def __init__(self, state: Path, record: ServerRecord, grace: float) -> None:
        self._state = state
        self._record = record
        self._grace = grace
        self._told_to_stop = False
        self._wakeup, self._wake = os.pipe()
        self._lifeline, self._life = os.pipe()

    def run(self) -> None:
        """Run the server until nobody needs it; whatever happens, the record and the server are gone at the end."""
        self._handle_signals()
        server = None
        try:
            database = self._lock_database()
            if database is None:
                return
            for _ in range(_PORTS):
                server = self._start(database)
                end = self._watch(server)
                status = "" if server.returncode is None else f" (exit status {server.returncode})"
                _log.info("The server on port %d stops: %s%s.", self._record.port, end.value, status)
                if end is not _End.UNBORN or server_state.port_is_free(self._record.port):
                    break
                # Another program was faster to take the port: _start chooses a new one.
        finally:
            try:
                self._forget()
            finally:
                if server is not None:
                    _end(server)

    def _handle_signals(self) -> None:
        def stop(*_: object) -> None:
            self._told_to_stop = True

        for end in (self._wakeup, self._wake):
            os.set_blocking(end, False)
        # What arrives while the supervisor waits in _pause ends that at once, the end of the server included.
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)

    def _pause(self) -> None:
        if select.select([self._wakeup], [], [], _TICK)[0]:
            os.read(self._wakeup, 4096)

    def _lock_database(self) -> ProcessLock | None:
        """Wait for the end of the server before this one, which may still be writing."""
        deadline = time.monotonic() + _PREDECESSOR
        while (lock := ProcessLock.acquire(self._state / "database.lock")) is None:
            if self._told_to_stop:
                return None
            if time.monotonic() > deadline:
                _log.error("Another server still uses %s.", server_state.database_file(self._state))
                return None
            self._pause()
        return lock

    def _start(self, database: ProcessLock) -> subprocess.Popen[bytes]:
        if not server_state.port_is_free(self._record.port):
            self._move()
        _log.info("Starting Prefect's server on port %d.", self._record.port)
        server = subprocess.Popen(  # noqa: S603 - our own module
            [
                sys.executable,
                "-m",
                "nbfutures.prefect.server.supervisor",
                "--serve",
                str(self._record.port),
                str(self._lifeline),
            ],
            env=server_environment(self._state, self._record, os.environ),
            stdin=subprocess.DEVNULL,
            pass_fds=[self._lifeline, database.descriptor],
            start_new_session=True,
        )
        self._note(replace(self._record, is_started=True))
        return server

    def _watch(self, server: subprocess.Popen[bytes]) -> _End:
        """Wait until the server has ended or should be ended; in the latter case its record is removed."""
        activity = _Activity(server_state.database_file(self._state))
        began = time.monotonic()
        unused_since = None
        ready = False
        while True:
            self._pause()
            now = time.monotonic()
            if server.poll() is not None:
                return _End.DIED if ready else _End.UNBORN
            if self._told_to_stop:
                self._forget()
                return _End.SIGNAL
            ready = ready or lets_in(self._record.api_url, self._record.auth, _TICK)
            if ready:
                tell_crashed(self._state, self._record)
            quiet = activity.quiet_for(now)
            if server_state.has_leases(self._state, self._record.id):
                unused_since = None
                continue
            unused_since = unused_since or now
            unused = now - unused_since
            # The server is not stopped in the middle of creating its database, nor before what the last kernel
            # has sent is recorded: what waits in its memory then is lost.
            drained = quiet > _QUIET or unused > self._grace + _RECORD
            settled = ready or now - began > _START
            if settled and drained and unused > self._grace and self._forget_if_unused():
                return _End.UNUSED

    def _move(self) -> None:
        """Choose another port, and another secret: who has the port may have been told the old one."""
        port = server_state.free_port()
        _log.info("Port %d is taken by another program.", self._record.port)
        self._note(
            replace(
                self._record,
                port=port,
                auth=server_state.new_auth(),
                api_url=server_state.api_url(port, os.environ),
                ui_url=server_state.ui_url(port, os.environ),
                is_started=False,
            )
        )

    def _note(self, record: ServerRecord) -> None:
        with server_state.mutex(self._state):
            server_state.write_record(self._state, record)
        self._record = record

    def _forget_if_unused(self) -> bool:
        with server_state.mutex(self._state):
            if server_state.has_leases(self._state, self._record.id):
                return False  # taken since the last look
            server_state.remove_record(self._state, self._record)
            return True

    def _forget(self) -> None:
        with server_state.mutex(self._state):
            server_state.remove_record(self._state, self._record)


class _Activity:
    """Notes when an SQLite database was last seen to have changed."""

    def __init__(self, database: Path) -> None:
        self._files = (database, database.with_name(f"{database.name}-wal"))
        self._seen: tuple[tuple[int, int] | None, ...] = ()
        self._since = 0.0

    def quiet_for(self, now: float) -> float:
        """Return for how many seconds, up to `now`, no change was seen."""
        seen = tuple(self._stamp(file) for file in self._files)
        if seen != self._seen:
            self._seen, self._since = seen, now
        return now - self._since

    @staticmethod
    def _stamp(file: Path) -> tuple[int, int] | None:
        try:
            status = file.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the server and whatever it has started: first asked, then killed."""
    if server.poll() is None:
        server.terminate()
        try:
            server.wait(_STOP)
        except subprocess.TimeoutExpired:
            _log.warning("The server did not end within %.0f s and is killed.", _STOP)
    with contextlib.suppress(ProcessLookupError, PermissionError):  # the group is empty
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def _serve(port: int, lifeline: int) -> None:
    """Be Prefect's server, until told to stop or until the supervisor at the other end of the lifeline has ended."""

    def follow() -> None:
        os.read(lifeline, 1)  # nothing is ever written: this returns when the supervisor is gone, even if killed
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_STOP)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=follow, name="nbfutures-lifeline", daemon=True).start()
    record = server_state.read_record(Path.cwd())
    if record is None or record.port != port:
        return  # The supervisor is about to end it: it wants no server any more.
    # Only here, where nobody reads it: of a process, others see the environment that it was started with.
    os.environ["PREFECT_SERVER_API_AUTH_STRING"] = record.auth
    sys.argv = ["prefect", "server", "start", "--host", LOOPBACK, "--port", str(port)]
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)


def _grace() -> float:
    try:
        return float(os.environ.get("NBFUTURES_SERVER_GRACE", _GRACE))
    except ValueError:
        _log.warning("NBFUTURES_SERVER_GRACE is not a number of seconds; %.0f is used.", _GRACE)
        return _GRACE


def main(arguments: list[str]) -> None:
    """Run the supervisor of a state directory, or, with `--serve`, the server itself."""
    if arguments[0] == "--serve":
        _serve(int(arguments[1]), int(arguments[2]))
        return
    logging.basicConfig(format="%(asctime)s nbfutures: %(message)s", level=logging.INFO)
    os.umask(0o077)  # the database, too, is for this user alone
    state = Path(arguments[0])
    with server_state.mutex(state):  # held by whoever started this, until the record is written
        record = server_state.read_record(state)
    if record is None or record.pid != os.getpid():
        _log.error("Nobody waits for this supervisor in %s; use nbfutures to start one.", state)
        return
    _Supervisor(state, record, _grace()).run()


if __name__ == "__main__":
    main(sys.argv[1:])

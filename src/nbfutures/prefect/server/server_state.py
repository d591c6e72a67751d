"""What the leases and the supervisor of the local server share: a state directory, its locks and its record.

The directory holds, besides Prefect's database, user interface and log:

- `state.lock`: the mutex. Only who holds it may decide that a server starts or stops, or change the record.
- `server.json`: the record of the server that runs, or of one that was killed.
- `supervisor-ID.lock`: held by the supervisor of that name for as long as it lives.
- `database.lock`: held by the supervisor and its server, so that there are never two servers on one database.
- `leases/ID-PID-...`: held by each process that uses the server of that supervisor.
- `profiles/`: files by which Prefect's clients in other processes are let in.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import secrets
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import filelock
import platformdirs

from nbfutures.engine.process_lock import is_held
from nbfutures.errors import ServerStartError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "LOOPBACK",
    "ServerRecord",
    "api_url",
    "database_file",
    "free_port",
    "has_leases",
    "is_own_auth",
    "leases_directory",
    "loopback_identity",
    "mutex",
    "new_auth",
    "open_state_directory",
    "port_is_free",
    "profiles_directory",
    "proxied_path",
    "read_record",
    "remove_record",
    "state_directory",
    "supervisor_lock",
    "ui_directory",
    "ui_url",
    "write_record",
]

LOOPBACK: Final = "127.0.0.1"
# Below the ports that Linux, macOS and Windows hand to outgoing connections: the server binds its port seconds
# after it was chosen, and until then nothing but another server that picks at random should take it.
_PORTS: Final = range(20_000, 32_000)
_USER: Final = "nbfutures:"
_MUTEX_TIMEOUT: Final = 30.0  # seconds; every holder needs milliseconds


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """The server that a state directory has: the content of `server.json`."""

    id: str
    """Name of this run of the supervisor; part of the names of its lock and of its leases."""
    pid: int
    """Process id of the supervisor. For people to read: whether it lives is told by its lock."""
    port: int
    """Port on the loopback interface."""
    api_url: str
    """What Prefect takes as `PREFECT_API_URL`."""
    ui_url: str
    """Where a browser finds Prefect's user interface."""
    auth: str
    """`user:password`, as Prefect takes it."""
    log: str
    """Path of the log that the supervisor and the server write."""
    log_start: int
    """Where in the log this run begins, in bytes."""
    loopback: str
    """Which loopback interface the port is on, see `loopback_identity`."""
    is_started: bool = False
    """Whether the server was started. Until then, the one before it may answer at the same address."""


def state_directory(home: Path | None = None) -> Path:
    """Name the directory of the server of the installed Prefect; nothing is created.

    Args:
        home: Parent directory. If None, `NBFUTURES_HOME`, else the user's state directory.
    """
    if home is None:
        named = os.environ.get("NBFUTURES_HOME")
        home = Path(named).expanduser() if named else Path(platformdirs.user_state_dir("nbfutures", appauthor=False))
    # Each Prefect has its own: a database that a newer one has migrated cannot be used by an older one.
    return home.absolute() / f"prefect-{importlib.metadata.version('prefect')}"


def open_state_directory(home: Path | None = None) -> Path:
    """Create the state directory, for this user alone, and return it.

    Raises:
        ServerStartError: If it cannot be created or belongs to somebody else.
    """
    state = state_directory(home)
    try:
        leases_directory(state).mkdir(mode=0o700, parents=True, exist_ok=True)
        state.chmod(0o700)
    except OSError as error:
        raise ServerStartError(
            f"The local Prefect server cannot keep its state in {state}: {error}. "
            "Set NBFUTURES_HOME to a directory that you may write to, and restart the kernel."
        ) from error
    return state


def mutex(state: Path) -> filelock.BaseFileLock:
    """The lock under which servers are started and stopped, as a context manager that waits at most 30 s."""
    return filelock.FileLock(state / "state.lock", mode=0o600, timeout=_MUTEX_TIMEOUT, poll_interval=0.005)


def leases_directory(state: Path) -> Path:
    """Where the files are that say who uses the server."""
    return state / "leases"


def profiles_directory(state: Path) -> Path:
    """Where the profiles of Prefect's are that have the server's secret."""
    return state / "profiles"


def supervisor_lock(state: Path, record_id: str) -> Path:
    """The file that the supervisor of this name holds."""
    return state / f"supervisor-{record_id}.lock"


def database_file(state: Path) -> Path:
    """The SQLite file of the server."""
    return state / "prefect.db"


def ui_directory(state: Path) -> Path:
    """Where the server puts its user interface as it serves it."""
    return state / "ui"


def has_leases(state: Path, record_id: str) -> bool:
    """Tell whether a process holds a lease on the server."""
    return any(is_held(path) for path in leases_directory(state).glob(f"{record_id}-*"))


def read_record(state: Path) -> ServerRecord | None:
    """Read the record, or None if there is none that this version understands."""
    try:
        return ServerRecord(**json.loads((state / "server.json").read_text("utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def write_record(state: Path, record: ServerRecord) -> None:
    """Write the record, in one step for whoever reads it; the caller holds the mutex."""
    new = state / "server.json.new"
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123 - Path.open takes no mode bits
        json.dump(asdict(record), file)
    new.replace(state / "server.json")


def remove_record(state: Path, record: ServerRecord) -> None:
    """Remove the record and the supervisor's lock file, unless another has taken its place; holding the mutex."""
    current = read_record(state)
    if current is None or current.id == record.id:
        (state / "server.json").unlink(missing_ok=True)
    supervisor_lock(state, record.id).unlink(missing_ok=True)


def loopback_identity() -> str:
    """Name the loopback interface that this process sees, or return "" where the system does not tell.

    Home directories are shared between machines and containers, loopback interfaces are not.
    """
    try:
        return (
            f"{Path('/proc/sys/kernel/random/boot_id').read_text('ascii').strip()} {os.readlink('/proc/self/ns/net')}"  # noqa: PTH115 - not a path
        )
    except OSError:
        return ""


def proxied_path(port: int, environment: Mapping[str, str]) -> str:
    """Return the path at which a browser finds a server on this port by way of Jupyter's; "" where it needs none.

    On JupyterHub and Binder a browser cannot reach this machine, but jupyter-server-proxy passes on to a port what is
    asked for below this path, with the path.
    """
    base = environment.get("JUPYTERHUB_SERVICE_PREFIX")
    return f"{base.rstrip('/')}/proxy/absolute/{port}" if base else ""


def api_url(port: int, environment: Mapping[str, str]) -> str:
    """Return the URL of the API of a server that starts on this port with this environment."""
    path = environment.get("PREFECT_SERVER_API_BASE_PATH") or f"{proxied_path(port, environment)}/api"
    return f"http://{LOOPBACK}:{port}{path}"


def ui_url(port: int, environment: Mapping[str, str]) -> str:
    """Return the URL of the user interface of a server that starts on this port with this environment."""
    base = environment.get("PREFECT_SERVER_UI_SERVE_BASE") or environment.get("PREFECT_UI_SERVE_BASE")
    return f"http://{LOOPBACK}:{port}{base or proxied_path(port, environment) or '/'}"


def port_is_free(port: int) -> bool:
    """Tell whether a server could listen on this port of the loopback interface now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def new_auth() -> str:
    """Make up a secret, as Prefect takes it: `user:password`."""
    return f"{_USER}{secrets.token_urlsafe(32)}"


def is_own_auth(auth: str) -> bool:
    """Tell whether this is the secret of a local server."""
    return auth.startswith(_USER)


def free_port() -> int:
    """Choose a port of the loopback interface that nobody uses now."""
    for _ in range(100):
        port = secrets.choice(_PORTS)
        if port_is_free(port):
            return port
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])

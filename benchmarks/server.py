"""One Prefect server for all contenders of a run: started first, kept warm between their processes."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.fresh_process import ContenderError
from nbfutures.prefect.server import server_state

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["hold_server", "kept_server"]

_ROOT = Path(__file__).resolve().parent.parent
_END_SECONDS = 60.0


@contextmanager
def kept_server(home: Path | None, *, in_this_process: bool) -> Iterator[None]:
    """Within it, sessions of this process and of its children find a server that answers.

    Args:
        home: Directory for the server's database; if `None`, a temporary one, removed at the end.
        in_this_process: Whether this process holds the server, instead of one of its own.

    Raises:
        ContenderError: If the server does not start.
    """
    made = Path(tempfile.mkdtemp(prefix="nbfutures-benchmarks-"))
    # After the session, if there is one in this process, has given back its settings.
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    os.environ["NBFUTURES_HOME"] = str(home or made)
    # Neither the user's server nor the user's settings are to be measured.
    os.environ["PREFECT_HOME"] = str(made / "prefect")
    os.environ.pop("PREFECT_API_URL", None)
    try:
        with _held_here() if in_this_process else _held_by_keeper():
            yield
    finally:
        if home is None:
            _wait_for_end()


def hold_server() -> None:
    """Be the keeper: hold a lease until the input ends."""
    with _held_here():
        print("ready", flush=True)
        sys.stdin.read()


def _wait_for_end() -> None:
    """Wait until the server that nobody uses any more has ended."""
    state = server_state.state_directory()
    deadline = time.monotonic() + _END_SECONDS
    while server_state.read_record(state) is not None and time.monotonic() < deadline:
        time.sleep(0.2)


@contextmanager
def _held_here() -> Iterator[None]:
    from benchmarks.contenders.warm import warm_session
    from nbfutures.prefect.session import get_session

    warm_session()
    try:
        yield
    finally:
        get_session().close()


@contextmanager
def _held_by_keeper() -> Iterator[None]:
    command = [sys.executable, "-m", "benchmarks", "server"]
    with subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as keeper:
        try:
            assert keeper.stdout is not None
            if keeper.stdout.readline().strip() != "ready":
                raise ContenderError("Prefect's server did not start; what it said is above.")
            yield
        finally:
            # The end of its input ends it.
            keeper.communicate(timeout=_END_SECONDS)

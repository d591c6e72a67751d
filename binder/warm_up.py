"""Start the local Prefect server before the first notebook asks for it.

`python binder/warm_up.py` holds the server for as long as it runs itself. `python binder/warm_up.py --once` starts it,
waits until it answers and stops it: the next start finds its database and its user interface ready.
"""

from __future__ import annotations

import os
import sys
import threading
import time

from nbfutures.engine.process_lock import is_held
from nbfutures.prefect.server.lease import lease_server
from nbfutures.prefect.server.server_state import state_directory

STOP_TIMEOUT = 60.0  # seconds


def main(arguments: list[str]) -> None:
    """Hold the server, or run it once."""
    if arguments == ["--once"]:
        run_once()
    else:
        with lease_server() as lease:
            lease.wait_until_ready()
            threading.Event().wait()


def run_once() -> None:
    """Start the server and return when it has stopped, so that the next command finds all it wrote.

    Raises:
        ServerStartError: If it does not start.
        TimeoutError: If it does not stop.
    """
    os.environ.setdefault("NBFUTURES_SERVER_GRACE", "0")  # nobody else is to come
    with lease_server() as lease:
        lease.wait_until_ready()
    database = state_directory() / "database.lock"
    deadline = time.monotonic() + STOP_TIMEOUT
    while is_held(database):
        if time.monotonic() > deadline:
            raise TimeoutError(f"The Prefect server does not stop; its log is {lease.address.log}.")
        time.sleep(0.1)


if __name__ == "__main__":
    main(sys.argv[1:])

"""Flow runs whose kernel was killed: who keeps the server tells Prefect, since nobody else is left to do so.

A lease's file lists the flow runs that its kernel has open: a line `+id` for each that was begun, `-id` once it ended.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Final

from nbfutures.engine.process_lock import is_held
from nbfutures.prefect.server import server_state
from nbfutures.prefect.server.health import post

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from nbfutures.prefect.server.server_state import ServerRecord

__all__ = ["ENDED", "OPEN", "open_runs", "tell_crashed"]

OPEN: Final = "+"
ENDED: Final = "-"
_TIMEOUT: Final = 5.0  # seconds
_MESSAGE: Final = "The kernel ended while the job ran."
_log: Final = logging.getLogger("nbfutures.supervisor")


def tell_crashed(state: Path, record: ServerRecord) -> None:
    """Have flow runs be called crashed whose kernel is gone, and forget the leases of such kernels.

    Blocks while the server answers, a few milliseconds for each flow run. One that has ended stays as it is.

    Args:
        state: The state directory.
        record: The server, which has to be up.
    """
    for path in server_state.leases_directory(state).iterdir():
        if path.name.startswith(".") or is_held(path):
            continue
        try:
            left = open_runs(path.read_text("ascii").splitlines())
        except (OSError, ValueError):
            left = []
        for run_id in left:
            crashed = {"state": {"type": "CRASHED", "name": "Crashed", "message": _MESSAGE}}
            told = post(
                f"{record.api_url}/flow_runs/{run_id}/set_state", json.dumps(crashed), _TIMEOUT, auth=record.auth
            )
            _log.info("The kernel of flow run %s is gone: %s", run_id, "told" if told.ok else told.detail)
        path.unlink(missing_ok=True)


def open_runs(lines: Iterable[str]) -> list[str]:
    """Return the flow runs that were begun and have not ended, the first begun first."""
    begun: dict[str, None] = {}
    for line in lines:
        if line.startswith(OPEN):
            begun[line.removeprefix(OPEN)] = None
        else:
            begun.pop(line.removeprefix(ENDED), None)
    return list(begun)

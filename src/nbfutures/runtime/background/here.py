"""Which server background tasks are given to."""

from __future__ import annotations

from prefect.settings import PREFECT_API_URL

from nbfutures.runtime.server import server_state

__all__ = ["server_id"]


def server_id() -> str:
    """Name the run of the user's local server that this process uses; empty for another server.

    The next run of it does not know what was waiting for workers in this one.
    """
    record = server_state.read_record(server_state.state_directory())
    return record.id if record is not None and record.api_url == PREFECT_API_URL.value() else ""

"""Flow runs of a deployment, watched to their end; the worker is played by this process, past the proxy that counts."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from benchmarks.counting_proxy import CountingProxy
from nbfutures.runtime.server import lease_server

if TYPE_CHECKING:
    from collections.abc import Callable

    from prefect.client.orchestration import SyncPrefectClient

__all__ = ["measure"]

_WATCH_SECONDS = 10.0
"""For how long nothing but watching happens."""


def measure(workload: str, items: int) -> dict[str, Any]:
    """Make flow runs, have them run for 10 s, and count what is asked meanwhile; needs a process of its own.

    Args:
        workload: "nbfutures", or "bare": `arun_deployment` for each, gathered.
        items: How many flow runs.

    Returns:
        `requests` while all were running, of these `reads` of many at once, in `watched_seconds`; `late_seconds` from
        the end of the last flow run until that was known; and `kinds`, the number of each kind of request.
    """
    with lease_server() as lease:
        lease.wait_until_ready()
        address = lease.address
        with CountingProxy(urlsplit(address.api_url)) as proxy:
            # As the session sets it for the local server.
            os.environ |= {"PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false", "DO_NOT_TRACK": "1"}
            os.environ |= {"PREFECT_API_URL": proxy.api_url, "PREFECT_API_AUTH_STRING": address.auth}
            from prefect.client.orchestration import SyncPrefectClient

            with SyncPrefectClient(address.api_url, auth_string=address.auth) as client:
                return _measure(workload, items, _Worker(client), proxy)


class _Worker:
    """Plays the worker of a new deployment, by the states of its flow runs."""

    def __init__(self, client: SyncPrefectClient) -> None:
        self._client = client
        flow = f"benchmark-{uuid.uuid4().hex[:8]}"
        self._id = client.create_deployment(client.create_flow_from_name(flow), "by-hand")
        self.name = f"{flow}/by-hand"

    def run_ids(self) -> list[uuid.UUID]:
        """Return the flow runs that there are."""
        from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId

        wanted = DeploymentFilter(id=DeploymentFilterId(any_=[self._id]))
        return [one.id for one in self._client.read_flow_runs(deployment_filter=wanted)]

    def set_all(self, ids: list[uuid.UUID], name: str) -> None:
        """Bring flow runs into a state."""
        from prefect import states

        for one in ids:
            self._client.set_flow_run_state(one, getattr(states, name)(), force=True)


def _measure(workload: str, items: int, worker: _Worker, proxy: CountingProxy) -> dict[str, Any]:
    start = {"nbfutures": _start_nbfutures, "bare": _start_bare}[workload]
    wait = start(worker.name, items)
    while len(ids := worker.run_ids()) < items:
        time.sleep(0.5)
    worker.set_all(ids, "Running")
    before, began = Counter(proxy.counts()), time.monotonic()
    time.sleep(_WATCH_SECONDS)
    kinds, seconds = Counter(proxy.counts()) - before, time.monotonic() - began
    worker.set_all(ids, "Completed")
    ended = time.monotonic()
    wait()
    return {
        "requests": sum(number for kind, number in kinds.items() if kind.startswith("HTTP ")),
        "reads": sum(number for kind, number in kinds.items() if kind.endswith("/flow_runs/filter")),
        "watched_seconds": seconds,
        "late_seconds": time.monotonic() - ended,
        "kinds": dict(kinds),
    }


def _start_nbfutures(name: str, items: int) -> Callable[[], Any]:
    import nbfutures as nbf

    return nbf.options(deployment=name).map(x=range(items)).wait


def _start_bare(name: str, items: int) -> Callable[[], Any]:
    from prefect.deployments import arun_deployment

    async def run_all() -> None:
        made = (arun_deployment(name, parameters={"x": x}, as_subflow=False) for x in range(items))
        await asyncio.gather(*made)

    thread = threading.Thread(target=lambda: asyncio.run(run_all()), daemon=True)
    thread.start()
    return thread.join

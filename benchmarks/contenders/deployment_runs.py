"""Flow runs of a deployment, watched to their end; the worker is played by this process, past the proxy that counts."""

from __future__ import annotations

import os
import time
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from benchmarks.counting_proxy import CountingProxy
from nbfutures.prefect.server.lease import lease_server

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

    from nbfutures import Job

__all__ = ["measure"]

_MAKE_SECONDS = 240.0
_WATCH_SECONDS = {True: 10.0, False: 2.0}
"""For how long nothing but watching happens, with many flow runs and with few."""
_MANY = 100
_DRAIN_SECONDS = 30.0


def measure(workload: str, items: int) -> dict[str, Any]:  # noqa: ARG001 - as every contender
    """Make flow runs, have them run for 10 s, and count what is asked meanwhile; needs a process of its own.

    Args:
        workload: Not used: there is one.
        items: How many flow runs.

    Returns:
        `made_seconds` until all were there; `requests` while all were running, of these `reads` of many at once, in
        `watched_seconds`; `late_seconds` from the end of the last one until that was known; and `kinds`, the number of
        each kind of request.
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
                return _measure(items, _Worker(client), proxy)


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


def _measure(items: int, worker: _Worker, proxy: CountingProxy) -> dict[str, Any]:
    job = _start(worker.name, items)
    began = time.monotonic()
    while len(ids := worker.run_ids()) < items:
        if time.monotonic() - began > _MAKE_SECONDS:
            # Else the process would wait for it before it ends.
            job.cancel()
            raise TimeoutError(f"only {len(ids)} flow runs of {items} were made within {_MAKE_SECONDS:.0f} s")
        time.sleep(0.5)
    made_seconds = time.monotonic() - began
    worker.set_all(ids, "Running")
    before, began = Counter(proxy.counts()), time.monotonic()
    time.sleep(_WATCH_SECONDS[items >= _MANY])
    kinds, seconds = Counter(proxy.counts()) - before, time.monotonic() - began
    worker.set_all(ids, "Completed")
    ended = time.monotonic()
    job.wait()
    late_seconds = time.monotonic() - ended
    _send_what_is_left()
    return {
        "made_seconds": made_seconds,
        "requests": sum(number for kind, number in kinds.items() if kind.startswith("HTTP ")),
        "reads": sum(number for kind, number in kinds.items() if kind.endswith("/flow_runs/filter")),
        "watched_seconds": seconds,
        "late_seconds": late_seconds,
        "kinds": dict(kinds),
    }


def _send_what_is_left() -> None:
    """Have Prefect send its events while there is a proxy: the process would wait for that at its end."""
    from prefect.events.worker import EventsWorker

    from nbfutures import api

    api.close()
    EventsWorker.drain_all(timeout=_DRAIN_SECONDS)


def _start(name: str, items: int) -> Job:
    import nbfutures as nbf
    from nbfutures.prefect.deployments import window

    # What is behind the proxy is the local server, for which they are made one by one.
    window._MAKERS = window._LOCAL_MAKERS
    return nbf.options(deployment=name).map(x=range(items))

"""What a job sends to Prefect, counted at a proxy that this process and its workers talk to in the server's place."""

from __future__ import annotations

import os
import time
from typing import Any
from urllib.parse import urlsplit

from benchmarks.contenders import with_settings
from benchmarks.counting_proxy import CountingProxy
from nbfutures.prefect.server.lease import lease_server

__all__ = ["measure"]

_SILENCE = 2.5
"""Seconds after which Prefect's background services have sent what they had: logs go every 2 s."""
_MOST_SECONDS = 30.0


def measure(workload: str, items: int) -> dict[str, Any]:
    """Run a contender, and count; needs a process of its own.

    Args:
        workload: As for `with_settings`.
        items: How many.

    Returns:
        The contender's figures with `requests`, of these `health_checks` apart, `messages` by websocket, and `kinds`,
        the number of each kind of them.
    """
    with lease_server() as lease:
        lease.wait_until_ready()
        address = lease.address
        with CountingProxy(urlsplit(address.api_url)) as proxy:
            # As the session sets it for the local server.
            os.environ |= {"PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false", "DO_NOT_TRACK": "1"}
            os.environ |= {"PREFECT_API_URL": proxy.api_url, "PREFECT_API_AUTH_STRING": address.auth}
            figures = with_settings.measure(workload, items)
            kinds = _final_counts(proxy)
    return {
        **figures,
        "requests": sum(number for kind, number in kinds.items() if kind.startswith("HTTP ") and not _is_health(kind)),
        "health_checks": sum(number for kind, number in kinds.items() if _is_health(kind)),
        "messages": sum(number for kind, number in kinds.items() if kind.startswith("websocket ")),
        "kinds": kinds,
    }


def _final_counts(proxy: CountingProxy) -> dict[str, int]:
    deadline = time.monotonic() + _MOST_SECONDS
    while True:
        before = proxy.counts()
        time.sleep(_SILENCE)
        after = proxy.counts()
        is_silent = all(number == before.get(kind) for kind, number in after.items() if not _is_health(kind))
        if is_silent or time.monotonic() > deadline:
            return after


def _is_health(kind: str) -> bool:
    return kind.endswith("/health")

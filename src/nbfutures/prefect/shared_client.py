"""One client of Prefect's for all flow runs of a kernel: making one takes 30 ms, for its TLS certificates."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from prefect.context import SyncClientContext, get_settings_context

from nbfutures.errors import ServerUnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.settings import Settings

__all__ = ["PAUSES", "close_client", "have_tried_again_soon", "shared_client", "warm_client"]


PAUSES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds between attempts: a minute together, as Prefect's client has it, which begins with 2 s."""
_ATTEMPTS = "nbfutures_attempts"


def have_tried_again_soon(response: Any) -> None:
    """Have Prefect's client try again soon what its server could not do for a moment.

    Two that write at the same moment meet in Prefect's SQLite as "database is locked" (PrefectHQ/prefect#18934), for
    some milliseconds.

    Args:
        response: What httpx has received; its header tells the client when to try again.
    """
    if response.status_code != HTTPStatus.SERVICE_UNAVAILABLE or "Retry-After" in response.headers:
        return
    attempts = response.request.extensions.get(_ATTEMPTS, 0)
    response.request.extensions[_ATTEMPTS] = attempts + 1
    if attempts < len(PAUSES):
        response.headers["Retry-After"] = str(PAUSES[attempts])


class _Shared:
    """The client, and the settings that it was made for."""

    def __init__(self, settings: Settings) -> None:
        self._api = settings.api
        self._client = settings.client
        self.context = SyncClientContext(httpx_settings={"event_hooks": {"response": [have_tried_again_soon]}})
        # Prefect's engines take the client of the context only if it has no settings of its own.
        self.context._httpx_settings = None
        self.context.client.__enter__()

    def suits(self, settings: Settings) -> bool:
        """Tell whether it is what Prefect would make with these settings."""
        # By value: each job may have a copy of its own.
        if self._api is not settings.api and self._api != settings.api:
            return False
        # How often it tries again is asked at each request.
        retries = {"max_retries": self._client.max_retries}
        return self._client is settings.client or self._client == settings.client.model_copy(update=retries)


_lock = threading.Lock()
_shared: _Shared | None = None


@contextmanager
def shared_client() -> Iterator[SyncPrefectClient]:
    """Within it, Prefect's engines on this thread use the kernel's client; that of the context where there is one."""
    if (present := SyncClientContext.get()) is not None:
        yield present.client
        return
    # The client counts who uses it, and closes with the last; that count is not safe to change from two threads.
    with _lock:
        context = _current().context.model_copy()
        context.__enter__()
    try:
        yield context.client
    finally:
        with _lock:
            context.__exit__()


def warm_client() -> None:
    """Make the client that the first flow run will use."""
    with _lock:
        _current()


def close_client() -> None:
    """Let go of the client; it closes once the last flow run that uses it has ended."""
    with _lock:
        _let_go()


def _current() -> _Shared:
    global _shared  # noqa: PLW0603 - one for each kernel
    settings = get_settings_context().settings
    if not settings.api.url:
        # A client would start a server of Prefect's own.
        raise ServerUnreachableError("There is no Prefect to ask any more: the session was closed.")
    if _shared is None or not _shared.suits(settings):
        _let_go()
        _shared = _Shared(settings)
    return _shared


def _let_go() -> None:
    global _shared  # noqa: PLW0603 - one for each kernel
    if _shared is not None:
        _shared.context.client.__exit__()
    _shared = None

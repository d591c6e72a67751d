"""An event loop in a thread of its own, with one client of Prefect's API for all that concerns background tasks."""

from __future__ import annotations

import asyncio
import threading
from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeVar

from prefect import get_client

from nbfutures.errors import ServerUnreachableError
from nbfutures.prefect.flow_runs.flow_start import changed_settings
from nbfutures.prefect.shared_client import PAUSES, have_tried_again_soon

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Coroutine

    from prefect.client.orchestration import PrefectClient

__all__ = ["ApiLoop", "api_loop", "close"]

T = TypeVar("T")

_CLOSE_SECONDS = 5.0


class ApiLoop:
    """Runs coroutines that ask Prefect's API. Its methods may be called from any other thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._client: PrefectClient | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="nbfutures background", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether coroutines can be run."""
        return self._thread.is_alive()

    def start(self, made: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run a coroutine. Does not block.

        It has a context of its own: were the flow run of the calling thread in it, Prefect would pickle that flow with
        the arguments of each task run.
        """
        return Context().run(asyncio.run_coroutine_threadsafe, _patiently(made), self._loop)

    def run(self, made: Coroutine[Any, Any, T], timeout: float) -> T:
        """Run a coroutine and block until it ended.

        Args:
            made: The coroutine.
            timeout: Seconds to wait at most; it is cancelled then.

        Raises:
            ServerUnreachableError: If it did not end in time.
        """
        future = self.start(made)
        try:
            return future.result(timeout)
        except TimeoutError:
            if future.done():
                raise
            future.cancel()
            raise ServerUnreachableError(
                f"Prefect's server did not answer within {timeout:.0f} s. It may be busy: try again."
            ) from None

    async def client(self) -> PrefectClient:
        """Return the client; within the loop."""
        if self._client is None:
            made = get_client(httpx_settings={"event_hooks": {"response": [_have_tried_again_soon]}})
            await made.__aenter__()
            self._client = made
        return self._client

    def close(self) -> None:
        """End everything that runs in it. Blocks for some seconds at most."""
        if not self._thread.is_alive():
            return
        self._loop.call_soon_threadsafe(lambda: self._loop.create_task(self._end()))
        self._thread.join(_CLOSE_SECONDS)

    async def _end(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.wait(others, timeout=1.0) if others else None
        if self._client is not None:
            await self._client.__aexit__(None, None, None)
        self._loop.stop()


async def _patiently(made: Coroutine[Any, Any, T]) -> T:
    with changed_settings("client", max_retries=len(PAUSES)):
        return await made


async def _have_tried_again_soon(response: Any) -> None:
    have_tried_again_soon(response)


_lock = threading.Lock()
_current: ApiLoop | None = None


def api_loop() -> ApiLoop:
    """Return the kernel's loop; made at the first call, which needs the session to be connected."""
    global _current  # noqa: PLW0603 - one for each kernel
    with _lock:
        if _current is None or not _current.is_alive:
            _current = ApiLoop()
        return _current


def close() -> None:
    """End the loop, as the kernel lets go of Prefect."""
    global _current
    with _lock:
        ending, _current = _current, None
    if ending is not None:
        ending.close()

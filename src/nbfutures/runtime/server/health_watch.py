"""Says on the running jobs when Prefect does not answer, and has a local server that has ended started again."""

from __future__ import annotations

import threading
import time
from contextvars import copy_context
from typing import TYPE_CHECKING

from nbfutures.runtime.server.health import check_health

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nbfutures.runtime.contracts import Run

__all__ = ["HealthWatch"]

_WATCH_SECONDS = 0.4
_HEALTH_SECONDS = 0.5
"""Together with the interval: trouble is told within a second."""
_REVIVE_SECONDS = 2.0
"""Between two looks at a local server while no job runs: workers, limits and served flows need it, too."""
_IDLE_SECONDS = 2.0


class HealthWatch:
    """Asks for Prefect's health while jobs run, on a thread of its own.

    Args:
        jobs: The session's, also those that it will have.
        api_url: Returns where Prefect is; `None` while that is not known.
        revive: Has a local server that has ended started again, and returns what is to be told of that; "" where there
            is nothing to tell, `None` where there is no local server.
    """

    def __init__(
        self, jobs: Sequence[Run], api_url: Callable[[], str | None], revive: Callable[[], str | None]
    ) -> None:
        self._jobs = jobs
        self._api_url = api_url
        self._revive = revive
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._wake = threading.Event()

    def start(self) -> None:
        """Watch until some time after the last job, or as long as there is a local server, if nobody does."""
        with self._lock:
            self._wake.set()
            # One that was stopped may take a moment to end.
            if self._thread is not None and self._thread.is_alive() and not self._stopped.is_set():
                return
            self._stopped = threading.Event()
            self._thread = threading.Thread(
                target=copy_context().run, args=(self._watch, self._stopped), name="nbfutures health", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """Watch no more. Does not block."""
        with self._lock:
            self._stopped.set()
            self._wake.set()

    def _watch(self, stopped: threading.Event) -> None:
        idle_since = time.monotonic()
        while not stopped.wait(_WATCH_SECONDS):
            revival = self._revive()
            running = [run for run in self._jobs if not run.state.is_done]
            if running:
                idle_since = time.monotonic()
                self._tell(running, revival)
            elif revival is not None:
                self._wake.clear()
                self._wake.wait(_REVIVE_SECONDS)
            elif time.monotonic() - idle_since > _IDLE_SECONDS:
                return

    def _tell(self, running: list[Run], trouble: str | None) -> None:
        if not trouble:
            api_url = self._api_url()
            if api_url is None:
                return
            health = check_health(api_url, _HEALTH_SECONDS)
            trouble = "" if health.is_there else health.detail
        for run in running:
            run.note_health(trouble)

"""The future of a bare `.delay()`, followed as the items of background jobs are."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from prefect.futures import PrefectFuture
from prefect.states import Cancelled, Pending

from nbfutures.prefect.background.watcher import run_watcher

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from prefect.client.schemas.objects import State

    from nbfutures.prefect.background.watcher import Told
    from nbfutures.prefect.outcomes import Observed

__all__ = ["DelayedFuture"]


class DelayedFuture(PrefectFuture[Any]):
    """Stands for a future of `.delay()`, whose own callback asks Prefect once for each, and then waits for an event.

    Where that event is lost, it waits for ever (PrefectHQ/prefect#18775).

    Args:
        future: The future.
        seen: Filled in with what is told of the task run.
    """

    def __init__(self, future: PrefectFuture[Any], seen: Observed) -> None:
        self._future = future
        self._seen = seen
        self._is_done = threading.Event()
        self._final_state: State[Any] | None = None
        self._then: Callable[[PrefectFuture[Any]], None] | None = None

    @property
    def task_run_id(self) -> UUID:
        """Prefect's id of the task run."""
        return self._future.task_run_id

    @property
    def state(self) -> State[Any]:
        """How the task run stands, as far as is known here."""
        return self._final_state or Pending()

    def add_done_callback(self, fn: Callable[[PrefectFuture[Any]], None]) -> None:
        """Have `fn` called when the task run ended; to be called once."""
        self._then = fn
        if self._is_done.is_set():
            fn(self)
            return

        def tell(told: Told) -> None:
            self._seen.note(told.state, told.task_run)
            self._seen.worker = told.worker or self._seen.worker
            if told.state.is_final():
                self._end(told.state)

        run_watcher().watch({self.task_run_id: tell})

    def leave(self, why: str) -> None:
        """Follow the task run no longer, which nobody is to begin: here, it was cancelled."""
        run_watcher().forget([self.task_run_id])
        self._end(Cancelled(message=why))

    def _end(self, state: State[Any]) -> None:
        if self._is_done.is_set():
            return
        self._final_state = state
        self._is_done.set()
        if self._then is not None:
            self._then(self)

    def wait(self, timeout: float | None = None) -> None:
        """Block until the task run ended, or for `timeout` seconds."""
        self._is_done.wait(timeout)

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> Any:
        """As the future itself."""
        return self._future.result(timeout, raise_on_failure)

"""The dispatchers that work for a job at the moment, asked and told as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable

    from nbfutures.runtime.dispatcher import Dispatcher

__all__ = ["OpenDispatchers"]


class OpenDispatchers:
    """Those of a job's dispatchers that are not closed: one for each of its flow runs that goes on.

    Args:
        lock: The job's, held to decide that a dispatcher is closed.
    """

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._all: list[Dispatcher] = []

    def cancel(self, reason: str) -> None:
        """Settle what has not started as cancelled."""
        for dispatcher in self._open():
            dispatcher.cancel(reason)

    def halt(self) -> None:
        """Start no further items."""
        for dispatcher in self._open():
            dispatcher.queue.halt()

    def go_on(self) -> None:
        """Start items again."""
        for dispatcher in self._open():
            dispatcher.queue.go_on()
            dispatcher.wake()

    def is_running(self, index: int) -> bool:
        """Tell whether the item is being worked on."""
        return any(dispatcher.is_running(index) for dispatcher in self._open())

    def _open(self) -> list[Dispatcher]:
        # Two only where a job was retried twice before the first retry's flow run had started.
        with self._lock:
            return [dispatcher for dispatcher in self._all if not dispatcher.closed]

    # --- with the lock held ------------------------------------------------------------------------------------------

    def add(self, dispatcher: Dispatcher, *, is_halted: bool) -> None:
        """Add a new one, which starts nothing yet if the job is halted."""
        self._all = [*(one for one in self._all if not one.closed), dispatcher]
        if is_halted:
            dispatcher.queue.halt()

    def offer(self, indices: Iterable[int]) -> bool:
        """Have one of them run more items; return whether there is one."""
        dispatcher = next((one for one in self._all if not one.closed), None)
        if dispatcher is None:
            return False
        dispatcher.queue.go_on()
        dispatcher.offer(indices)
        return True

"""One thread that refreshes all live displays of a process: the display sets the pace, not the work."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TICKER", "Ticker"]

_logger = logging.getLogger(__name__)

_LEAST_REST = 50
"""The thread rests at least so many times as long as the refreshes took, so that it costs 2 % at most ..."""
_MOST_REST = 2.0
"""... but a card must not stand still for longer than this, in seconds."""


def _wait(event: threading.Event, seconds: float) -> object:
    return event.wait(seconds)


class Ticker:
    """Calls functions at an interval, one after another in one thread, until each says that it is final.

    The thread is started by the first `add` and ends when nothing is left to refresh. `add`, `discard` and `poke` may
    be called from any thread and never wait for a refresh.

    Args:
        interval: Seconds between two rounds of refreshes.
        clock: Returns the time in seconds; it never goes back.
        wait: Waits until an event is set or some seconds have passed.
    """

    def __init__(
        self,
        interval: float = 0.25,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Event, float], object] = _wait,
    ) -> None:
        self.interval = interval
        self._clock = clock
        self._wait = wait
        self._lock = threading.Lock()
        self._poked = threading.Event()
        self._refreshes: dict[Callable[[], bool], contextvars.Context] = {}
        self._at_once: set[Callable[[], bool]] = set()
        self._thread: threading.Thread | None = None

    def add(self, refresh: Callable[[], bool], context: contextvars.Context | None = None) -> None:
        """Have a function called at each interval; one that is known already is not added twice.

        Args:
            refresh: Returns whether that was the last time. One that raises is dropped.
            context: The context to call it in; that of the caller if not given. IPython finds the cell in it that
                messages belong to.
        """
        with self._lock:
            self._refreshes.setdefault(refresh, context or contextvars.copy_context())
            # A process that was forked has the record of a thread but not the thread.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=contextvars.copy_context().run, args=(self._run,), name="nbfutures-ticker", daemon=True
                )
                self._thread.start()

    def discard(self, refresh: Callable[[], bool]) -> None:
        """Call a function no more; nothing happens if it is not known."""
        with self._lock:
            self._refreshes.pop(refresh, None)

    def poke(self, refresh: Callable[[], bool]) -> None:
        """Have a function called as soon as may be, in the ticker's thread; nothing happens if it is not known."""
        with self._lock:
            if refresh in self._refreshes:
                self._at_once.add(refresh)
                self._poked.set()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until nothing is left to refresh.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            Whether that is so.
        """
        thread = self._thread
        if thread is not None:
            thread.join(timeout)
        return thread is None or not thread.is_alive()

    def _run(self) -> None:
        due = self._clock() + self.interval
        while True:
            self._wait(self._poked, max(due - self._clock(), 0.0))
            begun = self._clock()
            is_round = begun >= due
            with self._lock:
                self._poked.clear()
                chosen = [
                    (refresh, context)
                    for refresh, context in self._refreshes.items()
                    if is_round or refresh in self._at_once
                ]
                self._at_once.clear()
            ended = [refresh for refresh, context in chosen if self._is_over(refresh, context)]
            if is_round:
                now = self._clock()
                due = now + max(self.interval, min(_LEAST_REST * (now - begun), _MOST_REST))
            with self._lock:
                for refresh in ended:
                    # Poked meanwhile: something has happened since, so that this was not the last time.
                    if refresh not in self._at_once:
                        self._refreshes.pop(refresh, None)
                if not self._refreshes:
                    self._thread = None
                    return

    @staticmethod
    def _is_over(refresh: Callable[[], bool], context: contextvars.Context) -> bool:
        try:
            return context.run(refresh)
        except Exception:
            # Its display stays as it is: that of others, and the work itself, must not suffer from it.
            _logger.exception("A live display could not be refreshed and was stopped.")
            return True


TICKER = Ticker()
"""The ticker of all displays of this process; it has no thread until the first one is shown."""

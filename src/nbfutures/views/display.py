"""A display in a notebook that follows something until it is final."""

from __future__ import annotations

import contextvars
import sys
import threading
import uuid
import weakref
from typing import TYPE_CHECKING, Any

from nbfutures.views.ticker import TICKER, Ticker

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LiveDisplay", "forget_shell"]

_waiting: weakref.WeakSet[LiveDisplay] = weakref.WeakSet()
"""Displays whose final state no cell has sent yet."""
_waiting_lock = threading.Lock()
"""Held while `_waiting` is changed or read: jobs are retried in other threads than that of the cells."""
_hooked: list[Any] = []
"""The shell that tells when a cell has ended; at most one."""


class LiveDisplay:
    """Shows something below the cell, and brings it up to date until it is final.

    In a notebook the ticker's thread sends an update when there is something new, at its interval and once more at the
    end. In a terminal, where an update would be printed again, what there is to see is printed once. Without IPython
    nothing happens.

    Args:
        bundle: Returns what to show, by MIME type; called from the thread that shows and from the ticker's.
        is_final: Tells whether `bundle` will return the same from now on.
        ticker: What sets the pace.
    """

    def __init__(
        self, bundle: Callable[[], dict[str, str]], is_final: Callable[[], bool], ticker: Ticker = TICKER
    ) -> None:
        self._bundle = bundle
        self._is_final = is_final
        self._ticker = ticker
        self._lock = threading.Lock()
        """Held while something is sent, so that an older state never overwrites a newer one."""
        self._context: contextvars.Context | None = None
        self._sent: dict[str, dict[str, str]] = {}
        """Display id -> what was sent last."""

    def show(self) -> None:
        """Display the present state below the current cell, and follow it from there on.

        Showing again in another cell makes a second display; both are kept up to date.
        """
        shell = _shell()
        if shell is None:
            return
        # Asked before the bundle is made: what is final now is so in the bundle as well.
        is_final = self._is_final()
        with self._lock:
            bundle = self._bundle()
            if getattr(shell, "kernel", None) is None:
                _send(bundle, None)
                return
            # The cell is known in the context of the thread that shows, not in that of one that only pokes.
            self._context = contextvars.copy_context()
            display_id = uuid.uuid4().hex
            _send(bundle, display_id)
            self._sent[display_id] = bundle
        if not is_final:
            _hook(shell)
            self._wait_for_cell()
            self._follow()

    def poke(self) -> None:
        """Bring the displays up to date as soon as may be, such as when the end has come, or is no longer the end.

        Does not wait, and may be called from any thread.
        """
        if self._sent:
            if not self._is_final():
                self._wait_for_cell()
            self._follow()
            self._ticker.poke(self._refresh)

    def _wait_for_cell(self) -> None:
        with _waiting_lock:
            _waiting.add(self)

    def _send_from_cell(self) -> None:
        """Send the final state as an output of the cell that is running.

        A notebook that is executed without a browser (nbclient, nbconvert) takes in only what the running cell sends,
        not what the ticker sends between cells.
        """
        if not self._is_final():
            return
        with _waiting_lock:
            _waiting.discard(self)
        with self._lock:
            bundle = self._bundle()
            for display_id in self._sent:
                _send(bundle, display_id, is_update=True)
                self._sent[display_id] = bundle

    def _follow(self) -> None:
        self._ticker.add(self._refresh, self._context)
        if self._is_final():
            # The end came while the display was made, before there was anybody to tell of it.
            self._ticker.poke(self._refresh)

    def _refresh(self) -> bool:
        is_final = self._is_final()
        with self._lock:
            bundle = self._bundle()
            for display_id, sent in self._sent.items():
                if sent != bundle:
                    _send(bundle, display_id, is_update=True)
                    self._sent[display_id] = bundle
        return is_final


def _hook(shell: Any) -> None:
    if shell not in _hooked and hasattr(shell, "events"):
        forget_shell()
        shell.events.register("post_run_cell", _after_cell)
        _hooked.append(shell)


def forget_shell() -> None:
    """Take the hook off IPython that displays have put there."""
    while _hooked:
        _hooked.pop().events.unregister("post_run_cell", _after_cell)


def _after_cell(_result: object) -> None:
    with _waiting_lock:
        displays = list(_waiting)
    for display in displays:
        display._send_from_cell()


def _shell() -> Any:
    """Return the running IPython shell, or `None`; IPython is not imported for that."""
    if "IPython" not in sys.modules:
        return None
    from IPython.core.getipython import get_ipython

    return get_ipython()


def _send(bundle: dict[str, str], display_id: str | None, *, is_update: bool = False) -> None:
    from IPython.display import display

    if display_id is None:
        display(bundle, raw=True)  # type: ignore[no-untyped-call]  # IPython types some of its functions only
    else:
        display(bundle, raw=True, display_id=display_id, update=is_update)  # type: ignore[no-untyped-call]  # as above

"""A display in a notebook that follows something until it is final."""

from __future__ import annotations

import contextvars
import logging
import sys
import threading
import time
import uuid
import weakref
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LiveDisplay", "LiveWidget", "forget_shell"]

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


_waiting: weakref.WeakSet[LiveDisplay] = weakref.WeakSet()
"""Displays whose final state no cell has sent yet."""
_waiting_lock = threading.Lock()
"""Held while `_waiting` or `_open` is changed or read: jobs are retried in other threads than that of the cells."""
_open: dict[LiveDisplay, None] = {}
"""Displays that have a widget, in the order in which they were shown last."""
_MOST_OPEN = 50
"""Widgets that are kept: each holds its job. An older one leaves its text and HTML behind."""
_LEAVE_SECONDS = 10.0
"""How long a widget is kept that the browser shows no more: it may just be drawn anew."""
_PLAIN_SECONDS = 0.9
"""How often text and HTML are renewed where no browser draws the widget ..."""
_SAVED_SECONDS = 10.0
"""... and where one does, for a notebook that is saved while the job runs."""
_STYLE = (
    "<style>.jp-OutputArea-child:has(.nbf-static):has(+* .nbf-card),"
    ".jp-OutputArea-child:has(.nbf-static)+:not(:has(.nbf-card)){display:none}</style>"
)
"""Of the two outputs, HTML and widget, a page shows one: the widget where it is drawn.

In a trusted notebook, JupyterLab prefers a widget to the HTML of the same output, also where there is none any more:
re-opened without its kernel it would say "Loading widget..." for ever.
"""
_hooked: list[Any] = []
"""The shell that tells when a cell has ended; at most one."""


class LiveWidget(Protocol):
    """A widget that takes the place of the text and the HTML where a browser draws it, and follows by itself."""

    on_request: Callable[[], None]
    """Called by the widget, on any thread, to have `refresh` called soon."""

    def bundle(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the widget as data and metadata by MIME type."""
        ...

    def refresh(self) -> bool:
        """Bring the browser up to date; return whether all is told."""
        ...

    @property
    def views(self) -> int | None:
        """How many places the browser shows it in; `None` if it never has, as where there is no browser."""
        ...

    def close(self) -> None:
        """Let go of the widget; `bundle` makes another."""
        ...


class LiveDisplay:
    """Shows something below the cell, and brings it up to date until it is final.

    In a notebook the widget follows at the ticker's pace. Text and HTML are for where no widget is seen, and for the
    saved notebook: they are sent when the display is made, about once a second while no browser has drawn the widget,
    and when it is final. In a terminal, where an update would be printed again, what there is to see is printed once.
    Without IPython nothing happens.

    Args:
        bundle: Returns text and HTML by MIME type; called from the thread that shows and from the ticker's.
        is_final: Tells whether `bundle` will return the same from now on.
        widget: Follows in the meantime.
        ticker: What sets the pace.
        clock: Returns the time in seconds; it never goes back.
    """

    def __init__(
        self,
        bundle: Callable[[], dict[str, str]],
        is_final: Callable[[], bool],
        widget: LiveWidget,
        ticker: Ticker = TICKER,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bundle = bundle
        self._is_final = is_final
        self._widget = widget
        self._ticker = ticker
        self._clock = clock
        widget.on_request = self._answer
        # A user's `repr` may run with it held, and show the same job.
        self._lock = threading.RLock()
        """Held while something is sent, so that an older state never overwrites a newer one."""
        self._context: contextvars.Context | None = None
        self._sent: dict[str, dict[str, str]] = {}
        """Display id -> the text and the HTML that were sent last."""
        self._widget_ids: list[str] = []
        """Display ids of the outputs that hold the widget."""
        self._last_sent = 0.0
        self._unseen_since: float | None = None

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
                _send(bundle, {}, None)
                return
            # The cell is known in the context of the thread that shows, not in that of one that only pokes.
            self._context = contextvars.copy_context()
            self._unseen_since = None
            self._send_plain(uuid.uuid4().hex, bundle, is_update=False)
            self._send_widget(uuid.uuid4().hex)
        _keep_few(self)
        if is_final:
            self._hold()
        else:
            _hook(shell)
            self._wait_for_cell()
            self._follow()

    def poke(self) -> None:
        """Bring the displays up to date as soon as may be, such as when the end has come, or is no longer the end.

        Does not wait, and may be called from any thread.
        """
        if self._sent and not self._is_final():
            self._wait_for_cell()
        self._answer()

    def detach(self) -> None:
        """Put text and HTML in the widget's place for good, if it is final, and let go of the widget."""
        with self._lock:
            if not self._is_final():
                return
            self._widget.close()
            self._unseen_since = None
            for display_id in self._widget_ids:
                _send({"text/plain": ""}, {}, display_id, is_update=True)
            self._widget_ids.clear()
        with _waiting_lock:
            _open.pop(self, None)

    def _answer(self) -> None:
        """Refresh soon: the browser has asked for something, on a thread that may be that of the cells."""
        if self._sent:
            self._follow()
            self._ticker.poke(self._refresh)

    def _hold(self) -> None:
        """Be held while a browser shows the widget, as one of a few; where none does, by who holds the job."""
        with _waiting_lock:
            if self._widget.views is None:
                _open.pop(self, None)
            is_new = bool(self._widget.views) and self not in _open
        if is_new:
            _keep_few(self)

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
        # Where a browser draws the widget, it takes in what the ticker sends as well.
        self._update_plain(again=self._widget.views is None)

    def _follow(self) -> None:
        self._ticker.add(self._refresh, self._context)
        if self._is_final():
            # The end came while the display was made, before there was anybody to tell of it.
            self._ticker.poke(self._refresh)

    def _refresh(self) -> bool:
        is_final = self._is_final()
        is_told = self._widget.refresh() if self._widget_ids else True
        pause = _PLAIN_SECONDS if self._widget.views is None else _SAVED_SECONDS
        if is_final or self._clock() - self._last_sent >= pause:
            self._update_plain(again=False)
        if is_final and is_told:
            self._hold()
        # Asked again: a click may have had the job run once more.
        return is_final and is_told and self._is_final() and not self._is_leaving()

    def _update_plain(self, *, again: bool) -> None:
        with self._lock:
            bundle = self._bundle()
            for display_id, sent in self._sent.items():
                if again or sent != bundle:
                    self._send_plain(display_id, bundle, is_update=True)

    def _send_plain(self, display_id: str, bundle: dict[str, str], *, is_update: bool) -> None:
        data = {**bundle, "text/html": f'{_STYLE}<div class="nbf-static">{bundle["text/html"]}</div>'}
        _send(data, {}, display_id, is_update=is_update)
        self._sent[display_id] = bundle
        self._last_sent = self._clock()

    def _send_widget(self, display_id: str) -> None:
        data, metadata = self._widget.bundle()
        # Without a text of its own: what a page without widgets shows of it is nothing.
        _send({**data, "text/plain": ""}, metadata, display_id)
        self._widget_ids.append(display_id)

    def _is_leaving(self) -> bool:
        """Tell whether it is in the time in which the browser may show again what it just took away."""
        if self._widget.views != 0 or not self._widget_ids:
            self._unseen_since = None
            return False
        now = self._clock()
        if self._unseen_since is None:
            self._unseen_since = now
        if now - self._unseen_since < _LEAVE_SECONDS:
            return True
        self._unseen_since = None
        self.detach()
        return False


def _keep_few(display: LiveDisplay) -> None:
    """Remember that a display has a widget, and let go of the oldest one that is final where there are too many."""
    with _waiting_lock:
        _open.pop(display, None)
        _open[display] = None
        over = [one for one in _open if one is not display and one._is_final()] if len(_open) > _MOST_OPEN else []
    for old in over[: len(_open) - _MOST_OPEN]:
        old.detach()


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


def _send(data: dict[str, Any], metadata: dict[str, Any], display_id: str | None, *, is_update: bool = False) -> None:
    from IPython.display import display

    if display_id is None:
        display(data, raw=True)  # type: ignore[no-untyped-call]  # IPython types some of its functions only
    else:
        display(data, metadata=metadata, raw=True, display_id=display_id, update=is_update)  # type: ignore[no-untyped-call]  # as above

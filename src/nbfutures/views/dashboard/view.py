"""Prefect's interface as a notebook shows it: below the cell, or as a link."""

from __future__ import annotations

import contextvars
import html
import logging
import threading
from typing import TYPE_CHECKING, Any

from nbfutures.views.clean import one_line, plain
from nbfutures.views.display import LiveDisplay

if TYPE_CHECKING:
    from collections.abc import Callable

    from nbfutures.model.ui_place import UiPlace
    from nbfutures.views.dashboard.dashboard import Dashboard

__all__ = ["DashboardView"]

_logger = logging.getLogger(__name__)

_STARTING = "Prefect is starting: some ten seconds, and up to thirty the first time."
_NONE = "This Prefect has no interface that is known here. Set PREFECT_UI_URL to its address."
_LIMIT = 1_000


class DashboardView:
    """Shows itself below the cell, at once; the interface comes as soon as Prefect answers.

    Args:
        find: Returns where the interface is, `None` if there is none; it may block, and is called on a thread.
        password: Returns what the interface asks for, where it is our own server's. It goes to the browser as a
            message, when the login page asks for it: not into the output, and not into the notebook.
        path: The page to show, such as `runs/flow-run/ID`; empty for the first.
    """

    def __init__(self, find: Callable[[], UiPlace | None], password: Callable[[], str | None], path: str = "") -> None:
        self._find = find
        self._path = path
        self._place: UiPlace | None = None
        self._note = _STARTING
        self._is_found = threading.Event()
        self._widget = _LiveDashboard(self._draw, password)
        self._display = LiveDisplay(self._bundle, self._is_found.is_set, self._widget)
        threading.Thread(
            target=contextvars.copy_context().run, args=(self._look,), name="nbfutures dashboard", daemon=True
        ).start()

    @property
    def url(self) -> str | None:
        """Address of the page; `None` if there is none, and while Prefect starts.

        A path where the notebook's own server passes the page on, as on JupyterHub and Binder.
        """
        return self._place.page(self._path) if self._place is not None else None

    def wait(self, timeout: float | None = None) -> bool:
        """Block until it is known where the interface is.

        Args:
            timeout: Seconds to wait at most; `None` for no limit.

        Returns:
            Whether it is known.
        """
        return self._is_found.wait(timeout)

    def _look(self) -> None:
        try:
            self._place = self._find()
            self._note = "" if self._place is not None else _NONE
        except Exception as error:
            _logger.debug("Prefect's interface was not found", exc_info=True)
            self._note = plain(one_line(str(error)), _LIMIT)
        self._is_found.set()
        self._display.poke()

    def _draw(self, widget: Dashboard) -> None:
        with widget.hold_sync():
            widget.note = self._note
            if self._place is not None:
                widget.address = self._place.page(self._path)
                widget.frame = self._place.login(self._path) if self._place.has_login_page else ""

    def _ipython_display_(self) -> None:
        self._display.show()

    def __repr__(self) -> str:
        return self._bundle()["text/plain"]

    def _bundle(self) -> dict[str, str]:
        url = self.url
        if url is None:
            return {"text/plain": self._note, "text/html": f"<div>{html.escape(self._note)}</div>"}
        link = f'<a href="{html.escape(url)}" target="_blank" rel="noopener noreferrer">Prefect</a>'
        return {"text/plain": f"Prefect: {url}", "text/html": f"<div>{link}</div>"}


class _LiveDashboard:
    """The widget, for the display that shows it."""

    def __init__(self, draw: Callable[[Dashboard], None], password: Callable[[], str | None]) -> None:
        self.on_request: Callable[[], None] = lambda: None
        self._draw = draw
        self._password = password
        self._widget: Dashboard | None = None

    def bundle(self) -> tuple[dict[str, Any], dict[str, Any]]:
        if self._widget is None:
            from nbfutures.views.dashboard.dashboard import Dashboard

            self._widget = Dashboard()
            self._draw(self._widget)
            self._widget.on_msg(self._on_message)
        made = self._widget._repr_mimebundle_()
        return made if isinstance(made, tuple) else (made or {}, {})

    def refresh(self) -> bool:
        if self._widget is not None:
            self._draw(self._widget)
        return True

    @property
    def views(self) -> int | None:
        return None

    def close(self) -> None:
        widget, self._widget = self._widget, None
        if widget is not None:
            widget.close()

    def _on_message(self, _widget: object, content: object, _buffers: object) -> None:
        widget = self._widget
        if widget is not None and isinstance(content, dict) and content.get("do") == "password":
            widget.send({"answer": "password", "password": self._password()})

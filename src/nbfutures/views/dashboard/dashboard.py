"""Prefect's interface as a widget: what the browser knows of it. No logic; the drawing is in `dashboard.js`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import anywidget
import traitlets

__all__ = ["Dashboard"]

_FOLDER = Path(__file__).parent


class Dashboard(anywidget.AnyWidget):
    """What the browser knows of Prefect's interface: never the password, which would be saved with the notebook."""

    # As text: of a path, anywidget keeps every widget that was ever made, to tell it of changes in the file.
    _esm: ClassVar[str] = (_FOLDER / "dashboard.js").read_text(encoding="utf-8")
    _css: ClassVar[str] = (_FOLDER / "dashboard.css").read_text(encoding="utf-8")

    layout: traitlets.Any = traitlets.Any(default_value=None, allow_none=True).tag(sync=True)
    address = traitlets.Unicode().tag(sync=True)
    """Of the page to show; a path where the notebook's own server passes it on. Empty until it is known."""
    frame = traitlets.Unicode().tag(sync=True)
    """The same, by way of the login page; empty where the page cannot be shown below a cell."""
    note = traitlets.Unicode().tag(sync=True)
    """What there is to say."""

    def open(self) -> None:
        """Tell the browser of the widget."""
        super().open()
        # As for a card: what the browser asks for is answered while a cell runs.
        comm: Any = self.comm
        if hasattr(comm, "_reply_subshell_for"):
            comm._reply_subshell_for = None

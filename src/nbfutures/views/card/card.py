"""The card as a widget: what the browser knows of a job. No logic; the drawing is in `card.js`."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any, ClassVar

import anywidget
import traitlets

__all__ = ["SCRIPT", "STYLE", "Card"]

_FOLDER = Path(__file__).parent

SCRIPT = (_FOLDER / "card.js").read_text(encoding="utf-8")
STYLE = (_FOLDER / "card.css").read_text(encoding="utf-8")
"""What draws the card; sent when a browser asks for it."""


class Card(anywidget.AnyWidget):
    """What the browser knows of a job, or of a list of jobs. Written by one thread."""

    # As text: of a path, anywidget keeps every widget that was ever made, to tell it of changes in the file.
    _esm: ClassVar[str] = re.sub(
        r"^ *//.*\n", "", (_FOLDER / "loader.js").read_text(encoding="utf-8"), flags=re.MULTILINE
    )

    # The card's own style says how it is laid out: a widget less to make, to send, to save and to close.
    layout: traitlets.Any = traitlets.Any(default_value=None, allow_none=True).tag(sync=True)
    version = traitlets.Unicode(hashlib.sha256((SCRIPT + STYLE).encode()).hexdigest()[:12]).tag(sync=True)
    """Tells the code that draws it from that of other versions."""
    uid = traitlets.Unicode().tag(sync=True)
    """Tells the card from others, also where it is drawn anew."""
    jobs = traitlets.List(trait=traitlets.Dict()).tag(sync=True)
    """A `JobDescription` with the actions that the job offers now, for each job; mostly one."""
    is_list = traitlets.Bool(default_value=False).tag(sync=True)
    """Whether it is a list of small cards, without folds."""
    failures = traitlets.Dict().tag(sync=True)
    """Failures in groups, once somebody has opened that fold."""
    timeline = traitlets.Dict().tag(sync=True)
    """Lanes of bars, once somebody has opened that fold."""
    results: traitlets.List[list[Any]] = traitlets.List().tag(sync=True)
    """First and last values, `[index, text]`, once somebody has opened that fold."""

    def open(self) -> None:
        """Tell the browser of the widget."""
        super().open()
        # ipykernel 7.4 hands what the browser sends to the thread that wrote last, which a running cell keeps busy.
        # A comm without a route of its own gets it in the thread that the browser asks for (JupyterLab: a subshell).
        comm: Any = self.comm
        if hasattr(comm, "_reply_subshell_for"):
            comm._reply_subshell_for = None

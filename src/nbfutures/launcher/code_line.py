"""Python to read and to copy; brings the style of the whole form, too."""

from __future__ import annotations

from pathlib import Path

import anywidget
import traitlets

__all__ = ["CodeLine"]

_HERE = Path(__file__).parent


class CodeLine(anywidget.AnyWidget):
    """Shows Python and a button that copies it, or a sentence where there is none."""

    _esm = (_HERE / "code_line.js").read_text(encoding="utf-8")
    _css = (_HERE / "code_line.css").read_text(encoding="utf-8")

    code = traitlets.Unicode().tag(sync=True)
    """The Python; may be several lines."""
    note = traitlets.Unicode().tag(sync=True)
    """What to read while there is no code."""

"""Where a form stands, and where its jobs are shown: the outputs of a cell."""

from __future__ import annotations

import contextvars
import html
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbfutures.api import Job

__all__ = ["Place"]


class Place:
    """The cell that showed the form last; at first the one that made it."""

    def __init__(self) -> None:
        self._context = contextvars.copy_context()

    def take(self, widget: Any, words: str, **kwargs: Any) -> dict[str, Any]:
        """Make the running cell the place, and return what it shows of a widget.

        Where there are no widgets, as in a terminal or in a saved notebook, the words are shown.
        """
        self._context = contextvars.copy_context()
        made = widget._repr_mimebundle_(**kwargs)
        data: dict[str, Any] = dict(made[0] if isinstance(made, tuple) else made)
        return {**data, "text/plain": words, "text/html": f"<p>{html.escape(words)}</p>"}

    def show(self, job: Job) -> None:
        """Show a job below the form, as an output of its cell.

        What a button's callback displays belongs to no cell, and JupyterLab puts it into its log. ipykernel knows the
        cell by context variables. An `Output` widget would take no updates, and nothing of it would be saved.
        """
        self._context.copy().run(job._ipython_display_)

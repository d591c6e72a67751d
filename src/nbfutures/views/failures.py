"""One failure, with all that it takes to understand it and to run it again."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from nbfutures.views.clean import both_ends, error_message, error_name, one_line, plain, short_repr
from nbfutures.views.terminal import last_state
from nbfutures.views.tracebacks import traceback_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nbfutures.model.item import Item
    from nbfutures.model.outcome import CapturedOutput, Outcome

__all__ = ["Failure"]

_INPUTS = 20
_OUTPUT_LIMIT = 5_000
_TRACEBACK_LIMIT = 20_000
_PRE = (
    "margin:2px 0 0;max-height:24em;overflow:auto;white-space:pre-wrap;overflow-wrap:anywhere;"
    "font-family:var(--jp-code-font-family,monospace);font-size:var(--jp-code-font-size,13px)"
)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Failure:
    """Why one item failed: its input, the error, the traceback and what it printed."""

    index: int
    """The item's position in the job, from 0."""
    input: Mapping[str, Any]
    """Parameter name to argument."""
    error: BaseException
    """What the function raised."""
    traceback: str
    """The traceback as text, from the function on: the frames of those who called it are left out."""
    output: CapturedOutput | None
    """What the item printed, as it was written; `None` if nothing. It is shown as a terminal would in the end."""
    call: Callable[[], Any]
    """Makes the call again."""

    @classmethod
    def of(cls, outcome: Outcome, item: Item, call: Callable[[], Any]) -> Self:
        """Return the failure that an outcome tells of.

        Args:
            outcome: How the item ended; it holds an error.
            item: The item.
            call: Makes the call again, in the thread that calls it, and returns its value or raises.

        Raises:
            ValueError: If the outcome holds no error.
        """
        if outcome.error is None:
            raise ValueError(f"Item {outcome.index} has no error: it {outcome.kind.value}.")
        return cls(
            index=outcome.index,
            input=dict(item.arguments),
            error=outcome.error,
            traceback=traceback_text(outcome.error),
            output=outcome.output,
            call=call,
        )

    def reproduce(self) -> Any:
        """Make the call again, here and now in the calling thread, so that `%debug` finds the error.

        Returns:
            The function's value, if it does not fail this time.

        Raises:
            Exception: Whatever the function raises.
        """
        return self.call()

    @property
    def headline(self) -> str:
        """The error's type and message on one line, cut."""
        message = one_line(error_message(self.error))
        return f"{error_name(self.error)}: {message}" if message else error_name(self.error)

    def blocks(self) -> list[tuple[str, str]]:
        """Return titles and texts: input, traceback, what was printed; cut and cleaned, but not escaped for HTML."""
        return [("Input", self._inputs()), ("Traceback", both_ends(self.traceback, _TRACEBACK_LIMIT)), *self._printed()]

    def __repr__(self) -> str:
        parts = [f"Item {self.index} failed with {self.headline}"]
        for title, text in self.blocks():
            parts += [title, _indented(text)]
        return "\n".join([*parts, "Run it again with .reproduce()"])

    def _repr_html_(self) -> str:
        told = "".join(
            f'<div style="margin-top:8px"><strong>{title}</strong><pre style="{_PRE}">{html.escape(text)}</pre></div>'
            for title, text in self.blocks()
        )
        headline = html.escape(self.headline)
        return (
            '<div style="font-family:var(--jp-ui-font-family,system-ui,sans-serif);'
            'font-size:var(--jp-ui-font-size1,13px);max-width:960px;padding:4px 0">'
            f'<div style="overflow-wrap:anywhere">Item {self.index} failed with <strong>{headline}</strong></div>{told}'
            '<div style="margin-top:8px">Run it again with <code>.reproduce()</code></div></div>'
        )

    def _inputs(self) -> str:
        lines = [f"{plain(name, 80)} = {short_repr(value, 200)}" for name, value in list(self.input.items())[:_INPUTS]]
        if len(self.input) > _INPUTS:
            lines.append("…")
        return "\n".join(lines) or "no arguments"

    def _printed(self) -> list[tuple[str, str]]:
        if self.output is None:
            return []
        texts = [
            ("Printed", last_state(self.output.stdout)),
            ("Printed to stderr", last_state(self.output.stderr)),
        ]
        return [(title, both_ends(text.rstrip("\n"), _OUTPUT_LIMIT)) for title, text in texts if text.strip()]


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.split("\n"))

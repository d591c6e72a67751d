"""A job's text and HTML, made from its state at each refresh for no more than what is new."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING

from nbfutures.model.events import JobEvent, Reopened
from nbfutures.views.clean import one_line, plain
from nbfutures.views.grouping import FailureGroup, FailureTally
from nbfutures.views.html import first_and_last, job_html
from nbfutures.views.snapshot import describe
from nbfutures.views.text import job_text
from nbfutures.views.words import count_words, number_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nbfutures.model.item import ItemSource
    from nbfutures.model.job_snapshot import JobSnapshot
    from nbfutures.model.job_state import JobState

__all__ = ["JobReport"]

_FAILURE_GROUPS = 20
_MESSAGE = 200
"""Characters of a group's message."""
_NAME = 80
_SPECIAL = re.compile(r"[\\`*_{}\[\]()<>#|~!$&@]|:(?=//)|(?<=www)\.")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", ":": "&#58;", ".": "&#46;", "@": "&#64;"}
"""For what a backslash would not do: addresses are links by themselves."""


def job_markdown(snapshot: JobSnapshot, groups: Sequence[FailureGroup] = (), more: int = 0) -> str:
    """Return a job as Markdown: a table of its outcomes, and one of its failures; some kilobytes at most.

    What the items were given and what they returned is not in it, but messages of errors are.

    Args:
        snapshot: The job.
        groups: Its failures, the largest group first; the first twenty are shown.
        more: How many kinds of failure there are beyond `groups`.
    """
    job = describe(snapshot)
    counts, words = job["counts"], job["words"]
    parts = [f"## {_text(job['title'])}: {_text(job['state'])}"]
    pace = ", ".join(filter(None, [words["workers"], words["rate"], words["speed_up"]]))
    total = counts["total"]
    parts.append(f"{count_words(total, 'item')} in {words['elapsed']} ({_text(pace)})")
    if job["note"]:
        parts.append(f"**Note:** {_text(job['note'])}")
    settled = {kind: counts[kind] for kind in ("completed", "failed", "cancelled", "skipped")}
    if total:
        rows = [[kind, number_words(number), f"{number / total:.1%}"] for kind, number in settled.items() if number]
        parts.append(_table(["outcome", "items", "share"], rows, numbers=(1, 2)))
    if groups:
        parts += ["### Failures", _failures(groups[:_FAILURE_GROUPS])]
    more += max(len(groups) - _FAILURE_GROUPS, 0)
    if more:
        parts.append(f"and {count_words(more, 'other kind')} of failure")
    return "\n\n".join(parts) + "\n"


def _failures(groups: Sequence[FailureGroup]) -> str:
    rows = [
        [
            number_words(group.count),
            _text(plain(group.error, _NAME)),
            _text(plain(one_line(group.message[: 4 * _MESSAGE]), _MESSAGE)),
            _text(plain(group.where, _NAME)),
            number_words(group.first),
        ]
        for group in groups
    ]
    return _table(["items", "error", "message", "where", "first item"], rows, numbers=(0, 4))


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int]) -> str:
    rule = ["--:" if column in numbers else "---" for column in range(len(heads))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows))


def _text(text: str) -> str:
    """Return a text such that Markdown and HTML take none of it as their own."""
    # What counts at the beginning of a line only is left alone: none of these texts is at one.
    return _SPECIAL.sub(lambda found: _ENTITIES.get(found[0], f"\\{found[0]}"), one_line(text))


_GROUPS = 5
_MARKDOWN_GROUPS = 20


class JobReport:
    """Turns a job's state into what a notebook shows. Safe to use from any thread.

    Args:
        state: The job's state.
        source: Where the inputs of failed items are read from.
    """

    def __init__(self, state: JobState, source: ItemSource) -> None:
        self._state = state
        self._source = source
        # A user's `repr` may run with it held, and show the job.
        self._lock = threading.RLock()
        self._tally = FailureTally(source)
        self._position = 0
        self._is_stale = False
        state.subscribe(self._on_event)

    def bundle(self) -> dict[str, str]:
        """Return the job as it stands now, by MIME type: `text/plain` and `text/html`."""
        snapshot = self._state.snapshot()
        groups, more = self.failures(_GROUPS)
        results = first_and_last(self._state) if snapshot.is_done else []
        return {
            "text/plain": job_text(snapshot, groups, more),
            "text/html": job_html(snapshot, groups, more, results),
        }

    def markdown(self) -> str:
        """Return the job as it stands now as Markdown, without inputs and values of its items."""
        return job_markdown(self._state.snapshot(), *self.failures(_MARKDOWN_GROUPS))

    def failures(self, limit: int) -> tuple[list[FailureGroup], int]:
        """Return the failures in groups, the largest first, and how many groups there are besides.

        Args:
            limit: Groups at most.
        """
        with self._lock:
            self._count_failures()
            groups = self._tally.top(limit)
            return groups, len(self._tally) - len(groups)

    def _count_failures(self) -> None:
        while True:
            if self._is_stale:
                self._is_stale = False
                self._tally = FailureTally(self._source)
                self._position = 0
            told, self._position = self._state.settled_since(self._position)
            if self._tally.add(told):
                return
            # An item that was counted has ended otherwise; this may be the last refresh, so that it is put right now.
            self._is_stale = True

    def _on_event(self, event: JobEvent) -> None:
        if isinstance(event, Reopened):
            self._is_stale = True

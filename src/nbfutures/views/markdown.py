"""A job as Markdown: the summary that Prefect's interface shows below the job's flow run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nbfutures.views.clean import one_line, plain
from nbfutures.views.snapshot import describe
from nbfutures.views.words import count_words, number_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nbfutures.model.job_snapshot import JobSnapshot
    from nbfutures.views.grouping import FailureGroup

__all__ = ["job_markdown"]

_GROUPS = 20
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
        parts += ["### Failures", _failures(groups[:_GROUPS])]
    more += max(len(groups) - _GROUPS, 0)
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

"""A job as a few lines of plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbfutures.views.snapshot import JobDescription, describe
from nbfutures.views.words import count_words, number_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nbfutures.model.job_snapshot import JobSnapshot
    from nbfutures.views.grouping import FailureGroup

__all__ = ["job_text"]

_GROUPS = 5
_MESSAGE = 160
"""Characters of a group's message: a line that is read, not a record."""


def job_text(snapshot: JobSnapshot, groups: Sequence[FailureGroup] = (), more: int = 0) -> str:
    """Return a job as text: one line, a second one for a note, what a dry run tells, and failures once it is done.

    Args:
        snapshot: The job.
        groups: Its failures, the largest group first; the first five are shown.
        more: How many kinds of failure there are beyond `groups`.
    """
    job = describe(snapshot)
    lines = [f"{job['title']}: {_done(job) if job['is_done'] else _going_on(job)}"]
    if job["note"]:
        lines.append(f"  {job['note']}")
    lines += [f"  {line}" for line in job["report"]]
    if job["is_done"]:
        lines += _failures(groups, more)
    return "\n".join(lines)


def _going_on(job: JobDescription) -> str:
    counts, words = job["counts"], job["words"]
    if job["phase"] == "starting" and counts["settled"] == 0:
        parts = [job["state"], count_words(counts["total"], "item") if counts["total"] else ""]
    else:
        is_told = job["phase"] == "running" and words["counts"]
        parts = ["" if is_told else job["state"], words["counts"], words["left"]]
    return _sentence(parts, [words["workers"], words["rate"]])


def _done(job: JobDescription) -> str:
    counts, words = job["counts"], job["words"]
    total = counts["total"]
    if job["state"] == "nothing to do":
        return job["state"]
    took = f"in {words['elapsed']}"
    if total <= 1:
        return f"{job['state']} {took}"
    numbers = [f"{number_words(counts[kind])} {kind}" for kind in ("failed", "cancelled", "skipped") if counts[kind]]
    state = job["state"].partition(",")[0]
    if state in ("crashed", "cancelled") and counts["cancelled"] < total:
        parts = [state, f"{number_words(counts['completed'])} of {number_words(total)} completed", *numbers]
    elif state == "completed" and numbers:
        numbers[0] = numbers[0].replace(" ", f" of {number_words(total)} ", 1)
        parts = [state, *numbers]
    else:
        parts = [state, count_words(total, "item")]
    return _sentence([*parts, took], [words["workers"], words["rate"]])


def _sentence(parts: list[str], aside: list[str]) -> str:
    more = ", ".join(filter(None, aside))
    return f"{', '.join(filter(None, parts))}{more and f' ({more})'}"


def _failures(groups: Sequence[FailureGroup], more: int) -> list[str]:
    lines = []
    for group in groups[:_GROUPS]:
        message = " ".join(group.message.split())
        if len(message) > _MESSAGE:
            message = message[: _MESSAGE - 1] + "…"
        said = f"{group.error}: {message}" if message else group.error
        at = f" ({group.where})" if group.where else ""
        example = f": {group.example}" if group.example else ""
        lines.append(f"  {count_words(group.count, 'time')} {said}{at}, first at item {group.first}{example}")
    more += len(groups) - len(lines)
    if more:
        lines.append(f"  and {count_words(more, 'other kind')} of failure")
    return lines

"""What a card tells the browser, as JSON-ready values: all texts are cut and cleaned, all sizes bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nbfutures.views.clean import one_line, plain, short_repr
from nbfutures.views.phrases import count_parts, pace_phrase
from nbfutures.views.snapshot import describe
from nbfutures.views.timeline_snapshot import describe_timeline
from nbfutures.views.words import count_words, duration_words, number_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nbfutures.model.job_snapshot import JobSnapshot
    from nbfutures.model.outcome import Outcome
    from nbfutures.views.failures import Failure
    from nbfutures.views.grouping import FailureGroup
    from nbfutures.views.timeline_snapshot import TimelineSnapshot

__all__ = [
    "failure_answer",
    "failure_rows",
    "job_message",
    "no_failure_answer",
    "result_rows",
    "timeline_message",
]

_IN_PHRASES = frozenset({"note", "rate", "report", "seconds_left", "speed_up", "workers", "words"})
_TEXT_LIMIT = 20_000
"""Characters of a traceback or of what an item printed."""


def job_message(key: str, snapshot: JobSnapshot, actions: Sequence[str]) -> dict[str, Any]:
    """Return a job as the card draws it: about half a kilobyte, whatever the number of items.

    Args:
        key: Tells the job from others.
        snapshot: The job.
        actions: What it offers now, of "pause", "resume", "retry" and "cancel".

    Returns:
        A `JobDescription` with phrases for most of its numbers, with `key` and `actions`.
    """
    job = describe(snapshot)
    described = {name: value for name, value in job.items() if name not in _IN_PHRASES}
    phrases = {"words": {"counts": job["words"]["counts"]}, "parts": dict(count_parts(job)), "pace": pace_phrase(job)}
    note = "\n".join(filter(None, [job["note"], *job["report"]]))
    return {**described, **phrases, "note": note, "key": key, "actions": list(actions)}


def failure_rows(groups: Sequence[FailureGroup], more: int) -> dict[str, Any]:
    """Return failures in groups.

    Args:
        groups: The largest groups.
        more: How many there are besides.
    """
    rows = [
        {
            "key": group.key,
            "count": group.count,
            "error": plain(group.error, 60),
            "message": one_line(group.message),
            "where": (f"at {plain(group.where, 80)}, " if group.where else "") + f"first at item {group.first:,}",
            "first": group.first,
        }
        for group in groups
    ]
    return {"groups": rows, "more": more}


def failure_answer(failure: Failure) -> dict[str, Any]:
    """Return one failure with its input, traceback and what it printed."""
    return {
        "answer": "failure",
        "index": failure.index,
        "headline": f"Item {failure.index:,}: {failure.headline}",
        "blocks": [[title, plain(text, _TEXT_LIMIT)] for title, text in failure.blocks()],
    }


def no_failure_answer(index: int) -> dict[str, Any]:
    """Return the answer for an item that has not failed, or not any more."""
    return {"answer": "failure", "index": index, "headline": "This item has not failed, or not any more.", "blocks": []}


def result_rows(outcomes: Sequence[Outcome]) -> list[list[Any]]:
    """Return values as `[index, text]`."""
    return [[outcome.index, short_repr(outcome.value, 160)] for outcome in outcomes]


def timeline_message(timeline: TimelineSnapshot, settled: int | None = None) -> dict[str, Any]:
    """Return a timeline as lanes of bars, and what it shows in words.

    Args:
        timeline: The timeline.
        settled: How many items have ended, where it does not have all of them yet.
    """
    failed = sum(bar.failed for lane in timeline.lanes for bar in lane.bars)
    words = f"{count_words(timeline.items, 'item')} on {count_words(len(timeline.lanes), 'worker')}"
    if failed:
        words += f", {number_words(failed)} failed"
    if settled is not None:
        words = f"the first {words}; {number_words(settled)} have ended"
    return {**describe_timeline(timeline), "words": words, "span": duration_words(timeline.end - timeline.start)}

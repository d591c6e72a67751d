"""What the HTML and the card say of a job, so that both say it in the same words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbfutures.views.words import count_words, number_words

if TYPE_CHECKING:
    from nbfutures.views.snapshot import JobDescription

__all__ = ["KINDS", "count_parts", "pace_phrase"]

KINDS = ("completed", "failed", "cancelled", "skipped", "running", "waiting")
"""Kinds of items in the order of the bar, what waits last: that is the empty track."""


def count_parts(job: JobDescription) -> list[tuple[str, str]]:
    """Return the counts as pairs of a kind, whose colour is shown beside, and words; the kind is empty for none.

    Args:
        job: The job.
    """
    counts, is_done = job["counts"], job["is_done"]
    total = counts["total"]
    if total == 0:
        return [] if is_done else [("", "no items yet")]
    if total == 1 and is_done:
        # The state has said it.
        return []
    kinds = [(kind, counts[kind]) for kind in KINDS if counts[kind]]  # type: ignore[literal-required]
    if is_done and len(kinds) == 1:
        return [(kind, f"all {number_words(total)} items {kind}") for kind, _ in kinds]
    first = (
        count_words(total, "item") if is_done else f"{number_words(counts['settled'])} of {number_words(total)} done"
    )
    return [("", first), *((kind, f"{number_words(number)} {kind}") for kind, number in kinds)]


def pace_phrase(job: JobDescription) -> str:
    """Return how fast the job is and how long it takes, such as `3 s left · 2 s so far · 5/s · 2 workers`.

    Args:
        job: The job.
    """
    words, total = job["words"], job["counts"]["total"]
    if total == 0 and job["is_done"]:
        return ""
    took = f"took {words['elapsed']}" if job["is_done"] else f"{words['elapsed']} so far"
    workers = words["speed_up"] or (words["workers"] if total > 1 else "")
    return " · ".join(filter(None, [words["left"], took, words["rate"], workers]))

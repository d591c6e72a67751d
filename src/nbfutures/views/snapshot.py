"""A job at one moment, in numbers and in words: what every view shows, ready for JSON."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypedDict

from nbfutures.model.dry_run import INLINE
from nbfutures.model.events import JobPhase
from nbfutures.views.clean import MESSAGE_LIMIT, one_line, plain
from nbfutures.views.words import count_words, duration_words, left_words, number_words, rate_words

if TYPE_CHECKING:
    from nbfutures.model.dry_run import DryRunReport
    from nbfutures.model.job_snapshot import Counts, JobSnapshot

__all__ = ["CountsDescription", "JobDescription", "JobWords", "describe"]

_MUCH = 1_000_000
"""Bytes for one item, from which on it is worth telling."""
_ALIKE = 1.5
"""Items differ if one takes this many times as long as another."""
_LONG_WARM_UP = 0.1


def dry_run_lines(report: DryRunReport) -> list[str]:
    """Return the report of a dry run: what to do, what it is taken from, what to expect, and what is in the way.

    Args:
        report: The report.
    """
    lines = [report.text, _sample(report), _expected(report), _sending(report)]
    return [plain(one_line(line), MESSAGE_LIMIT) for line in lines if line]


def _sample(report: DryRunReport) -> str:
    ran, total = report.ran, report.total
    if not ran:
        return ""
    if not report.plan.is_total_known:
        said = f"Only the first {count_words(ran, 'item')} ran, taken from the iterator: give the job a new one"
    elif ran < total:
        which = ": the first, the middle and the last" if ran == len(report.items) else ""
        said = f"Only {number_words(ran)} of {count_words(total, 'item')} ran{which}"
    else:
        said = "The only item ran" if total == 1 else f"All {count_words(total, 'item')} ran"
    each = _each(report)
    failed = f" {number_words(report.failed)} failed: the times come from the rest." if report.failed and each else ""
    warm_up = report.warm_up
    first = f" The first took {duration_words(warm_up)} longer, counted once." if warm_up >= _LONG_WARM_UP else ""
    return f"{said}{each and ', ' + each}.{failed}{first}"


def _each(report: DryRunReport) -> str:
    seconds = [item.seconds or 0.0 for item in report.completed]
    if report.warm_up:
        seconds = seconds[1:]
    if not seconds:
        return ""
    low, high = min(seconds), max(seconds)
    if len(seconds) == 1 or high <= _ALIKE * low or duration_words(low) == duration_words(high):
        words = duration_words(sum(seconds) / len(seconds))
        return words if len(report.items) == 1 else f"{words} each"
    return f"{duration_words(low)} to {duration_words(high)} each"


def _expected(report: DryRunReport) -> str:
    expected, plan = report.expected, report.plan
    parts = []
    for runner, seconds in expected.items():
        if runner == INLINE:
            parts.append(f"one after the other {duration_words(seconds)}")
        else:
            number = plan.at_once[runner]
            at_once = f"{number_words(number)} at once" if plan.is_async else count_words(number, "worker")
            parts.append(f"{runner} {duration_words(seconds)} ({at_once})")
    if not parts:
        return ""
    which = "all" if plan.is_total_known else "each"
    items = "" if report.total == 1 else f" for {which} {count_words(report.total, 'item')}"
    return f"Expected{items}: {', '.join(parts)}."


def _sending(report: DryRunReport) -> str:
    sending = report.sending
    if sending is None or not report.ran:
        return ""
    if sending.obstacle:
        return f"{sending.obstacle.rstrip('.')}."
    if sending.bytes < _MUCH:
        return "All of it can be sent to processes." if report.completed else ""
    more = "" if sending.is_whole else "more than "
    return (
        f"Arguments and value are {more}{sending.bytes / 1e6:,.0f} MB an item: that costs time on the way to processes."
    )


_TITLE_LIMIT = 80
_WEB = ("http://", "https://")
_TELLING_SECONDS = 0.5
_LITTLE_SECONDS = 2.0
_SHORT_SECONDS = 0.1
_LEAST_SPEED_UP = 1.05
"""Below this, for items of microseconds, the quotient says nothing about the workers."""


class CountsDescription(TypedDict):
    """How many items are where."""

    total: int
    settled: int
    completed: int
    failed: int
    cancelled: int
    skipped: int
    running: int
    waiting: int


class JobWords(TypedDict):
    """The numbers as short words; empty where there is nothing to say."""

    counts: str
    """Such as `1,780 of 1,806 done, 26 failed`."""
    left: str
    """Such as `13 s left`; only while the job runs."""
    rate: str
    """Such as `160/s`."""
    elapsed: str
    """Such as `1 min 20 s`; of a job that is done also how long its items ran, where that is much less."""
    workers: str
    """Such as `4 workers`."""
    speed_up: str
    """Such as `speed-up 3.6 with 4 workers`."""


class JobDescription(TypedDict):
    """A job at one moment."""

    title: str
    phase: str
    """Value of `JobPhase`."""
    state: str
    """Where the job stands, in words."""
    is_done: bool
    crashed: bool
    counts: CountsDescription
    percent: int
    """Settled items in percent, rounded down: 100 only when all are, and 0 while more may come."""
    is_open_ended: bool
    """Whether more items may come."""
    rate: float | None
    """Items per second."""
    seconds_left: float | None
    elapsed: float
    """Seconds."""
    speed_up: float | None
    workers: int
    note: str
    links: list[list[str]]
    """Pages about the job: what they are called, and their addresses."""
    report: list[str]
    """Lines on what a dry run tells; empty for any other job."""
    words: JobWords


def describe(snapshot: JobSnapshot) -> JobDescription:
    """Return a job at one moment as plain values: texts are cut and cleaned but not escaped, numbers are finite.

    Args:
        snapshot: The job.
    """
    counts = snapshot.counts
    rate = _finite(snapshot.rate)
    left = _finite(snapshot.seconds_left)
    speed_up = _finite(snapshot.speed_up)
    is_running = snapshot.phase is JobPhase.RUNNING
    has_many = counts.total > 1
    ran = counts.completed + counts.failed
    return {
        "title": plain(one_line(snapshot.name[: 4 * _TITLE_LIMIT]), _TITLE_LIMIT),
        "phase": snapshot.phase.value,
        "state": _state_words(snapshot),
        "is_done": snapshot.is_done,
        "crashed": snapshot.crashed,
        "counts": {
            "total": counts.total,
            "settled": counts.settled,
            "completed": counts.completed,
            "failed": counts.failed,
            "cancelled": counts.cancelled,
            "skipped": counts.skipped,
            "running": counts.running,
            "waiting": counts.waiting,
        },
        "percent": _percent(snapshot),
        "is_open_ended": snapshot.is_open_ended,
        "rate": rate,
        "seconds_left": left,
        "elapsed": _finite(snapshot.elapsed) or 0.0,
        "speed_up": speed_up,
        "workers": snapshot.workers,
        "note": plain(one_line(snapshot.note[: 4 * MESSAGE_LIMIT]), MESSAGE_LIMIT),
        "links": [[plain(name, _TITLE_LIMIT), url] for name, url in snapshot.links if _is_page(url)],
        "report": dry_run_lines(snapshot.dry_run) if snapshot.dry_run is not None else [],
        "words": {
            "counts": "" if snapshot.is_flow and not counts.total else _count_words(counts),
            "left": left_words(left) if left is not None and is_running else "",
            "rate": rate_words(rate) if rate and has_many and ran and (is_running or _has_rate(snapshot, rate)) else "",
            "elapsed": _elapsed_words(snapshot, rate),
            # Of flow runs elsewhere, nobody knows how many may run at once.
            "workers": count_words(snapshot.workers, "worker") if snapshot.workers else "",
            "speed_up": _speed_up_words(speed_up, snapshot.workers) if has_many else "",
        },
    }


def _is_page(url: str) -> bool:
    # A path is on the notebook's own server.
    return url.startswith(_WEB) or (url.startswith("/") and not url.startswith(("//", "/\\")))


def _state_words(snapshot: JobSnapshot) -> str:
    if snapshot.is_done:
        if snapshot.is_cancelled:
            return "cancelled"
        if snapshot.crashed:
            return "failed" if snapshot.is_flow else "crashed"
        return "completed" if snapshot.is_flow and not snapshot.counts.total else _end_words(snapshot.counts)
    return snapshot.phase.value


def _run_seconds(snapshot: JobSnapshot, rate: float | None) -> float:
    """Return the seconds from the first item's start to the last one's end, of a job that is done."""
    return (snapshot.counts.completed + snapshot.counts.failed) / rate if rate else 0.0


def _has_rate(snapshot: JobSnapshot, rate: float) -> bool:
    # A handful of items at 4,000/s, in a job that took Prefect a tenth of a second to start, says nothing.
    ran = _run_seconds(snapshot, rate)
    return snapshot.is_done and (ran >= _TELLING_SECONDS or ran >= snapshot.elapsed / 2)


def _elapsed_words(snapshot: JobSnapshot, rate: float | None) -> str:
    words = duration_words(snapshot.elapsed, whole=not snapshot.is_done)
    ran = _run_seconds(snapshot, rate)
    if not snapshot.is_done or not ran or snapshot.elapsed - ran < max(_LITTLE_SECONDS, snapshot.elapsed / 5):
        return words
    # Else the rate and the time would contradict each other: Prefect had to start first, or something came before.
    running = duration_words(ran) if ran >= _SHORT_SECONDS else f"less than {_SHORT_SECONDS:g} s"
    return f"{words}, {running} of it running"


def _end_words(counts: Counts) -> str:
    if counts.total == 0:
        return "nothing to do"
    for kind, number in (("failed", counts.failed), ("skipped", counts.skipped), ("cancelled", counts.cancelled)):
        if number == counts.total:
            return kind
    parts = ["cancelled" if counts.cancelled else "completed"]
    parts += [
        f"{number_words(number)} {kind}"
        for kind, number in (("failed", counts.failed), ("skipped", counts.skipped))
        if number
    ]
    return ", ".join(parts)


def _count_words(counts: Counts) -> str:
    if counts.total == 0:
        return "no items"
    parts = [f"{number_words(counts.settled)} of {number_words(counts.total)} done"]
    parts += [
        f"{number_words(number)} {kind}"
        for kind, number in (("failed", counts.failed), ("cancelled", counts.cancelled), ("skipped", counts.skipped))
        if number
    ]
    return ", ".join(parts)


def _speed_up_words(speed_up: float | None, workers: int) -> str:
    if speed_up is None or workers == 1 or speed_up < _LEAST_SPEED_UP:
        return ""
    if not workers:
        return f"speed-up {speed_up:.1f}"
    return f"speed-up {speed_up:.1f} with {count_words(workers, 'worker')}"


def _percent(snapshot: JobSnapshot) -> int:
    total = snapshot.counts.total
    if snapshot.is_open_ended:
        return 0
    if total == 0:
        return 100 if snapshot.is_done else 0
    return 100 * snapshot.counts.settled // total


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None

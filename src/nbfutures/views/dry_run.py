"""What a dry run tells, in a few short lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbfutures.model.dry_run import INLINE
from nbfutures.views.clean import MESSAGE_LIMIT, one_line, plain
from nbfutures.views.words import count_words, duration_words, number_words

if TYPE_CHECKING:
    from nbfutures.model.dry_run import DryRunReport

__all__ = ["dry_run_lines"]

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

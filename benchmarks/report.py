"""What was measured, as tables for people and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.sections import NBFUTURES, failure_of, figures_of, ratios_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.measure import Measured
    from benchmarks.sections import Column, Comparison, Section, Spread

__all__ = ["as_json", "as_text", "told"]

_MANY = 10
"""Measurements from which on a percentile says something."""


def as_text(section: Section, measured: Sequence[Measured], comparisons: Sequence[Comparison]) -> str:
    """Return a section as a table, with its targets below.

    The first column of figures has the spread, the 90th percentile of many, and how much nbfutures has of it for each
    one that a contender has; the others have the median alone.
    """
    first = section.columns[0]
    spreads = [figures_of(measured, one.label, first.figure) for one in section.contenders]
    has_p90 = any(spread is not None and len(spread.values) >= _MANY for spread in spreads)
    has_ratio = len(section.contenders) > 1 and section.contenders[0].label == NBFUTURES
    header = ["", "items", first.title, "least", "most", *(["p90"] if has_p90 else [])]
    header += [f"{NBFUTURES} / it"] if has_ratio else []
    rows = [header + [column.title for column in section.columns[1:]]]
    for contender, spread in zip(section.contenders, spreads, strict=True):
        row = [contender.label, f"{contender.items:,}"]
        if spread is not None:
            figures = [spread.median, spread.low, spread.high, *([spread.p90] if has_p90 else [])]
            row += [told(value, first.unit) for value in figures]
            row += [_ratio(section, measured, contender.label)] if has_ratio else []
            row += [_told_median(measured, contender.label, column) for column in section.columns[1:]]
        rows.append(row + ["-"] * (len(rows[0]) - len(row)))
    busy = max((one.busy_before for one in measured), default=0.0)
    lines = [f"{section.title} ({_rounds(measured)}, machine at most {busy:.0%} busy before each)", ""]
    lines += [*_aligned(rows), *_failures(section, measured)]
    lines += ["", *(_target(one, section) for one in comparisons), ""]
    return "\n".join(lines)


def as_json(section: Section, measured: Sequence[Measured], comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """Return a section as JSON-ready values: everything that was measured, and the targets."""
    return {
        "title": section.title,
        "units": {column.title: column.unit for column in section.columns},
        "more_is_better": section.columns[0].more_is_better,
        "contenders": [
            {
                "label": contender.label,
                "items": contender.items,
                "workload": contender.workload,
                "error": failure_of(measured, contender.label),
                "figures": {
                    column.title: _spread(figures_of(measured, contender.label, column.figure))
                    for column in section.columns
                },
                "rounds": [
                    {**one.figures, "round": one.round_number + 1, "busy_before": one.busy_before, "error": one.error}
                    for one in measured
                    if one.contender == contender
                ],
            }
            for contender in section.contenders
        ],
        "targets": [
            {
                "label": one.target.label,
                "column": one.target.column,
                "versus": one.target.versus,
                "limit": one.target.limit,
                "is_least": one.target.is_least,
                "measured": _spread(one.spread),
                "is_met": one.is_met,
            }
            for one in comparisons
        ],
    }


def told(value: float, unit: str) -> str:
    """Return a figure with its unit, as people write it."""
    if unit == "s":
        for factor, name in ((1.0, "s"), (1e3, "ms"), (1e6, "us")):
            if value * factor >= 1 or name == "us":
                return f"{value * factor:.3g} {name}"
    if unit == "%":
        return f"{value:.1%}"
    if unit == "x":
        return f"{value:.2f}x" if value < 10 else f"{value:,.0f}x"
    if unit == "B":
        return f"{value / 1e6:,.0f} MB" if value >= 1e7 else f"{value:,.0f} B"
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def _told_median(measured: Sequence[Measured], label: str, column: Column) -> str:
    spread = figures_of(measured, label, column.figure)
    return "-" if spread is None else told(spread.median, column.unit)


def _ratio(section: Section, measured: Sequence[Measured], label: str) -> str:
    spread = ratios_of(measured, NBFUTURES, label, section.columns[0].figure)
    return "-" if spread is None else told(spread.median, "x")


def _failures(section: Section, measured: Sequence[Measured]) -> list[str]:
    found = [(one.label, failure_of(measured, one.label)) for one in section.contenders]
    return (
        ["", *(f"  no end   {label}: {error}" for label, error in found if error)] if any(e for _, e in found) else []
    )


def _spread(spread: Spread | None) -> dict[str, float] | None:
    if spread is None:
        return None
    return {"median": spread.median, "low": spread.low, "high": spread.high, "p90": spread.p90}


def _target(one: Comparison, section: Section) -> str:
    target, spread = one.target, one.spread
    unit = next(column.unit for column in section.columns if column.title == target.column)
    versus = ""
    if target.versus is not None:
        unit, versus = "x", f" of {target.versus}"
    sign = ">=" if target.is_least else "<="
    what = f"{target.label}: {target.column} {sign} {told(target.limit, unit)}{versus}"
    if spread is None:
        return f"  NOT met  {what}; was not measured"
    mark = "met    " if one.is_met else "NOT met"
    return f"  {mark}  {what}; is {told(spread.median, unit)} ({told(spread.low, unit)} to {told(spread.high, unit)})"


def _rounds(measured: Sequence[Measured]) -> str:
    repeats = len({one.round_number for one in measured})
    return "1 round" if repeats == 1 else f"{repeats} rounds"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[number]) for row in rows) for number in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if number == 0 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]

"""What was measured, as tables for people and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.throughput import figures_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.measure import Measured
    from benchmarks.throughput import Comparison, Section, Spread

__all__ = ["as_json", "as_text", "told"]

_MANY = 10
"""Measurements from which on a percentile says something."""


def as_text(section: Section, measured: Sequence[Measured], comparisons: Sequence[Comparison]) -> str:
    """Return a section as a table, with its targets below.

    The first column of figures has the spread, and the 90th percentile of many; the others have the median alone.
    """
    first, *others = section.columns
    spreads = {one.label: figures_of(measured, one.label, first.figure) for one in section.contenders}
    has_p90 = any(len(spread.values) >= _MANY for spread in spreads.values())
    header = ["", "items", first.title, "least", "most", *(["p90"] if has_p90 else [])]
    rows = [header + [column.title for column in others]]
    for contender in section.contenders:
        spread = spreads[contender.label]
        figures = [spread.median, spread.low, spread.high, *([spread.p90] if has_p90 else [])]
        row = [contender.label, f"{contender.items:,}", *(told(value, first.unit) for value in figures)]
        row += [told(figures_of(measured, contender.label, one.figure).median, one.unit) for one in others]
        rows.append(row)
    busy = max(one.busy_before for one in measured)
    lines = [f"{section.title} ({_rounds(section.repeats)}, machine at most {busy:.0%} busy before each)", ""]
    lines += _aligned(rows)
    lines += ["", *(_target(one, section) for one in comparisons), ""]
    return "\n".join(lines)


def as_json(section: Section, measured: Sequence[Measured], comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """Return a section as JSON-ready values: everything that was measured, and the targets."""
    return {
        "title": section.title,
        "contenders": [
            {
                "label": contender.label,
                "items": contender.items,
                "workload": contender.workload,
                "figures": {
                    column.title: _spread(figures_of(measured, contender.label, column.figure))
                    for column in section.columns
                },
                "rounds": [
                    {**one.figures, "busy_before": one.busy_before} for one in measured if one.contender == contender
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
    return f"{value:,.0f} {unit}" if unit == "B" else f"{value:,.0f}"


def _spread(spread: Spread) -> dict[str, float]:
    return {"median": spread.median, "low": spread.low, "high": spread.high, "p90": spread.p90}


def _target(one: Comparison, section: Section) -> str:
    target, spread = one.target, one.spread
    unit = next(column.unit for column in section.columns if column.title == target.column)
    versus = ""
    if target.versus is not None:
        unit, versus = "x", f" of {target.versus}"
    sign = ">=" if target.is_least else "<="
    mark = "met    " if one.is_met else "NOT met"
    what = f"{target.label}: {target.column} {sign} {told(target.limit, unit)}{versus}"
    return f"  {mark}  {what}; is {told(spread.median, unit)} ({told(spread.low, unit)} to {told(spread.high, unit)})"


def _rounds(repeats: int) -> str:
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

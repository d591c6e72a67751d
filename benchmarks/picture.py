"""A picture of what `python -m benchmarks all` wrote: bars, with what nbfutures is times each of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.report import told
from benchmarks.sections import NBFUTURES

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

__all__ = ["Panel", "draw", "panels"]

# Greys and colours of medium lightness: they are read on white and on GitHub's dark grey alike.
_TEXT = "#757e88"
_OURS = "#2f81f7"
_THEIRS = "#8b949e"
_DRAWN = ("throughput", "cpu", "mixed", "dask", "ray")
"""The benchmarks of which tables are drawn: those that are about seconds, beside other libraries."""
_FEW = 2
"""Contenders of a table that is not drawn, at most: two are told in a sentence."""
_COLUMNS = 2
_WIDTH = 11.0
_BAR = 0.235
_HEAD = 0.62
"""Inches: the picture's width, the height of a bar and of a panel's title."""
_FOOT = 0.75
_LABELS = 0.43
"""Share of a column that the names of the contenders take."""
_LONGEST_BAR = 0.16
"""Share of the picture's width."""
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "nbfutures",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "sans-serif"],
    "font.size": 9,
    "text.color": _TEXT,
}


@dataclass(frozen=True, slots=True)
class Panel:
    """One group of bars."""

    title: str
    unit: str
    more_is_better: bool
    bars: tuple[tuple[str, float | None], ...]
    """Contender and median; `None` where it did not come to an end."""

    def told(self, value: float) -> str:
        """Return a figure and, where it is another's, how many times as good nbfutures is."""
        text = f"{told(value, self.unit)}/s" if self.unit == "items/s" else told(value, self.unit)
        ours = dict(self.bars)[NBFUTURES]
        if not ours or not value or value == ours:
            return text
        times = ours / value if self.more_is_better else value / ours
        return f"{text}  (\N{MULTIPLICATION SIGN}{_told_times(times)})"


def _told_times(times: float) -> str:
    if times >= 10:
        return f"{times:,.0f}"
    return f"{times:.1f}" if times >= 1.2 else f"{times:.2f}" if times >= 0.1 else f"{times:.1g}"


def panels(results: dict[str, Any]) -> list[Panel]:
    """Return what is drawn, of the sections that were measured."""
    chosen = [_panel(section) for section in results["sections"] if section["benchmark"] in _DRAWN]
    return [panel for panel in chosen if len(panel.bars) > _FEW and dict(panel.bars).get(NBFUTURES) is not None]


def draw(results: dict[str, Any], file: Path) -> None:
    """Write the picture of a run's results, as SVG that has its text as text."""
    drawn = panels(results)
    if not drawn:
        raise SystemExit("There is nothing to draw: no table with nbfutures in it was measured.")
    rows = [drawn[number : number + _COLUMNS] for number in range(0, len(drawn), _COLUMNS)]
    heights = [_HEAD + _BAR * max(len(panel.bars) for panel in row) for row in rows]
    with mpl.rc_context(_STYLE):
        height = sum(heights) + _FOOT
        figure = Figure(figsize=(_WIDTH, height))
        top = height
        for row, tall in zip(rows, heights, strict=True):
            for column, panel in enumerate(row):
                bars_tall = _BAR * len(panel.bars)
                bottom = (top - _HEAD - bars_tall + 0.1) / height
                left = (column + _LABELS) / _COLUMNS
                _draw_panel(figure.add_axes((left, bottom, _LONGEST_BAR, bars_tall / height)), panel)
            top -= tall
        figure.text(0.01, 0.12 / height, _footer(results["conditions"]), fontsize=8, linespacing=1.5)
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})


def _panel(section: dict[str, Any]) -> Panel:
    unit_of: dict[str, str] = section["units"]
    first = next(iter(unit_of))
    medians = {one["label"]: (one["figures"][first] or {}).get("median") for one in section["contenders"]}
    title = section["title"] + ("" if unit_of[first] in ("items/s", "s") else f": {first}")
    return Panel(title, unit_of[first], section["more_is_better"], tuple(medians.items()))


def _draw_panel(axes: Axes, panel: Panel) -> None:
    known = [value for _, value in panel.bars if value is not None]
    for place, (label, value) in enumerate(panel.bars):
        is_ours = label.startswith(NBFUTURES)
        weight = "bold" if is_ours else "normal"
        axes.annotate(label, (-0.03, place), xycoords=("axes fraction", "data"), ha="right", va="center", weight=weight)
        axes.barh(place, value or 0.0, height=0.66, color=_OURS if is_ours else _THEIRS)
        text = "did not run" if value is None else panel.told(value)
        axes.annotate(text, (value or 0.0, place), (4, 0), textcoords="offset points", va="center", weight=weight)
    axes.set_xlim(0, max(known))
    axes.set_ylim(len(panel.bars) - 0.5, -0.5)
    axes.set_axis_off()
    axes.annotate(
        panel.title, (-1.3, 1.0), (0, 5), xycoords="axes fraction", textcoords="offset points", weight="bold", size=9.5
    )


def _footer(conditions: dict[str, str]) -> str:
    told_conditions = [f"{name} {value}" for name, value in conditions.items() if name != "load average"]
    half = math.ceil(len(told_conditions) / 2)
    lines = [told_conditions[:half], told_conditions[half:]]
    legend = "(\N{MULTIPLICATION SIGN}2.0): nbfutures is two times as good"
    return "\n".join([legend, *(", ".join(line) for line in lines)])

"""How long the items took."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator

from nbfutures.views.plots.canvas import (
    FAILED,
    HATCH,
    RUNNING,
    ink,
    label_span,
    paper,
    show_heading,
    show_note,
)
from nbfutures.views.words import duration_words, number_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from nbfutures.views.plots.records import JobRecords, Numbers

__all__ = ["bin_edges", "draw"]

_MOST_BINS = 40
_WIDE = 50.0
"""Where the longest item took so many times as long as the shortest, the axis is logarithmic."""
_SHORTEST = 1e-6
"""Seconds; what is shorter cannot be told from nothing by the clock."""


def draw(job: JobRecords, ax: Axes, title: str) -> Axes:
    """Draw a histogram of the items' seconds, failures on top, with the median and p95 of those that completed.

    Args:
        job: What to draw.
        ax: Drawn on.
        title: What the plot is called.
    """
    ax.set_ylabel("items")
    completed, failed = job.seconds[job.completed], job.seconds[job.failed]
    both = np.concatenate([completed, failed])
    if not both.size:
        return show_note(ax, title, job.nothing)
    edges, is_log = bin_edges(both)
    floor = edges[0]
    base, top = (np.histogram(np.maximum(some, floor), edges)[0] for some in (completed, failed))
    outline: dict[str, Any] = {"align": "edge", "edgecolor": paper(ax), "linewidth": 0.5}
    if completed.size:
        label = f"{number_words(completed.size)} completed"
        ax.bar(edges[:-1], base, np.diff(edges), color=RUNNING, label=label, **outline)
    if failed.size:
        label = f"{number_words(failed.size)} failed"
        ax.bar(edges[:-1], top, np.diff(edges), bottom=base, color=FAILED, hatch=HATCH, label=label, **outline)
    if completed.size:
        for name, share, style in (("median", 0.5, "-"), ("p95", 0.95, "--")):
            seconds = float(np.quantile(completed, share))
            label = f"{name} {duration_words(seconds)}"
            ax.axvline(max(seconds, floor), color=ink(ax), linestyle=style, linewidth=1.2, label=label)
    ax.set_xlim(edges[0], edges[-1])
    ax.set_ylim(0, 1.05 * float((base + top).max()))
    ax.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
    if is_log:
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:g}"))
        ax.xaxis.set_minor_formatter("")
        ax.set_xlabel("time an item took (s, log scale)")
    else:
        ax.set_xlabel(label_span(ax.xaxis, float(edges[-1]), "time an item took"))
    show_heading(ax, title)
    return ax


def bin_edges(seconds: Numbers) -> tuple[Numbers, bool]:
    """Return the edges of the bins, and whether they are logarithmic.

    Args:
        seconds: How long the items took, at least one.
    """
    least, most = max(float(seconds.min()), _SHORTEST), max(float(seconds.max()), _SHORTEST)
    # Rice's rule: more bins than the items can fill show noise.
    bins = min(max(int(np.ceil(2 * np.cbrt(seconds.size))), 5), _MOST_BINS)
    if most > _WIDE * least:
        return np.geomspace(least, most, bins + 1), True
    if most - least < 0.01 * most:
        # All the same, as far as one can see.
        return np.linspace(0.9 * least, 1.1 * most, bins + 1), False
    return np.linspace(least, most, bins + 1), False

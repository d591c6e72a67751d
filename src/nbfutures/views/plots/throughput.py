"""How many items ended per second over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nbfutures.views.plots.canvas import (
    FAILED,
    HATCH,
    RUNNING,
    ink,
    label_time,
    label_units,
    paper,
    show_heading,
    show_note,
)
from nbfutures.views.words import rate_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from nbfutures.views.plots.records import JobRecords

__all__ = ["draw"]

_MOST_BINS = 60
_ITEMS_IN_BIN = 5
"""About so many, since a bin with one item or none shows noise."""
_SHORTEST = 1e-3
"""Seconds; a rate over less says nothing."""
_RATE_UNITS = ((1.0, 1.0, "second"), (1 / 60, 1 / 60, "minute"), (0.0, 1 / 3600, "hour"))
"""From which highest rate per second on, the unit, and its name."""


def draw(job: JobRecords, ax: Axes, title: str) -> Axes:
    """Draw the items that completed and failed per second, failures on top, and the mean from first start to last end.

    What was cancelled or skipped is left out: it would make a job that was stopped look fast.

    Args:
        job: What to draw.
        ax: Drawn on.
        title: What the plot is called.
    """
    ax.set_ylabel("items per second")
    count = int(job.completed.sum() + job.failed.sum())
    if not count:
        return show_note(ax, title, job.nothing)
    bins = min(max(count // _ITEMS_IN_BIN, 1), _MOST_BINS)
    end = max(job.end, job.start + _SHORTEST)
    edges = np.linspace(job.start, end, bins + 1)
    width = (end - job.start) / bins
    completed, failed = (np.histogram(job.ended[which], edges)[0] / width for which in (job.completed, job.failed))
    if job.completed.any():
        ax.stairs(completed, edges, fill=True, color=RUNNING, label="completed")
    if job.failed.any():
        ax.stairs(
            completed + failed,
            edges,
            baseline=completed,
            fill=True,
            facecolor=FAILED,
            edgecolor=paper(ax),
            linewidth=0,
            hatch=HATCH,
            label="failed",
        )
    mean = count / (end - job.start)
    ax.axhline(mean, color=ink(ax), linestyle="--", linewidth=1, label=f"mean {rate_words(mean)}")
    highest = float((completed + failed).max())
    ax.set_ylim(0, 1.1 * highest)
    unit, name = next((unit, name) for least, unit, name in _RATE_UNITS if highest >= least)
    if unit != 1:
        label_units(ax.yaxis, unit)
    ax.set_ylabel(f"items per {name}")
    label_time(ax, end, job.progress)
    show_heading(ax, title)
    return ax

"""How many items ran at once over time, against the number of workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from nbfutures.views.plots.canvas import RUNNING, ink, label_time, show_heading, show_note
from nbfutures.views.words import count_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from nbfutures.views.plots.records import JobRecords, Numbers

__all__ = ["draw", "in_slices", "running_items"]

_SLICES = 400
"""About as many as a figure has pixels for."""
_MOST_CHANGES = 800
"""Where there are more, they would run together."""


def draw(job: JobRecords, ax: Axes, title: str) -> Axes:
    """Draw the number of running items as a step line, and that of the workers as a horizontal one.

    Where it changes too often to be seen, the line is the most that ran at once in each slice of time, and the area
    below is the mean.

    Args:
        job: What to draw.
        ax: Drawn on.
        title: What the plot is called.
    """
    ax.set_ylabel("running items")
    if not job.has_run:
        return show_note(ax, title, job.nothing)
    times, most = running_items(job.started, job.ended)
    filled = most
    if times.size > _MOST_CHANGES:
        times, most, filled = in_slices(times, most)
    wall = job.end - job.start
    mean = float(job.seconds.sum()) / wall if wall > 0 else float(job.started.size)
    ax.fill_between(times, filled, step="post", color=RUNNING, alpha=0.35, linewidth=0)
    ax.plot(times, most, drawstyle="steps-post", color=RUNNING, linewidth=1.2, label=f"running, mean {mean:.1f}")
    if job.workers:
        ax.axhline(job.workers, color=ink(ax), linestyle="--", linewidth=1, label=count_words(job.workers, "worker"))
    ax.set_ylim(0, 1.1 * max(job.workers, float(most.max()), 1.0))
    ax.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
    label_time(ax, job.end, job.progress)
    show_heading(ax, title)
    return ax


def running_items(started: Numbers, ended: Numbers) -> tuple[Numbers, Numbers]:
    """Return the times at which the number of running items changes, and the number from then on.

    An item that ends when another one starts does not count beside it.

    Args:
        started: When each item started.
        ended: When each item ended.
    """
    times, places = np.unique(np.concatenate([started, ended]), return_inverse=True)
    changes = np.repeat([1.0, -1.0], [started.size, ended.size])
    running = np.cumsum(np.bincount(places, weights=changes, minlength=times.size))
    return times, running.astype(np.float64)


def in_slices(times: Numbers, running: Numbers, slices: int = _SLICES) -> tuple[Numbers, Numbers, Numbers]:
    """Return of each slice of time its start, the most that ran at once, and the mean.

    Args:
        times: When the number of running items changes, in ascending order; 0 from the last on.
        running: The number from then on.
        slices: How many slices of time there are.

    Returns:
        Three arrays that are longer than there are slices by one: the end, where nothing runs any more.
    """
    edges = np.linspace(times[0], times[-1], slices + 1)
    at = np.clip(np.searchsorted(edges, times, side="right") - 1, 0, slices)
    most = np.zeros(slices + 1)
    # What runs at the start of a slice, and what it changes to within.
    most[:-1] = running[np.searchsorted(times, edges[:-1], side="right") - 1]
    np.maximum.at(most, at, running)
    item_seconds = np.concatenate([[0.0], np.cumsum(running[:-1] * np.diff(times))])
    mean = np.diff(np.interp(edges, times, item_seconds)) / np.diff(edges)
    return edges, most, np.append(mean, 0.0)

"""All plots of a job on one figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from nbfutures.views.plots import concurrency, durations, throughput, timeline
from nbfutures.views.plots.canvas import PLAIN_TEXT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from nbfutures.views.plots.records import JobRecords

__all__ = ["JobAxes", "draw"]

_INCHES = (10.0, 7.0)
_LAYOUT: list[Any] = [["timeline", "durations"], ["concurrency", "throughput"]]


class JobAxes(NamedTuple):
    """The `Axes` of all plots of a job; `axes.timeline.figure` is the figure."""

    timeline: Axes
    durations: Axes
    concurrency: Axes
    throughput: Axes


def draw(job: JobRecords, figure: Figure | SubFigure | None = None) -> JobAxes:
    """Draw all plots.

    Args:
        job: What to draw.
        figure: Drawn on; a new one of pyplot if not given.
    """
    if figure is None:
        from matplotlib import pyplot as plt

        figure = plt.figure(figsize=_INCHES, layout="constrained")
    axes = JobAxes(**figure.subplot_mosaic(_LAYOUT))
    figure.suptitle(job.name, **PLAIN_TEXT)
    timeline.draw(job, axes.timeline, "Timeline")
    durations.draw(job, axes.durations, "Durations")
    concurrency.draw(job, axes.concurrency, "Concurrency")
    throughput.draw(job, axes.throughput, "Throughput")
    return axes

"""A lane for each worker, with a bar for each item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from nbfutures.views.plots.canvas import (
    FAILED,
    HATCH,
    PLAIN_TEXT,
    RUNNING,
    SMALL,
    WAITING,
    height_points,
    ink,
    label_time,
    new_axes,
    paper,
    show_heading,
    show_note,
)
from nbfutures.views.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from matplotlib.axes import Axes

    from nbfutures.views.plots.records import Flags, JobRecords, Numbers
    from nbfutures.views.timeline import WorkerLane

__all__ = ["draw"]

_LANE_GAP = 0.4
"""Rows left free between lanes of which one has several rows."""


@dataclass(frozen=True, slots=True)
class DrawnBars:
    """All bars of all lanes; the arrays have one value for each."""

    names: list[str]
    """Of the lanes."""
    places: list[float]
    """The middle of each lane, downwards from 0; a row has a height of 1."""
    height: float
    """Rows and gaps of all lanes."""
    start: Numbers
    """Seconds after the job's submission."""
    end: Numbers
    """Seconds after the job's submission."""
    row: Numbers
    """The middle of the bar's row, downwards from 0."""
    waited: Numbers
    """Since when the bar's first item waited while nothing ran in its row, in seconds after the job's submission."""
    failed: Numbers
    """Share of the items that failed, 0 to 1."""
    busy: Numbers
    """Share of the time in which an item ran, 0 to 1."""
    attempts: npt.NDArray[np.int64]
    """How often an item was tried, at most."""

    @classmethod
    def of(cls, lanes: Sequence[WorkerLane], origin: float) -> Self:
        """Place the bars of some lanes.

        Args:
            lanes: In the order of drawing.
            origin: When the job was submitted, in seconds since the epoch.
        """
        gap = _LANE_GAP if any(lane.rows > 1 for lane in lanes) else 0.0
        names, places, values = [], [], []
        top = 0.0
        for lane in lanes:
            names.append(lane.name)
            places.append(top + (lane.rows - 1) / 2)
            ends = [origin] * lane.rows
            for bar in lane.bars:
                waited = min(max(ends[bar.row], bar.queued), bar.start)
                ends[bar.row] = bar.end
                values.append((
                    bar.start - origin, bar.end - origin, top + bar.row, waited - origin,
                    bar.failed / bar.count, bar.busy_share, bar.attempts,
                ))  # fmt: skip
            top += lane.rows + gap
        columns = np.array(values, dtype=np.float64).reshape(-1, 7).T
        start, end, row, waited_since, failed, busy, attempts = columns
        return cls(
            names=names,
            places=places,
            height=top - gap,
            start=start,
            end=end,
            row=row,
            waited=waited_since,
            failed=failed,
            busy=busy,
            attempts=attempts.astype(np.int64),
        )


def boxes(left: Numbers, right: Numbers, top: Numbers, bottom: Numbers) -> Numbers:
    """Return the corners of rectangles, as an array of shape (n, 4, 2)."""
    across = np.stack([left, left, right, right], axis=1)
    down = np.stack([bottom, top, top, bottom], axis=1)
    return np.stack([across, down], axis=2)


_LIMIT = 4_000
"""Bars drawn at most; about the pixels of eight lanes."""
_HALF = 0.25
"""Half the height of a bar, where a row is 1."""
_LEAST_FAILED = 0.3
"""The hatched part of a bar that stands for many items has at least this share of its height."""
_LIGHTEST = 0.3
"""Opacity of a bar during which hardly anything ran."""
_THIN = 1 / 250
"""A bar of a smaller share of the axis has no outline in the colour of the background, which would cover it."""
_OUTLINED_POINTS = 8.0
"""Nor has one in a row of a smaller height."""
_UNSEEN = 1 / 500
"""Waiting for a smaller share of the axis is not drawn."""
_CROSSES = 150
"""Up to so many failures have a cross; more have a tick."""
_NUMBERED = 40
"""Up to so many bars whose items were tried several times have the number below; more have a dot inside."""
_ROW_INCHES, _FRAME_INCHES = 0.3, 1.3
_LEAST_ROWS, _MOST_INCHES = 4.0, 9.0
_TIMES = "\N{MULTIPLICATION SIGN}"
_LABEL_POINTS, _NUMBER_POINTS = 11.0, 18.0
"""What a worker's name and the number of attempts need, as the height of a row."""
_ROW_POINTS = 32.0
"""A row is no higher, so that few lanes do not look like walls."""


def draw(job: JobRecords, ax: Axes | None, title: str) -> Axes:
    """Draw the lanes, from top to bottom in the order of the workers' names.

    Args:
        job: What to draw.
        ax: Drawn on; a new one if not given, as high as the lanes need.
        title: The job's name if not given.
    """
    timeline = Timeline(_LIMIT)
    timeline.add(job.outcomes)
    snapshot = timeline.snapshot()
    bars = DrawnBars.of(snapshot.lanes, job.origin)
    if ax is None:
        inches = min(_FRAME_INCHES + _ROW_INCHES * max(bars.height, _LEAST_ROWS), _MOST_INCHES)
        ax = new_axes(inches if snapshot.lanes else None)
    if not snapshot.lanes:
        return show_note(ax, title, "It is not known which worker ran the items" if job.has_run else job.nothing)
    label_time(ax, job.end, job.progress)
    free = max(height_points(ax) / _ROW_POINTS - bars.height, 0) / 2
    ax.set_ylim(bars.height - 0.3 + free, -0.7 - free)
    handles = {"running, merged" if snapshot.is_merged else "running": _draw_running(ax, bars, job.end)}
    handles |= _draw_failed(ax, bars, job.end) | _draw_waiting(ax, bars, job.end) | _draw_attempts(ax, bars)
    _label_lanes(ax, bars)
    show_heading(ax, title, list(handles.values()), list(handles))
    return ax


def _row_points(ax: Axes, bars: DrawnBars) -> float:
    """Return about how high a row will be, in points."""
    return min(height_points(ax) / bars.height, _ROW_POINTS)


def _draw_running(ax: Axes, bars: DrawnBars, span: float) -> Any:
    """Draw all bars but those of failures only, the lighter the less was going on."""
    which = bars.failed < 1
    colours = np.tile(to_rgba(RUNNING), (int(which.sum()), 1))
    colours[:, 3] = _LIGHTEST + (1 - _LIGHTEST) * bars.busy[which]
    corners = boxes(bars.start[which], bars.end[which], bars.row[which] - _HALF, bars.row[which] + _HALF)
    _add_boxes(ax, corners, colours, _thin(ax, bars, span)[which], "running")
    return Patch(facecolor=RUNNING)


def _draw_failed(ax: Axes, bars: DrawnBars, span: float) -> dict[str, Any]:
    """Hatch the failed part of the bars, and put a cross above."""
    which = bars.failed > 0
    if not which.any():
        return {}
    top = bars.row[which] - _HALF
    share = np.where(bars.failed[which] < 1, np.clip(bars.failed[which], _LEAST_FAILED, 1 - _LEAST_FAILED), 1)
    corners = boxes(bars.start[which], bars.end[which], top, top + 2 * _HALF * share)
    colours = np.tile(to_rgba(FAILED), (len(corners), 1))
    _add_boxes(ax, corners, colours, _thin(ax, bars, span)[which], "failed", hatch=HATCH)
    size = min(max(0.22 * _row_points(ax, bars), 2.0), 5.0)
    middle = (bars.start[which] + bars.end[which]) / 2
    # Many crosses side by side can be told apart no more.
    style = {"marker": "x", "markeredgewidth": size / 4} if len(middle) <= _CROSSES else {"marker": "|"}
    (crosses,) = ax.plot(middle, top - 0.15, linestyle="none", color=FAILED, markersize=size, label="failed", **style)
    # Those of the first lane may stand out a little.
    crosses.set_clip_on(False)
    patch = Patch(facecolor=FAILED, edgecolor=paper(ax), hatch=HATCH, linewidth=0)
    return {"failed": patch}


def _draw_waiting(ax: Axes, bars: DrawnBars, span: float) -> dict[str, Any]:
    """Draw a thin line before each bar whose item waited while nothing ran in its row."""
    which = bars.start - bars.waited > _UNSEEN * span
    if not which.any():
        return {}
    left, right, row = bars.waited[which], bars.start[which], bars.row[which]
    lines = np.stack([np.stack([left, row], axis=1), np.stack([right, row], axis=1)], axis=1)
    ax.add_collection(
        LineCollection(
            list(lines), colors=WAITING, linewidths=1.2, linestyles=(0, (1, 1.5)), label="waiting", zorder=1
        ),
        autolim=False,
    )
    return {"waiting": Line2D([], [], color=WAITING, linewidth=1.2, linestyle=(0, (1, 1.5)))}


def _draw_attempts(ax: Axes, bars: DrawnBars) -> dict[str, Any]:
    """Put the number of attempts below the bars whose items were tried several times, or a dot inside."""
    which = bars.attempts > 1
    if not which.any():
        return {}
    middle = (bars.start[which] + bars.end[which]) / 2
    below = bars.row[which] + _HALF + 0.13
    most = int(bars.attempts.max())
    if which.sum() > _NUMBERED or _row_points(ax, bars) < _NUMBER_POINTS:
        style: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 3, "markerfacecolor": paper(ax)}
        style |= {"markeredgecolor": ink(ax), "markeredgewidth": 0.6}
        ax.plot(middle, bars.row[which], **style, label="retried")
        return {f"tried up to {most} times": Line2D([], [], **style)}
    for x, y, attempts in zip(middle, below, bars.attempts[which], strict=True):
        ax.text(x, y, f"{_TIMES}{attempts}", fontsize=6.5, ha="center", va="center", label="retried")
    return {f"{_TIMES}n: tried n times": Line2D([], [], linestyle="none")}


def _thin(ax: Axes, bars: DrawnBars, span: float) -> Flags:
    """Tell which bars an outline would hide."""
    return (bars.end - bars.start < _THIN * span) | (_row_points(ax, bars) < _OUTLINED_POINTS)


def _add_boxes(ax: Axes, corners: Numbers, colours: Numbers, thin: Flags, label: str, **style: Any) -> None:
    """Add rectangles: the wide ones set apart by a fine outline, the thin ones outlined in their own colour."""
    for which, edges, name in ((~thin, paper(ax), label), (thin, None, f"_thin {label}")):
        if which.any():
            faces = colours[which]
            ax.add_collection(
                PolyCollection(
                    list(corners[which]),
                    facecolors=faces,
                    edgecolors=faces if edges is None else edges,
                    linewidths=0.5,
                    label=name,
                    **style,
                ),
                autolim=False,
            )


def _label_lanes(ax: Axes, bars: DrawnBars) -> None:
    """Name the workers at the left; every other one, or fewer, where they are too many."""
    lane_points = _row_points(ax, bars) * bars.height / len(bars.names)
    step = max(int(np.ceil(_LABEL_POINTS / lane_points)), 1)
    ax.set_yticks(bars.places[::step], bars.names[::step], fontsize=SMALL, **PLAIN_TEXT)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)

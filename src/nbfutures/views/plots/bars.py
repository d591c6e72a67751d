"""The bars of a timeline as arrays, with their places in the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from nbfutures.views.plots.records import Numbers
    from nbfutures.views.timeline import WorkerLane

__all__ = ["DrawnBars", "boxes"]

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

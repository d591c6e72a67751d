"""A timeline at one moment, as records and ready for JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypedDict

__all__ = ["Bar", "LaneDescription", "TimelineDescription", "TimelineSnapshot", "WorkerLane", "describe_timeline"]

_SHORTEST_SPAN = 1e-6
"""Seconds; epoch seconds in a float are no finer."""


@dataclass(frozen=True, slots=True)
class Bar:
    """Items that one worker ran, one after the other or at once; mostly a single one."""

    start: float
    """When the first of them started, in seconds since the epoch; the last attempt counts."""
    end: float
    """When the last of them ended, in seconds since the epoch."""
    count: int
    """How many items."""
    failed: int
    """How many of them failed."""
    first: int
    """The lowest index of an item."""
    busy: float
    """Sum of the seconds that the items ran; more than `end - start` where they overlap."""
    queued: float
    """When the first of them was submitted, in seconds since the epoch; `start` where not known."""
    attempts: int
    """How often an item was tried, at most; the attempts before the last are part of the same bar, without a time."""
    row: int
    """Row within the lane, from 0; only items that overlap have another one."""

    @property
    def busy_share(self) -> float:
        """The part of the bar's time in which an item ran, 0 to 1."""
        length = self.end - self.start
        return min(self.busy / length, 1.0) if length > 0 else 1.0


@dataclass(frozen=True, slots=True)
class WorkerLane:
    """What one worker ran."""

    name: str
    """Name of the worker, on one line, cut and cleaned."""
    rows: int
    """How many rows its bars take."""
    bars: tuple[Bar, ...]
    """In the order of their start."""


@dataclass(frozen=True, slots=True)
class TimelineSnapshot:
    """A timeline at one moment."""

    start: float
    """When the first item started, in seconds since the epoch; 0 without bars."""
    end: float
    """When the last item ended, in seconds since the epoch; 0 without bars."""
    lanes: tuple[WorkerLane, ...]
    """In the order of the workers' names as people count: "thread 2" before "thread 10"."""
    items: int
    """How many items are part of a bar."""
    without_bar: int
    """How many items were told that never ran, or of which nobody knows where."""

    @property
    def bars(self) -> int:
        """Number of bars."""
        return sum(len(lane.bars) for lane in self.lanes)

    @property
    def is_merged(self) -> bool:
        """Whether some bar stands for more than one item."""
        return self.items > self.bars


class LaneDescription(TypedDict):
    """What one worker ran, ready for JSON."""

    name: str
    rows: int
    bars: list[list[float]]
    """For each bar: start and end in seconds after the timeline's start, count, failed, lowest index, busy share. Where
    the sixth is followed by two more, they are the most attempts of an item, and the row."""


class TimelineDescription(TypedDict):
    """A timeline, ready for JSON."""

    start: float
    """Seconds since the epoch."""
    end: float
    lanes: list[LaneDescription]
    bars: int
    merged: bool


def describe_timeline(snapshot: TimelineSnapshot) -> TimelineDescription:
    """Return a timeline as plain values, rounded to a millisecond, or finer where all took less than ten seconds.

    Args:
        snapshot: The timeline.
    """
    start = snapshot.start
    # Four digits are more than a screen has pixels.
    span = max(snapshot.end - start, _SHORTEST_SPAN)
    digits = min(max(4 - math.floor(math.log10(span)), 3), 7)
    return {
        "start": round(start, digits),
        "end": round(snapshot.end, digits),
        "lanes": [
            {"name": lane.name, "rows": lane.rows, "bars": [_numbers(bar, start, digits) for bar in lane.bars]}
            for lane in snapshot.lanes
        ],
        "bars": snapshot.bars,
        "merged": snapshot.is_merged,
    }


def _numbers(bar: Bar, start: float, digits: int) -> list[float]:
    share = round(bar.busy_share, 2)
    numbers: list[float] = [
        round(bar.start - start, digits),
        round(bar.end - start, digits),
        bar.count,
        bar.failed,
        bar.first,
        # `1` takes less room than `1.0`, and nearly all are.
        int(share) if share == int(share) else share,
    ]
    return [*numbers, bar.attempts, bar.row] if bar.attempts > 1 or bar.row else numbers

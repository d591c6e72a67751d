"""A job's items as bars on the lanes of their workers, reduced as they are told to what a picture can show.

While there are few items, each has a bar of its own. Beyond the limit, time is cut into bins, and the items of a lane
that began within the same bin are one bar; whenever there are too many again, the bins become twice as wide. So a
million items take the memory, and the time to draw, of some thousand bars.

Coroutines share a worker and overlap. Each bar has a row within its lane, such that the bars of a row do not overlap;
where a lane would need more than sixteen rows, its bars are merged further until it does not.
"""

# Calls of `min` and `max` take four times as long as comparisons, and there are five for each item.
# ruff: noqa: PLR1730
from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nbfutures.model.outcome import OutcomeKind
from nbfutures.views.clean import one_line, plain
from nbfutures.views.timeline_snapshot import (
    Bar,
    LaneDescription,
    TimelineDescription,
    TimelineSnapshot,
    WorkerLane,
    describe_timeline,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nbfutures.model.outcome import Outcome

__all__ = [
    "Bar",
    "LaneDescription",
    "Timeline",
    "TimelineDescription",
    "TimelineSnapshot",
    "WorkerLane",
    "describe_timeline",
]

OTHERS = "other workers"
"""Name of the last lane where there are more workers than lanes."""

_LEAST_LIMIT = 8
_MOST_LANES = 256
_ROWS = 16
_SHORTEST_BIN = 1e-6
"""Seconds; epoch seconds in a float are no finer."""
_NAME_LIMIT = 40
_DIGITS = re.compile(r"([0-9]+)")


@dataclass(slots=True)
class _Bar:
    start: float
    end: float
    count: int
    failed: int
    first: int
    busy: float
    queued: float
    attempts: int

    def add(  # noqa: PLR0917 - by position, since it is called for every item
        self,
        start: float,
        end: float,
        count: int,
        failed: int,
        first: int,
        busy: float,
        queued: float,
        attempts: int,
    ) -> None:
        if start < self.start:
            self.start = start
        if end > self.end:
            self.end = end
        self.count += count
        self.failed += failed
        if first < self.first:
            self.first = first
        self.busy += busy
        if queued < self.queued:
            self.queued = queued
        if attempts > self.attempts:
            self.attempts = attempts

    def fields(self) -> tuple[float, float, int, int, int, float, float, int]:
        return (
            self.start, self.end, self.count, self.failed, self.first, self.busy, self.queued, self.attempts
        )  # fmt: skip


class Timeline:
    """Outcomes as bars, in bounded memory. Not safe to use from several threads at once.

    An outcome that is told twice counts twice; after a retry, start a new timeline.

    Args:
        limit: How many bars there are at most; 8 or more.
    """

    def __init__(self, limit: int = 2_000) -> None:
        self._limit = max(limit, _LEAST_LIMIT)
        self._room = self._limit * 3 // 4
        """Bars that may be left after merging, so that it does not have to be done again at once."""
        # Two bins are what a lane may end up with, since those at both sides of the anchor never meet.
        self._most_lanes = min(self._room // 2 - 1, _MOST_LANES)
        self._lanes: dict[str, dict[int, _Bar]] = {}
        self._others: dict[int, _Bar] = {}
        self._anchor = 0.0
        """Where the bins are counted from."""
        self._width = 0.0
        """Seconds in a bin; 0 while each item has its own bar."""
        self._bars = 0
        self._items = 0
        self._told = 0
        self._start = math.inf
        self._end = -math.inf

    def __len__(self) -> int:
        """Return how many outcomes were added, those without a bar included."""
        return self._told

    def add(self, outcomes: Iterable[Outcome]) -> None:  # noqa: C901 - one loop, on purpose: it runs for every item
        """Add items that ended; the order does not matter.

        Args:
            outcomes: Each item's last outcome.
        """
        failure, lanes = OutcomeKind.FAILED, self._lanes
        for outcome in outcomes:
            self._told += 1
            started, ended, worker = outcome.started, outcome.ended, outcome.worker
            if started is None or ended is None or worker is None:
                continue
            seconds = ended - started
            if not 0.0 <= seconds < math.inf:
                if not (math.isfinite(started) and math.isfinite(ended)):
                    continue
                # Somebody set the clock back in between.
                seconds, ended = 0.0, started
            if not self._items:
                self._anchor = started
            self._items += 1
            if started < self._start:
                self._start = started
            if ended > self._end:
                self._end = ended
            lane = lanes.get(worker)
            if lane is None:
                lane = self._new_lane(worker)
            # Until there are bins, each item has a key of its own.
            key = math.floor((started - self._anchor) / self._width) if self._width else self._items
            queued = outcome.queued
            if queued is None or queued > started:
                queued = started
            failed = 1 if outcome.kind is failure else 0
            bar = lane.get(key)
            if bar is not None:
                bar.add(started, ended, 1, failed, outcome.index, seconds, queued, outcome.attempts)
                continue
            lane[key] = _Bar(started, ended, 1, failed, outcome.index, seconds, queued, outcome.attempts)
            self._bars += 1
            if self._bars > self._limit:
                self._coarsen()
                lanes = self._lanes

    def snapshot(self) -> TimelineSnapshot:
        """Return the timeline as it stands now; the cost depends on the limit, not on the number of items."""
        lanes = [_worker_lane(name, self._rows(self._lanes[name])) for name in sorted(self._lanes, key=_natural)]
        if self._others:
            lanes.append(_worker_lane(OTHERS, self._rows(self._others)))
        return TimelineSnapshot(
            start=self._start if lanes else 0.0,
            end=self._end if lanes else 0.0,
            lanes=tuple(lanes),
            items=self._items,
            without_bar=self._told - self._items,
        )

    def _new_lane(self, worker: str) -> dict[int, _Bar]:
        if len(self._lanes) < self._most_lanes:
            return self._lanes.setdefault(worker, {})
        return self._others

    def _coarsen(self) -> None:
        """Double the bins until there is room again; they hold two bars a lane in the end, so that this ends."""
        while self._bars > self._room:
            self._width = self._wider(self._width)
            self._lanes = {worker: self._binned(lane.values(), self._width) for worker, lane in self._lanes.items()}
            self._others = self._binned(self._others.values(), self._width)
            self._bars = sum(map(len, self._lanes.values())) + len(self._others)

    def _wider(self, width: float) -> float:
        return 2 * width or max((self._end - self._start) / self._limit, _SHORTEST_BIN)

    def _binned(self, bars: Iterable[_Bar], width: float) -> dict[int, _Bar]:
        """Merge the bars that began within the same bin; they are changed, so that they must not be used again."""
        bins: dict[int, _Bar] = {}
        for bar in bars:
            key = math.floor((bar.start - self._anchor) / width)
            known = bins.get(key)
            if known is None:
                bins[key] = bar
            else:
                known.add(*bar.fields())
        return bins

    def _rows(self, lane: dict[int, _Bar]) -> list[Bar]:
        """Return a lane's bars in the order of their start, each in the first row that is free."""
        width = self._width
        bars = sorted(lane.values(), key=_start_of)
        while (rows := _free_rows(bars)) is None:
            width = self._wider(width)
            bars = sorted(self._binned((_Bar(*bar.fields()) for bar in bars), width).values(), key=_start_of)
        return [Bar(*bar.fields(), row) for bar, row in zip(bars, rows, strict=True)]


def _worker_lane(name: str, bars: list[Bar]) -> WorkerLane:
    rows = max(bar.row for bar in bars) + 1
    return WorkerLane(plain(one_line(name[: 4 * _NAME_LIMIT]), _NAME_LIMIT), rows, tuple(bars))


def _free_rows(bars: Iterable[_Bar]) -> list[int] | None:
    """Return for each bar the first row in which nothing runs at its start; `None` where there are too few rows."""
    ends: list[float] = []
    rows: list[int] = []
    for bar in bars:
        for row, end in enumerate(ends):
            if end <= bar.start:
                ends[row] = bar.end
                rows.append(row)
                break
        else:
            if len(ends) == _ROWS:
                return None
            rows.append(len(ends))
            ends.append(bar.end)
    return rows


def _start_of(bar: _Bar) -> tuple[float, float]:
    return bar.start, bar.end


def _natural(name: str) -> tuple[list[str | int], str]:
    # Texts and numbers take turns, so that only like is compared with like.
    parts = _DIGITS.split(name[: 4 * _NAME_LIMIT])
    return [int(part) if at % 2 else part.casefold() for at, part in enumerate(parts)], name

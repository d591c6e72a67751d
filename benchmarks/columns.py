"""The figures that several tables have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.sections import Column
from benchmarks.workloads import NAP_SECONDS, PAUSE_SECONDS, WORKERS

if TYPE_CHECKING:
    from benchmarks.measure import Measured

__all__ = ["CPU", "NAP_SHARE", "PAUSE_SHARE", "RATE", "RUNNING_SHARE", "SECONDS", "SLEPT", "SLEPT_SHARE", "WHOLE_RATE"]


def _rate(one: Measured) -> list[float]:
    return [one.contender.items / one.figures["seconds"]]


def _whole_rate(one: Measured) -> list[float]:
    return [one.contender.items / one.figures.get("flow_seconds", one.figures["seconds"])]


def _seconds(one: Measured) -> list[float]:
    seconds = one.figures["seconds"]
    return seconds if isinstance(seconds, list) else [seconds]


def _share(one: Measured, item_seconds: float, seconds: str = "seconds") -> list[float]:
    return [one.contender.items * item_seconds / (WORKERS * one.figures.get(seconds, one.figures["seconds"]))]


RATE = Column("items/s", _rate, "items/s", more_is_better=True)
WHOLE_RATE = Column("items/s with the flow's start", _whole_rate, "items/s", more_is_better=True)
CPU = Column("own CPU an item", lambda one: [one.figures["cpu_seconds"] / one.contender.items], "s")
SECONDS = Column("seconds", _seconds, "s")
NAP_SHARE = Column("share of two workers", lambda one: _share(one, NAP_SECONDS), "%", more_is_better=True)
PAUSE_SHARE = Column("share of two workers", lambda one: _share(one, PAUSE_SECONDS), "%", more_is_better=True)
SLEPT_SHARE = Column(
    "by time slept", lambda one: [one.figures["slept"] / (WORKERS * one.figures["seconds"])], "%", more_is_better=True
)
RUNNING_SHARE = Column(
    "while items run",
    # From the start of the first item to the end of the last, where a contender knows them.
    lambda one: _share(one, NAP_SECONDS, "busy_seconds"),
    "%",
    more_is_better=True,
)
SLEPT = Column("slept an item", lambda one: [one.figures["slept"] / one.contender.items], "s")

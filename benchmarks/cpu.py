"""Pure Python that computes, on two processes: the speed-up, and how soon a second job starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.columns import SECONDS
from benchmarks.measure import Contender
from benchmarks.sections import NBFUTURES, Column, Section, Target, rounds_for

if TYPE_CHECKING:
    from benchmarks.measure import Measured

__all__ = ["plan"]

_LOKY = "joblib loky"
_POOL = "ProcessPoolExecutor"
_BARE = "bare ProcessPoolTaskRunner"
_CEILING = "two bare processes"


def plan(*, size: str, repeats: int | None = None) -> list[Section]:
    """Return what is measured; in a smoke without bare Prefect, whose every pool takes 10 s to start.

    Args:
        size: "full", "quick" (less of everything), or "smoke" (next to nothing: does it run at all?).
        repeats: Rounds, if not as many as usual.
    """
    rounds = rounds_for(size, repeats)
    items, jobs, bare_jobs = {"full": (200, 10, 2), "quick": (100, 5, 1), "smoke": (4, 1, 1)}[size]
    return [
        Section(
            "Items of 50 ms of pure Python, two processes",
            (
                Contender(NBFUTURES, "nbfutures_processes", "busy", items),
                Contender(_LOKY, "joblib_loky", "busy", items),
                Contender(_POOL, "process_pool", "busy", items),
                *((Contender(_BARE, "prefect_processes", "busy", items),) if size != "smoke" else ()),
                Contender(_CEILING, "bare_processes", "busy", items),
            ),
            (_SPEED_UP, _WHOLE_SPEED_UP, _ITEM),
            (
                Target(NBFUTURES, _SPEED_UP.title, 1.85),
                *((Target(NBFUTURES, _SPEED_UP.title, 1.0, versus=_BARE),) if size != "smoke" else ()),
            ),
            rounds,
        ),
        Section(
            "From the call to the first item of a second job, processes",
            (
                Contender(NBFUTURES, "nbfutures_processes", "start", jobs),
                Contender(_LOKY, "joblib_loky", "start", jobs),
                Contender(_POOL, "process_pool", "start", jobs),
                # Its pool ends with its flow: there is no second job for it.
                *((Contender(_BARE, "prefect_processes", "start", bare_jobs),) if size != "smoke" else ()),
            ),
            (SECONDS,),
            (Target(NBFUTURES, SECONDS.title, 0.3, is_least=False),),
            rounds,
        ),
    ]


def _whole_speed_up(one: Measured) -> list[float]:
    return [one.figures["serial_seconds"] / one.figures.get("flow_seconds", one.figures["seconds"])]


_SPEED_UP = Column(
    "speed-up", lambda one: [one.figures["serial_seconds"] / one.figures["seconds"]], "x", more_is_better=True
)
_WHOLE_SPEED_UP = Column("with the flow's start", _whole_speed_up, "x", more_is_better=True)
_ITEM = Column("alone an item takes", lambda one: [one.figures["serial_seconds"] / one.contender.items], "s")

"""Items of very different length: the time for all, against the best schedule that there can be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.columns import SECONDS
from benchmarks.measure import Contender
from benchmarks.sections import NBFUTURES, Column, Section, Target, rounds_for
from benchmarks.workloads import MIXED_EVERY, MIXED_LONG_SECONDS, MIXED_SHORT_SECONDS, WORKERS, mixed_schedule

if TYPE_CHECKING:
    from benchmarks.measure import Measured

__all__ = ["plan"]

_WORKLOAD = f"{MIXED_SHORT_SECONDS * 1000:g} ms, 1 in {MIXED_EVERY} of {MIXED_LONG_SECONDS * 1000:g} ms"


def plan(*, size: str, repeats: int | None = None) -> list[Section]:
    """Return what is measured.

    Args:
        size: "full", "quick" (less of everything), or "smoke" (next to nothing: does it run at all?).
        repeats: Rounds, if not as many as usual.
    """
    rounds = rounds_for(size, repeats)
    items = {"full": 1_000, "quick": 500, "smoke": 30}[size]
    targets = (Target(NBFUTURES, _OVER.title, 1.1, is_least=False),)
    columns = (_OVER, _OVER_SLEPT, SECONDS)
    return [
        Section(
            f"Items of {_WORKLOAD}, two threads",
            (
                Contender(NBFUTURES, "nbfutures_map", "mixed", items),
                Contender("ThreadPoolExecutor", "thread_pool", "mixed", items),
                Contender("joblib threads", "joblib_threads", "mixed", items),
            ),
            columns,
            targets,
            rounds,
        ),
        Section(
            f"Items of {_WORKLOAD}, two processes",
            (
                Contender(NBFUTURES, "nbfutures_processes", "mixed", items),
                Contender("ProcessPoolExecutor", "process_pool", "mixed", items),
                Contender("joblib loky", "joblib_loky", "mixed", items),
            ),
            columns,
            targets,
            rounds,
        ),
    ]


def _over(one: Measured) -> list[float]:
    return [one.figures["seconds"] / mixed_schedule(one.contender.items)]


def _over_slept(one: Measured) -> list[float]:
    return [one.figures["seconds"] / max(one.figures["slept"] / WORKERS, one.figures["longest"])]


_OVER = Column(
    "times the best schedule", lambda one: [one.figures["seconds"] / mixed_schedule(one.contender.items)], "x"
)
_OVER_SLEPT = Column("by time slept", _over_slept, "x")

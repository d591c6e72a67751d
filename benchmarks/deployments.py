"""How often Prefect is asked while flow runs of a deployment run, and what is good enough."""

from __future__ import annotations

from benchmarks.measure import Contender
from benchmarks.sections import NBFUTURES, Column, Section, Target, rounds_for

__all__ = ["plan"]

_CALLS = Column("API calls/s", lambda one: [one.figures["requests"] / one.figures["watched_seconds"]], "items/s")
_READS = Column("of these bulk reads", lambda one: [one.figures["reads"] / one.figures["watched_seconds"]], "items/s")
_MADE = Column("until all are made", lambda one: [one.figures["made_seconds"]], "s")
_LATE = Column("told after the last end", lambda one: [one.figures["late_seconds"]], "s")

_MOST_CALLS = 10.0
_LIMIT = 420.0


def plan(*, size: str, repeats: int | None = None) -> list[Section]:
    """Return what is measured.

    Args:
        size: "full", "quick" (less of everything), or "smoke" (next to nothing: does it run at all?).
        repeats: Rounds, if not as many as usual.
    """
    runs = {"full": 200, "quick": 200, "smoke": 5}[size]
    return [
        Section(
            f"{runs} deployment runs, watched to their end",
            (Contender(NBFUTURES, "deployment_runs", "watch", runs, needs_process=True, limit=_LIMIT),),
            (_CALLS, _READS, _MADE, _LATE),
            (Target(NBFUTURES, _CALLS.title, _MOST_CALLS, is_least=False),),
            rounds_for(size, repeats, full=1),
        )
    ]

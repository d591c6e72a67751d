"""Background tasks: a job of nbfutures, beside `.delay()` and `asyncio.gather`, each with two worker processes."""

from __future__ import annotations

from benchmarks.columns import RATE, SECONDS
from benchmarks.measure import Contender
from benchmarks.sections import NBFUTURES, Section, Target, rounds_for

__all__ = ["plan"]

_BARE = ".delay(), asyncio.gather"
_NOT_SLOWER = 1.0


def plan(*, size: str, repeats: int | None = None) -> list[Section]:
    """Return what is measured of background tasks; arguments as for the other plans."""
    items = {"full": 200, "quick": 100, "smoke": 4}[size]
    contenders = (
        # In processes of their own: Prefect listens to events once for each process.
        Contender(NBFUTURES, "nbfutures_background", "noop", items, needs_process=True),
        Contender(_BARE, "bare_background", "noop", items, needs_process=True),
    )
    return [
        Section(
            "No-op background tasks, two workers",
            contenders,
            (SECONDS, RATE),
            (Target(NBFUTURES, RATE.title, _NOT_SLOWER, versus=_BARE),),
            rounds_for(size, repeats),
        )
    ]

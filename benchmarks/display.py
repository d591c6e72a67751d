"""What the live card is measured for, and what is good enough."""

from __future__ import annotations

from benchmarks.measure import Contender
from benchmarks.sections import Column, Section, Target

__all__ = ["plan"]

_UPDATES = Column("updates/s", lambda one: [one.figures["updates"] / one.figures["seconds"]], "items/s")
_LARGEST = Column("largest update", lambda one: [one.figures["most"]], "B")
_ALL_BYTES = Column("all updates", lambda one: [one.figures["bytes"]], "B")
_SHARE = Column("share of a CPU", lambda one: [one.figures["cpu_seconds"] / one.figures["seconds"]], "%")
_CPU = Column("CPU", lambda one: [one.figures["cpu_seconds"]], "s")

_MOST_UPDATES = 4.0
_MOST_SHARE = 0.02
_SAME_SIZE = 1.2
_LIMIT = 300.0


def plan(*, size: str, repeats: int | None = None) -> list[Section]:
    """Return what is measured.

    Args:
        size: "full", "quick" (fewer rounds), or "smoke" (next to nothing: does it run at all?).
        repeats: Rounds; by default 3, 1 or 1.
    """
    rounds = repeats or {"full": 3, "quick": 1, "smoke": 1}[size]
    few, many, most = (100, 200, 300) if size == "smoke" else (1_000, 100_000, 1_000_000)
    shut = [
        Contender(f"{few:,} at 400/s", "card", "slow", few, needs_process=True, limit=_LIMIT),
        Contender(f"{many:,} at 10,000/s", "card", "paced", many, needs_process=True, limit=_LIMIT),
        Contender(f"{most:,} at full speed", "card", "free", most, needs_process=True, limit=_LIMIT),
    ]
    opened = [
        Contender(f"{many:,} at 10,000/s, folds open", "card", "paced folds", many, needs_process=True, limit=_LIMIT),
        Contender(f"{most:,} at full speed, folds open", "card", "free folds", most, needs_process=True, limit=_LIMIT),
    ]
    if size == "smoke":
        shut, opened = shut[1:2], opened[:1]
    return [
        Section(
            "The live card in a kernel",
            tuple(shut),
            (_SHARE, _UPDATES, _LARGEST, _ALL_BYTES, _CPU),
            (
                *(Target(one.label, _UPDATES.title, _MOST_UPDATES, is_least=False) for one in shut),
                Target(shut[-1].label, _LARGEST.title, _SAME_SIZE, is_least=False, versus=shut[0].label),
                *(
                    Target(one.label, _SHARE.title, _MOST_SHARE, is_least=False)
                    for one in shut
                    if "10,000" in one.label
                ),
            ),
            rounds,
        ),
        Section(
            "The same with all folds open",
            tuple(opened),
            (_SHARE, _UPDATES, _LARGEST, _ALL_BYTES, _CPU),
            tuple(Target(one.label, _UPDATES.title, _MOST_UPDATES, is_least=False) for one in opened),
            rounds,
        ),
    ]

"""From a thousand items to a million: seconds and memory of the kernel for each."""

from __future__ import annotations

from benchmarks.measure import Contender
from benchmarks.sections import Column, Section, Target, rounds_for

__all__ = ["plan"]

_FLAT = 1.2
_FLAT_FROM = 10_000
_FEW = 100
"""So few are a smoke; the peak memory of a process is that of its whole life."""
_LIMIT = 300.0
_MILLION = 1_000_000
_MOST_MEMORY = 1.5e9
_MOST_SETTLED = 1024.0


def plan(*, size: str, repeats: int | None = None) -> list[Section]:
    """Return what is measured.

    Args:
        size: "full", "quick" (up to 100,000 items), or "smoke" (next to nothing: does it run at all?).
        repeats: Rounds, if not as many as usual.
    """
    rounds = rounds_for(size, repeats, full=1)
    counts = {
        "full": (1_000, 10_000, 100_000, _MILLION),
        "quick": (1_000, 10_000, 100_000),
        "smoke": (100,),
    }[size]
    noops, many = {"full": (100_000, 300_000), "quick": (100_000, 200_000), "smoke": (500, 500)}[size]
    return [
        _growth("threads", counts, rounds),
        *([_growth("processes", counts, rounds)] if size != "smoke" else []),
        Section(
            "Memory of a job for each settled no-op item",
            tuple(
                Contender(f"{how}, {count:,} items", "memory", how, count)
                for how in ("resident", "traced")
                for count in sorted({noops, many})
            ),
            (_SETTLED,),
            tuple(
                Target(f"{how}, {count:,} items", _SETTLED.title, _MOST_SETTLED, is_least=False)
                for how in ("resident", "traced")
                for count in sorted({noops, many})
            ),
            rounds,
        ),
    ]


def _growth(runner: str, counts: tuple[int, ...], rounds: int) -> Section:
    labels = {count: f"{count:,} items" for count in counts}
    larger = [count for count in counts if count > _FLAT_FROM]
    targets = [
        Target(labels[count], column.title, _FLAT, is_least=False, versus=labels[_FLAT_FROM])
        for count in larger
        for column in (_ITEM_SECONDS, _ITEM_MEMORY)
    ]
    if _MILLION in counts:
        targets.append(Target(labels[_MILLION], _PEAK.title, _MOST_MEMORY, is_least=False))
    return Section(
        f"From few no-op items to many, two {runner}",
        tuple(
            Contender(labels[count], "scale", runner, count, needs_process=count > _FEW, limit=_LIMIT)
            for count in counts
        ),
        (_ITEM_SECONDS, _ITEM_MEMORY, _PEAK),
        tuple(targets),
        rounds,
    )


_ITEM_SECONDS = Column("seconds an item", lambda one: [one.figures["seconds"] / one.contender.items], "s")
_ITEM_MEMORY = Column(
    "peak memory an item",
    lambda one: [(one.figures["peak"] - one.figures["before"]) / one.contender.items],
    "B",
)
_PEAK = Column("peak memory of the kernel", lambda one: [one.figures["peak"]], "B")
_SETTLED = Column("bytes an item", lambda one: [one.figures["bytes"]], "B")

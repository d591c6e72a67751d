"""What is compared with what, and which result is good enough."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.measure import Contender, Measured, run_rounds
from benchmarks.workloads import NAP_SECONDS, WORKERS

__all__ = [
    "NBFUTURES",
    "Column",
    "Comparison",
    "Section",
    "Spread",
    "Target",
    "compare",
    "figures_of",
    "measure",
    "plan",
]

NBFUTURES = "nbfutures"

Figure = Callable[[Measured], Sequence[float]]


@dataclass(frozen=True, slots=True)
class Spread:
    """Several measurements of one thing."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median."""
        return statistics.median(self.values)

    @property
    def p90(self) -> float:
        """The 90th percentile, by nearest rank."""
        return sorted(self.values)[-(-len(self.values) * 9 // 10) - 1]

    @property
    def low(self) -> float:
        """The least."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The greatest."""
        return max(self.values)


@dataclass(frozen=True, slots=True)
class Column:
    """One figure of a table."""

    title: str
    figure: Figure
    unit: str
    """ "items/s", "%", "s", "ms" or "B"."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is good enough."""

    label: str
    """Row of the contender that it is about."""
    column: str
    """Title of the column."""
    limit: float
    is_least: bool = True
    """Whether the limit is the least that will do, or the most."""
    versus: str | None = None
    """Row of another contender: the limit is for the ratio to it, in the same round."""


@dataclass(frozen=True, slots=True)
class Section:
    """One table: contenders that do the same."""

    title: str
    contenders: tuple[Contender, ...]
    columns: tuple[Column, ...]
    targets: tuple[Target, ...]
    repeats: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """A target, and what was measured."""

    target: Target
    spread: Spread
    is_met: bool


def plan(*, size: str, repeats: int | None = None) -> list[Section]:
    """Return what is measured.

    Args:
        size: "full", "quick" (less of everything, two rounds), or "smoke" (next to nothing: does it run at all?).
        repeats: Rounds; by default 5, 2 or 1.
    """
    rounds = repeats or {"full": 5, "quick": 2, "smoke": 1}[size]
    noops, bare, naps, bare_naps, jobs = {
        "full": (100_000, 500, 2_000, 500, 20),
        "quick": (100_000, 200, 1_000, 200, 8),
        "smoke": (500, 3, 20, 3, 1),
    }[size]
    many = {"full": 300_000, "quick": 200_000, "smoke": 1_000}[size]
    return [
        Section(
            "No-op items, two workers",
            (
                Contender(NBFUTURES, "nbfutures_map", "noop", noops),
                Contender("tqdm thread_map", "tqdm_map", "noop", noops),
                Contender("ThreadPoolExecutor", "thread_pool", "noop", noops),
                Contender("joblib threads", "joblib_threads", "noop", noops),
                Contender("bare Prefect", "prefect_map", "noop", bare),
            ),
            (_RATE, _CPU),
            (
                Target(NBFUTURES, _RATE.title, 200.0, versus="bare Prefect"),
                Target(NBFUTURES, _RATE.title, 1.0, versus="tqdm thread_map"),
            ),
            rounds,
        ),
        Section(
            "Items of 1 ms, two workers",
            (
                Contender(NBFUTURES, "nbfutures_map", "nap", naps),
                Contender("tqdm thread_map", "tqdm_map", "nap", naps),
                Contender("ThreadPoolExecutor", "thread_pool", "nap", naps),
                Contender("joblib threads", "joblib_threads", "nap", naps),
                Contender("two bare threads", "bare_threads", "nap", naps),
                Contender("bare Prefect", "prefect_map", "nap", bare_naps),
            ),
            (_RATE, _NOMINAL_SHARE, _SLEPT_SHARE, _RUNNING_SHARE, _SLEPT),
            (Target(NBFUTURES, _NOMINAL_SHARE.title, 0.85),),
            rounds,
        ),
        Section(
            "No-op Prefect tasks, one item in a task run",
            (
                Contender(NBFUTURES, "nbfutures_map", "task", bare),
                Contender("bare Prefect", "prefect_map", "task", bare),
            ),
            (_RATE, _WHOLE_RATE, _CPU),
            (
                Target(NBFUTURES, _RATE.title, 1.0, versus="bare Prefect"),
                Target(NBFUTURES, _WHOLE_RATE.title, 1.0, versus="bare Prefect"),
            ),
            rounds,
        ),
        Section(
            "From the call to the start of the first item, warm",
            (
                Contender(NBFUTURES, "first_item", "function", jobs),
                Contender("nbfutures, Prefect task", "first_item", "task", jobs),
                Contender("bare Prefect, with its flow", "first_item", "flow", jobs),
            ),
            (_SECONDS,),
            (Target(NBFUTURES, _SECONDS.title, 0.3, is_least=False),),
            max(rounds // 2, 1),
        ),
        Section(
            "%load_ext nbfutures in a fresh IPython",
            (Contender(NBFUTURES, "extension", "load", 1, needs_process=True),),
            (_SECONDS,),
            (Target(NBFUTURES, _SECONDS.title, 0.3, is_least=False),),
            rounds,
        ),
        Section(
            f"Until nbf.map returns, {noops:,} items, warm",
            (
                Contender("a range", "call", "range", noops),
                Contender("a list of texts", "call", "texts", noops),
            ),
            (_SECONDS,),
            (
                Target("a range", _SECONDS.title, 0.2, is_least=False),
                Target("a list of texts", _SECONDS.title, 0.2, is_least=False),
            ),
            max(rounds // 2, 1),
        ),
        Section(
            "Memory of a job for each settled no-op item",
            tuple(
                Contender(f"{how}, {count:,} items", "memory", how, count)
                for how in ("resident", "traced")
                for count in (noops, many)
            ),
            (_BYTES,),
            tuple(
                Target(f"{how}, {count:,} items", _BYTES.title, 1024.0, is_least=False)
                for how in ("resident", "traced")
                for count in (noops, many)
            ),
            max(rounds // 2, 1),
        ),
    ]


def measure(section: Section, *, in_one_process: bool, tell: Callable[[str], None]) -> list[Measured]:
    """Measure a section; arguments as for `run_rounds`."""
    return run_rounds(section.contenders, section.repeats, in_one_process=in_one_process, tell=tell)


def figures_of(measured: Sequence[Measured], label: str, figure: Figure) -> Spread:
    """Return one figure of one contender, over all rounds."""
    return Spread(tuple(value for one in measured if one.contender.label == label for value in figure(one)))


def compare(section: Section, measured: Sequence[Measured]) -> list[Comparison]:
    """Hold what was measured against the section's targets; by the median."""
    found = []
    for target in section.targets:
        figure = next(column.figure for column in section.columns if column.title == target.column)
        spread = figures_of(measured, target.label, figure)
        if target.versus is not None:
            others = figures_of(measured, target.versus, figure)
            spread = Spread(tuple(ours / theirs for ours, theirs in zip(spread.values, others.values, strict=True)))
        is_met = spread.median >= target.limit if target.is_least else spread.median <= target.limit
        found.append(Comparison(target, spread, is_met))
    return found


# --- figures ---------------------------------------------------------------------------------------------------


def _rate(one: Measured) -> list[float]:
    return [one.contender.items / one.figures["seconds"]]


def _whole_rate(one: Measured) -> list[float]:
    return [one.contender.items / one.figures.get("flow_seconds", one.figures["seconds"])]


def _seconds(one: Measured) -> list[float]:
    seconds = one.figures["seconds"]
    return seconds if isinstance(seconds, list) else [seconds]


_RATE = Column("items/s", _rate, "items/s")
_WHOLE_RATE = Column("items/s with the flow's start", _whole_rate, "items/s")
_CPU = Column("own CPU an item", lambda one: [one.figures["cpu_seconds"] / one.contender.items], "s")
_NOMINAL_SHARE = Column(
    "share of two workers",
    lambda one: [one.contender.items * NAP_SECONDS / (WORKERS * one.figures["seconds"])],
    "%",
)
_SLEPT_SHARE = Column("by time slept", lambda one: [one.figures["slept"] / (WORKERS * one.figures["seconds"])], "%")
_RUNNING_SHARE = Column(
    "while items run",
    # From the start of the first item to the end of the last, where a contender knows them.
    lambda one: [
        one.contender.items * NAP_SECONDS / (WORKERS * one.figures.get("busy_seconds", one.figures["seconds"]))
    ],
    "%",
)
_SLEPT = Column("slept an item", lambda one: [one.figures["slept"] / one.contender.items], "s")
_SECONDS = Column("seconds", _seconds, "s")
_BYTES = Column("bytes an item", lambda one: [one.figures["bytes"]], "B")

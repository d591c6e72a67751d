"""What a table is made of: contenders, columns and targets; and how what was measured is held against them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.measure import Contender, Measured

__all__ = [
    "NBFUTURES",
    "Column",
    "Comparison",
    "Section",
    "Spread",
    "Target",
    "compare",
    "failure_of",
    "figures_of",
    "ratios_of",
    "rounds_for",
]

NBFUTURES = "nbfutures"

Figure = Callable[[Measured], Sequence[float]]


@dataclass(frozen=True, slots=True)
class Spread:
    """Several measurements of one thing; at least one."""

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
    """ "items/s", "%", "s", "x", "B" or "" (a plain number)."""
    more_is_better: bool = False


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
    """The first one is what the contenders are ranked by."""
    targets: tuple[Target, ...]
    repeats: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """A target, and what was measured."""

    target: Target
    spread: Spread | None
    """`None` where one of the contenders did not come to an end."""
    is_met: bool


def rounds_for(size: str, repeats: int | None, *, full: int = 3, quick: int = 1) -> int:
    """Return how many rounds are to be measured.

    Args:
        size: "full", "quick" or "smoke".
        repeats: What the user asked for.
        full: Rounds for "full", where the user asked for nothing.
        quick: The same for "quick".
    """
    return repeats or {"full": full, "quick": quick, "smoke": 1}[size]


def figures_of(measured: Sequence[Measured], label: str, figure: Figure) -> Spread | None:
    """Return one figure of one contender, over the rounds in which it came to an end; `None` if there was no such."""
    values = tuple(value for one in measured if one.contender.label == label and not one.error for value in figure(one))
    return Spread(values) if values else None


def failure_of(measured: Sequence[Measured], label: str) -> str:
    """Return why a contender did not come to an end, the last time that it did not; or nothing."""
    return next((one.error for one in reversed(measured) if one.contender.label == label and one.error), "")


def compare(section: Section, measured: Sequence[Measured]) -> list[Comparison]:
    """Hold what was measured against the section's targets; by the median."""
    found = []
    for target in section.targets:
        figure = next(column.figure for column in section.columns if column.title == target.column)
        if target.versus is None:
            spread = figures_of(measured, target.label, figure)
        else:
            spread = ratios_of(measured, target.label, target.versus, figure)
        is_met = spread is not None and (
            spread.median >= target.limit if target.is_least else spread.median <= target.limit
        )
        found.append(Comparison(target, spread, is_met))
    return found


def ratios_of(measured: Sequence[Measured], label: str, versus: str, figure: Figure) -> Spread | None:
    """Return the ratios of two contenders, each within a round that both came to the end of."""
    ratios: list[float] = []
    for number in sorted({one.round_number for one in measured}):
        in_round = [one for one in measured if one.round_number == number]
        ours, theirs = figures_of(in_round, label, figure), figures_of(in_round, versus, figure)
        if ours is not None and theirs is not None:
            ratios += [one / other for one, other in zip(ours.values, theirs.values, strict=False) if other]
    return Spread(tuple(ratios)) if ratios else None

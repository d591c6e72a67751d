"""Failures that are alike, as one line each."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nbfutures.model.outcome import OutcomeKind
from nbfutures.views.clean import error_message, error_name, input_words
from nbfutures.views.templates import CommonMessage, Literals, fold
from nbfutures.views.tracebacks import Place, place_words, raised_at

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nbfutures.model.item import ItemSource
    from nbfutures.model.outcome import Outcome

__all__ = ["FailureGroup", "FailureTally", "group_failures", "source_input"]


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failures of one type, raised in one place, with messages that differ in numbers, quoted texts or paths only.

    All texts are cut and cleaned, but not escaped for HTML.
    """

    count: int
    """How many items failed in this way."""
    error: str
    """Name of the error's type."""
    message: str
    """Their message, with a placeholder wherever they differ."""
    where: str
    """The line that raised, as `file:line` or as a notebook's cell; empty if not known."""
    first: int
    """Index of the first such item."""
    example: str
    """The arguments of the first such item."""
    key: str = field(default="", compare=False)
    """Tells the group from the job's others, also after they were counted anew."""


@dataclass(slots=True)
class _Group:
    error: str
    place: Place | None
    message: CommonMessage
    first: int
    count: int = 1


class FailureTally:
    """Failures counted in groups as they are told, so that a display need not read them all again at each refresh.

    Args:
        source: Where the inputs of the first failures are read from.
    """

    def __init__(self, source: ItemSource) -> None:
        self._source = source
        self._groups: dict[tuple[type, Place | None, Literals], _Group] = {}
        self._seen: dict[int, Outcome] = {}

    def __len__(self) -> int:
        """Return the number of groups."""
        return len(self._groups)

    def add(self, outcomes: Iterable[Outcome]) -> bool:
        """Count those of some outcomes that are failures.

        Returns:
            Whether the tally still holds: not if an item that was counted as failed has now ended otherwise.
        """
        holds = True
        for outcome in outcomes:
            known = self._seen.get(outcome.index)
            if known is outcome:
                continue
            if known is not None:
                holds = False
            elif outcome.kind is OutcomeKind.FAILED:
                self._count(outcome)
        return holds

    def top(self, limit: int | None = None) -> list[FailureGroup]:
        """Return the largest groups, the largest first.

        Args:
            limit: How many at most; `None` for all.
        """
        groups = self._groups.items()
        largest = heapq.nsmallest(
            len(self._groups) if limit is None else limit, groups, key=lambda one: (-one[1].count, one[1].first)
        )
        return [
            FailureGroup(
                count=group.count,
                error=group.error,
                message=str(group.message),
                where=place_words(group.place),
                first=group.first,
                example=source_input(self._source, group.first),
                key=f"{hash(key):x}",
            )
            for key, group in largest
        ]

    def _count(self, outcome: Outcome) -> None:
        self._seen[outcome.index] = outcome
        error = outcome.error
        literals, values = fold(error_message(error)) if error is not None else ((), ())
        place = raised_at(error) if error is not None else None
        key = (type(error), place, literals)
        group = self._groups.get(key)
        if group is None:
            name = error_name(error) if error is not None else "unknown error"
            self._groups[key] = _Group(name, place, CommonMessage(literals, values), outcome.index)
            return
        group.count += 1
        group.first = min(group.first, outcome.index)
        group.message.add(values)


def group_failures(outcomes: Iterable[Outcome | None], source: ItemSource) -> list[FailureGroup]:
    """Return the failures among some outcomes in groups, the largest first.

    Args:
        outcomes: Outcomes of a job; `None` stands for an item that has not ended.
        source: Where the inputs are read from.
    """
    tally = FailureTally(source)
    tally.add(outcome for outcome in outcomes if outcome is not None)
    return tally.top()


def source_input(source: ItemSource, index: int) -> str:
    """Return the arguments of an item in short, or nothing if they cannot be read."""
    try:
        return input_words(source.item(index).arguments)
    except Exception:
        return ""

"""Measure several tables, round by round, within a time."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks import report
from benchmarks.measure import Measured, run_round
from benchmarks.sections import Section, compare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["Table", "measure_tables"]


@dataclass(slots=True)
class Table:
    """A section, and what was measured of it so far."""

    section: Section
    command: str
    """The benchmark that it belongs to."""
    measured: list[Measured] = field(default_factory=list)
    rounds: int = 0
    """Those that were measured, whatever came of them."""
    seconds: float = 0.0
    """Those that its last round took."""

    def as_text(self) -> str:
        """Return it for people."""
        return report.as_text(self.section, self.measured, compare(self.section, self.measured))

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        made = report.as_json(self.section, self.measured, compare(self.section, self.measured))
        return {"benchmark": self.command, **made}


def measure_tables(
    tables: Sequence[Table],
    *,
    in_one_process: bool,
    seconds: float | None,
    tell: Callable[[str], None],
    now: Callable[[], float] = time.monotonic,
) -> Iterator[Table]:
    """Measure; yield each table after each of its rounds.

    Args:
        tables: They are changed in place.
        in_one_process: As for `run_round`.
        seconds: All tables have their first round, then their second, and so on, as far as rounds fit into this time;
            the first one always does. `None`: one table after another, with all of its rounds.
        tell: Called with a line before each step.
        now: The clock.
    """
    began = now()
    rounds = max((table.section.repeats for table in tables), default=0)
    if seconds is None:
        plan = [(number, table) for table in tables for number in range(table.section.repeats)]
    else:
        plan = [(number, table) for number in range(rounds) for table in tables if number < table.section.repeats]
    for number, table in plan:
        if seconds is not None and number and now() - began + table.seconds > seconds:
            continue
        tell(table.section.title)
        started = now()
        table.measured += run_round(
            table.section.contenders, table.measured, number, in_one_process=in_one_process, tell=tell
        )
        table.rounds += 1
        table.seconds = now() - started
        yield table

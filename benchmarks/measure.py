"""Run contenders side by side: each in a fresh process, in interleaved rounds."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.fresh_process import reason, run_contender
from benchmarks.stopwatch import wait_until_quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["Contender", "Measured", "measure_here", "run_round"]

_QUIET_SHARE = 0.15
"""Share of the CPUs that may be busy when a contender starts: Prefect's server takes in what the one before sent."""
_QUIET_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Contender:
    """One row of a table."""

    label: str
    """What people call it."""
    module: str
    """File in `benchmarks/contenders`, without its ending."""
    workload: str
    """What its `measure` is told to do."""
    items: int
    """How much of it."""
    needs_process: bool = False
    """Whether it cannot be measured in a process that did something else before."""
    limit: float = 180.0
    """Seconds that its process may take."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a contender measured in one round."""

    contender: Contender
    figures: dict[str, Any]
    """Figures by name, see its `measure`; nothing if it did not come to an end."""
    busy_before: float
    """Share of the CPUs that were busy when it started."""
    round_number: int = 0
    error: str = ""
    """Why it did not come to an end."""


def measure_here(module: str, workload: str, items: int) -> dict[str, Any]:
    """Measure in this process, and return the figures."""
    contender = importlib.import_module(f"benchmarks.contenders.{module}")
    figures: dict[str, Any] = contender.measure(workload, items)
    return figures


def run_round(
    contenders: Sequence[Contender],
    before: Sequence[Measured],
    number: int,
    *,
    in_one_process: bool,
    tell: Callable[[str], None],
) -> list[Measured]:
    """Measure each contender once; every other round goes backwards, so that a drift evens out.

    One that did not come to an end is told, and is not tried again unless it did so in another round.

    Args:
        contenders: In the order of the first round.
        before: What the earlier rounds measured.
        number: Of the round, from 0.
        in_one_process: Whether those that can be are measured in this process, with no wait for a quiet machine.
        tell: Called with a line before each measurement.

    Returns:
        What was measured.
    """
    succeeded = {one.contender for one in before if not one.error}
    hopeless = {one.contender for one in before if one.error} - succeeded
    order: Iterable[Contender] = contenders if number % 2 == 0 else reversed(contenders)
    measured: list[Measured] = []
    for contender in order:
        if contender in hopeless:
            continue
        tell(f"round {number + 1}: {contender.label}, {contender.items:,} x {contender.workload}")
        busy = wait_until_quiet(_QUIET_SHARE, 0.01 if in_one_process else _QUIET_SECONDS)
        what = (contender.module, contender.workload, contender.items)
        is_here = in_one_process and not contender.needs_process
        try:
            figures = measure_here(*what) if is_here else run_contender(*what, contender.limit)
        except Exception as error:
            tell(f"    did not come to an end: {reason(error)}")
            measured.append(Measured(contender, {}, busy, number, reason(error)))
        else:
            measured.append(Measured(contender, figures, busy, number))
    return measured

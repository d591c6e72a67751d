"""Run contenders side by side: each in a fresh process, in interleaved rounds."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.stopwatch import wait_until_quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["Contender", "ContenderError", "Measured", "measure_fresh", "measure_here", "run_rounds"]

_ROOT = Path(__file__).resolve().parent.parent
_TIMEOUT = 300.0
_QUIET_SHARE = 0.15
"""Share of the CPUs that may be busy when a contender starts: Prefect's server takes in what the one before sent."""
_QUIET_SECONDS = 20.0


class ContenderError(RuntimeError):
    """A contender did not come to an end."""


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


@dataclass(frozen=True, slots=True)
class Measured:
    """What a contender measured in one round."""

    contender: Contender
    figures: dict[str, Any]
    """Figures by name, see its `measure`."""
    busy_before: float
    """Share of the CPUs that were busy when it started."""


def measure_here(contender: Contender) -> dict[str, Any]:
    """Measure in this process, and return the figures."""
    module = importlib.import_module(f"benchmarks.contenders.{contender.module}")
    figures: dict[str, Any] = module.measure(contender.workload, contender.items)
    return figures


def measure_fresh(contender: Contender) -> dict[str, Any]:
    """Measure in a fresh process, and return the figures.

    Raises:
        ContenderError: If it fails, or takes longer than five minutes.
    """
    command = [sys.executable, "-m", "benchmarks", "contender"]
    command += [contender.module, contender.workload, str(contender.items)]
    try:
        done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise ContenderError(f"{contender.label} took longer than {_TIMEOUT:g} s.") from None
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        raise ContenderError(f"{contender.label} ended with status {done.returncode}: {done.stderr.strip()[-2000:]}")
    figures: dict[str, Any] = json.loads(lines[-1])
    return figures


def run_rounds(
    contenders: Sequence[Contender], repeats: int, *, in_one_process: bool, tell: Callable[[str], None]
) -> list[Measured]:
    """Measure each contender once in each round; every other round goes backwards, so that a drift evens out.

    Args:
        contenders: In the order of the first round.
        repeats: How many rounds.
        in_one_process: Whether those that can be are measured in this process, with no wait for a quiet machine.
        tell: Called with a line before each measurement.

    Returns:
        What was measured, round by round.
    """
    measured: list[Measured] = []
    for number in range(repeats):
        order: Iterable[Contender] = contenders if number % 2 == 0 else reversed(contenders)
        for contender in order:
            tell(f"round {number + 1} of {repeats}: {contender.label}, {contender.items:,} x {contender.workload}")
            busy = wait_until_quiet(_QUIET_SHARE, 0.01 if in_one_process else _QUIET_SECONDS)
            is_here = in_one_process and not contender.needs_process
            figures = measure_here(contender) if is_here else measure_fresh(contender)
            measured.append(Measured(contender, figures, busy))
    return measured

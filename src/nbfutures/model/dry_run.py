"""What a dry run tells: how long a whole job would take, and which runner fits, from a few of its items."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nbfutures.model.outcome import OutcomeKind

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["INLINE", "DryRunPlan", "DryRunReport", "SampledItem", "Sending", "spread"]

INLINE = "inline"
"""One item after the other, without any runner: what the runners are compared with."""

_COMPUTES = 0.5
"""From this share of CPU on, items compute rather than wait."""
_WORTH_SENDING = 0.001
"""Seconds; shorter items are not worth being sent to another process."""
_WARM_UP = 5.0
"""A first item that takes this many times as long as the slowest other one paid for something once."""
_FEWEST = 3
"""Items that it takes to tell a first one that is slow from items that differ."""


def spread(total: int, most: int) -> tuple[int, ...]:
    """Return positions from 0 to `total - 1`, evenly spread, the first and the last among them.

    Args:
        total: How many there are.
        most: How many to return, at least 2; all of them where there are fewer.
    """
    if total <= most:
        return tuple(range(total))
    return tuple(number * (total - 1) // (most - 1) for number in range(most))


@dataclass(frozen=True, slots=True)
class SampledItem:
    """One item that a dry run ran."""

    position: int
    """Where it stands among all items, from 0; in the job of the dry run it has another index."""
    kind: OutcomeKind | None
    """How it ended; `None` if it has not."""
    seconds: float | None = None
    """Seconds that its last attempt took; `None` if it never ran."""
    cpu_seconds: float | None = None
    """CPU seconds of its thread in that, with those for which no CPU was free, where Linux tells them; `None` where not
    known."""

    @property
    def cpu_share(self) -> float | None:
        """CPU seconds by seconds, from 0 (waits) to 1 (computes); `None` where not known."""
        return _share(self.cpu_seconds, self.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """What it takes to send items to another process, and their values back."""

    obstacle: str = ""
    """What cannot be pickled, and why; empty if all can."""
    bytes: int = 0
    """Size of an item's arguments and value, pickled, on average."""
    is_whole: bool = True
    """Whether all of it was pickled: that is given up where it would take long, and `bytes` and `seconds` are less."""
    seconds: float = 0.0
    """Seconds to pickle that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRunPlan:
    """How the whole job would run."""

    total: int
    """Number of items."""
    is_total_known: bool = True
    """Whether `total` is that; else an example, since the items come from an iterator."""
    at_once: Mapping[str, int]
    """Runner to how many items it would run at once."""
    processes: int = 1
    """How many worker processes there would be."""
    cpus: int = 1
    """CPUs that they share."""
    is_async: bool = False
    """Whether the items are coroutines, so that `at_once` counts these and not workers."""
    rate: float | None = None
    """Items to start per second, at most."""
    overhead: float = 0.0
    """Seconds that each item costs beside its own."""
    start_seconds: Mapping[str, float] = field(default_factory=dict)
    """Runner to seconds until the first item starts there."""


@dataclass(frozen=True, slots=True)
class DryRunReport:
    """What a few items tell of the whole job.

    The prediction takes the items that ran for typical ones. CPU time is that of an item's own thread: whether it was
    spent with Python's lock held cannot be seen from it. For code that computes in C and lets go of the lock, as much
    of NumPy does, threads are faster than is said here, and often as fast as processes.
    """

    items: tuple[SampledItem, ...]
    """The items that were chosen, in order."""
    plan: DryRunPlan
    """How the whole job would run."""
    sending: Sending | None = None
    """What can be sent to another process; `None` if the dry run ended before that was tried."""

    @property
    def total(self) -> int:
        """Number of items of the whole job; 1,000 as an example where they come from an iterator."""
        return self.plan.total

    @property
    def failed(self) -> int:
        """How many of the items failed."""
        return sum(item.kind is OutcomeKind.FAILED for item in self.items)

    @property
    def ran(self) -> int:
        """How many of the items ran to their end."""
        return sum(item.kind in (OutcomeKind.COMPLETED, OutcomeKind.FAILED) for item in self.items)

    @property
    def completed(self) -> tuple[SampledItem, ...]:
        """The items that completed; the times come from these."""
        return tuple(item for item in self.items if item.kind is OutcomeKind.COMPLETED and item.seconds is not None)

    @property
    def warm_up(self) -> float:
        """Seconds that the first item took longer than the others, where that is so much that it paid for them."""
        first, *others = [item.seconds or 0.0 for item in self.completed] or [0.0]
        if len(others) + 1 < _FEWEST or not 0 < _WARM_UP * max(others) < first:
            return 0.0
        return first - sum(others) / len(others)

    @property
    def seconds(self) -> float | None:
        """Seconds that an item takes on average, without the warm-up; `None` if none completed."""
        items = self._steady
        return sum(item.seconds or 0.0 for item in items) / len(items) if items else None

    @property
    def cpu_share(self) -> float | None:
        """CPU seconds by seconds of the items, from 0 (they wait) to 1 (they compute); `None` where not known."""
        known = [item for item in self._steady if item.cpu_seconds is not None]
        return _share(sum(item.cpu_seconds or 0.0 for item in known), sum(item.seconds or 0.0 for item in known))

    @property
    def obstacle(self) -> str:
        """What cannot be sent to another process, and why; empty if nothing was found."""
        return self.sending.obstacle if self.sending else ""

    @property
    def is_picklable(self) -> bool | None:
        """Whether function, arguments and values can be sent to another process; `None` if that was not tried."""
        return None if self.sending is None else not self.sending.obstacle

    @property
    def expected(self) -> dict[str, float]:
        """Runner to expected seconds for all items, the recommended one first, `"inline"` last; empty if not known.

        Threads: a part of the time for each of those at once, but never less than the CPU seconds of all, since only
        one computes at a time. Processes: CPU seconds are divided among the CPUs, and what starting and sending takes
        is added; they are left out where something cannot be pickled.
        """
        if not self._is_known:
            return {}
        found = {"threads": self._in_threads}
        if not self.obstacle:
            found["processes"] = self._in_processes
        if self.runner == "processes":
            found = {"processes": found["processes"], **found}
        return {**found, INLINE: self.total * ((self.seconds or 0.0) + self.plan.overhead) + self.warm_up}

    @property
    def runner(self) -> str | None:
        """The runner that fits: "processes" if items compute and sending them pays, else "threads"; `None` if unknown.

        `nbf.options(runner=job.dry_run.runner).map(...)` takes it as it is.
        """
        return None if not self._is_known else "threads" if self._against_processes is not None else "processes"

    @property
    def text(self) -> str:
        """The recommendation in a sentence."""
        if not self.total:
            return "There are no items."
        if not self._is_known:
            return f"No prediction: {self._unknown}."
        against = self._against_processes
        share = self.cpu_share
        told = "" if share is None else f" ({share:.0%} CPU)"
        if against is None:
            return f"Use runner='processes': the items compute{told}."
        if share is None or share < _COMPUTES:
            return f"Use runner='threads': {f'the items mostly wait{told}' if told else against}."
        return f"Use runner='threads': the items compute{told}, but {against}."

    def __str__(self) -> str:
        """Return the recommendation."""
        return self.text

    @property
    def _steady(self) -> tuple[SampledItem, ...]:
        return self.completed[1:] if self.warm_up else self.completed

    @property
    def _is_known(self) -> bool:
        return bool(self.completed) and self.sending is not None

    @property
    def _unknown(self) -> str:
        if self.failed and self.failed == len(self.items):
            return "the item failed" if self.failed == 1 else f"all {self.failed} items that ran failed"
        return "no item completed" if not self.completed else "the dry run was cancelled"

    @property
    def _against_processes(self) -> str | None:
        """Why not processes; `None` if nothing speaks against them."""
        share, seconds = self.cpu_share, self.seconds or 0.0
        if share is None:
            return "how much the items compute is not known"
        reasons = (
            (share < _COMPUTES, "the items mostly wait"),
            (bool(self.obstacle), "not all can be sent to processes"),
            (self.plan.cpus == 1, "there is one CPU only"),
            (seconds < _WORTH_SENDING, "each is too short to be worth sending to a process"),
            (
                self._in_processes >= self._in_threads,
                "processes are not faster, with their start and what is sent to them",
            ),
        )
        return next((why for holds, why in reasons if holds), None)

    @property
    def _in_threads(self) -> float:
        seconds = self.seconds or 0.0
        return self._on("threads", seconds, seconds * (self.cpu_share or 0.0), computing=1)

    @property
    def _in_processes(self) -> float:
        seconds, sending = self.seconds or 0.0, self.sending.seconds if self.sending else 0.0
        cpu = seconds * (self.cpu_share or 0.0)
        computing = min(self.plan.cpus, self.plan.processes)
        # All that is sent goes through the kernel.
        return self._on("processes", seconds + sending, cpu, computing=computing, least=self.total * sending)

    def _on(self, runner: str, seconds: float, cpu: float, *, computing: int, least: float = 0.0) -> float:
        """Return the seconds for all items on a runner.

        Args:
            runner: The runner.
            seconds: Seconds of an item.
            cpu: CPU seconds of that.
            computing: How many items can compute at once.
            least: What all of it takes in any case.
        """
        plan = self.plan
        turns = math.ceil(plan.total / plan.at_once[runner])
        shared = max(turns * (seconds + plan.overhead), plan.total * (cpu + plan.overhead) / computing)
        starting = (plan.total - 1) / plan.rate if plan.rate and plan.total else 0.0
        return max(shared, starting, least) + self.warm_up + plan.start_seconds.get(runner, 0.0)


def _share(part: float | None, whole: float | None) -> float | None:
    return min(max(part / whole, 0.0), 1.0) if part is not None and whole else None

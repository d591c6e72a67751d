"""A job that runs a few of its items only, and says how all of them would run."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

from nbfutures.engine.cpus import usable_cpus
from nbfutures.errors import NbfuturesError
from nbfutures.model.dry_run import DryRunPlan, DryRunReport, SampledItem, Sending
from nbfutures.model.events import JobEvent, JobPhase, PhaseChanged
from nbfutures.model.outcome import OutcomeKind
from nbfutures.prefect.jobs.job_run import JobRun
from nbfutures.prefect.runners import default_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from nbfutures.engine.calls.work import CallWork
    from nbfutures.engine.workers.weighing import Weight
    from nbfutures.model.options import JobOptions
    from nbfutures.model.outcome import Outcome
    from nbfutures.prefect.session import Session

__all__ = ["DryRun"]

_DELAYS = Path("/proc/thread-self/schedstat")


def busy_seconds() -> float:
    """Return the CPU seconds of this thread, with those for which it was ready to run and no CPU was free.

    The latter only where Linux tells them; they are what keeps an item that computes, on a machine that is busy, from
    looking like one that waits for a network. Takes some 20 us.
    """
    waited = 0.0
    with contextlib.suppress(OSError, ValueError, IndexError):
        waited = int(_DELAYS.read_bytes().split()[1]) / 1e9
    return time.thread_time() + waited


_ITEMS = 3
_UNKNOWN_TOTAL = 1_000
"""Items to predict for where an iterator does not say how many it has."""
_COROUTINES = 100
"""As in the windows, which import Prefect."""
_TASK_RUN_SECONDS = 0.0055
"""CPU seconds that Prefect takes for a task run."""
_JOB_SECONDS = 0.1
"""Until the first item of a job starts."""
_BYTES_PER_SECOND = 500e6
"""Through a connection to another process."""


class DryRun(JobRun):
    """Some items of a job, one after the other in a thread, so that none disturbs another one's timing.

    Args:
        work: All calls; only the sampled ones are left of it.
        options: How the whole job would run.
        session: The kernel's session.
        name: What people call the job.
    """

    def __init__(self, work: CallWork, options: JobOptions, session: Session, name: str) -> None:
        work.keep_sample(_ITEMS)
        self._calls = work
        self._planned = options
        # A failure must not keep the others from running: the times come from them.
        alone = options.replace(runner="threads", address=None, workers=1, in_flight=1, fail_fast=False)
        super().__init__(work, alone, session, f"{name} (dry run)")
        # Before all others, which show the report.
        self.state.subscribe(self._on_phase)

    @property
    def cpu_clock(self) -> Callable[[], float]:
        """What tells the CPU seconds of the calling thread, with those for which it waited for a CPU."""
        return busy_seconds

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Tell how items ended; before the last ones are told, the report is made."""
        counts = self.state.counts
        if len(outcomes) >= counts.waiting + counts.running and not self.state.is_open_ended:
            told = [one for one in self.state.outcomes() if one is not None]
            # On the thread that tells, with no item running: pickling takes the interpreter for itself.
            self._report([*told, *outcomes], self._sending([*told, *outcomes]))
        super().settle(outcomes)

    def dry_run(self) -> DryRunReport:
        """Return what the items tell.

        Raises:
            NbfuturesError: If they have not ended.
        """
        if not self.state.is_done:
            raise NbfuturesError("The dry run goes on: wait for it with job.wait() or await job, then ask again.")
        made = self.state.dry_run
        return made if made is not None else self._report([one for one in self.state.outcomes() if one is not None])

    def _on_phase(self, event: JobEvent) -> None:
        # The last items of a job that was cancelled were not settled above, and nothing is pickled then.
        if event == PhaseChanged(JobPhase.DONE):
            self.dry_run()

    def _report(self, outcomes: Iterable[Outcome], sending: Sending | None = None) -> DryRunReport:
        by_index = {one.index: one for one in outcomes}
        table = self._calls.table
        items = [
            _sampled(position, by_index.get(index)) for index, position in enumerate(table.positions if table else ())
        ]
        self.state.dry_run = report = DryRunReport(tuple(items), self._plan(), sending)
        return report

    def _plan(self) -> DryRunPlan:
        options, work = self._planned, self._calls
        at_once = {name: options.workers or default_workers(name) for name in ("threads", "processes")}
        processes = at_once["processes"]
        are_coroutines = work.is_async and not work.is_task
        if are_coroutines:
            most = options.in_flight or _COROUTINES
            at_once = {"threads": options.in_flight or options.workers or _COROUTINES, "processes": most}
        elif options.in_flight:
            at_once = {name: min(number, options.in_flight) for name, number in at_once.items()}
        is_total_known = work.stream is None or not work.stream.is_cut
        return DryRunPlan(
            total=self._total() if is_total_known else _UNKNOWN_TOTAL,
            is_total_known=is_total_known,
            at_once=at_once,
            processes=processes,
            cpus=usable_cpus(),
            is_async=are_coroutines,
            rate=options.rate,
            overhead=_TASK_RUN_SECONDS if work.is_task else 0.0,
            start_seconds={"threads": _JOB_SECONDS, "processes": _JOB_SECONDS + _start_seconds()},
        )

    def _total(self) -> int:
        return self._calls.table.full_length if self._calls.table is not None else 0

    def _sending(self, outcomes: Sequence[Outcome]) -> Sending:
        """Pickle what would be sent, as far as that takes no more than some seconds."""
        from nbfutures.engine.workers.packing import (
            unsendable_function,
            unsendable_item,
            unsendable_part,
            unsendable_value,
        )
        from nbfutures.engine.workers.weighing import weigh

        work = self._calls
        weights: list[Weight] = []
        ran = [one for one in outcomes if one.kind in (OutcomeKind.COMPLETED, OutcomeKind.FAILED)]
        statics = work.sendable_statics
        try:
            weigh((work.target, statics))
        except Exception as error:
            return Sending(obstacle=unsendable_function(work.function, statics, work.name, error).problem)
        for outcome in ran:
            try:
                weights.append(weigh(work.sendable_arguments([outcome.index])))
            except Exception as error:
                return Sending(obstacle=unsendable_item(work.item(outcome.index), error).problem)
            if outcome.kind is not OutcomeKind.COMPLETED:
                continue
            try:
                weights.append(weigh(outcome.value))
            except Exception as error:
                kind = type(outcome.value).__name__
                part = unsendable_part(outcome.value)
                return Sending(obstacle=unsendable_value(outcome.index, kind, error, part).problem)
        size = sum(one.bytes for one in weights) // max(len(ran), 1)
        seconds = sum(one.seconds for one in weights) / max(len(ran), 1)
        return Sending(
            bytes=size, is_whole=all(one.is_whole for one in weights), seconds=seconds + size / _BYTES_PER_SECOND
        )


def _sampled(position: int, outcome: Outcome | None) -> SampledItem:
    if outcome is None:
        return SampledItem(position, None)
    return SampledItem(position, outcome.kind, outcome.seconds, outcome.cpu_seconds)


def _start_seconds() -> float:
    from nbfutures.prefect.runners.processes import start_seconds

    return start_seconds()

"""The runner `inline`: a lane whose items are called in the thread that asked for the job."""

from __future__ import annotations

import functools
import inspect
import time
from typing import TYPE_CHECKING, Any

from nbfutures.engine.event_loop import await_within, run_here
from nbfutures.engine.inline_executor import INTERRUPTED, Interrupt
from nbfutures.engine.lane_window import LaneWindow
from nbfutures.engine.lanes import Lane
from nbfutures.engine.timeouts import timed_out
from nbfutures.errors import ItemCancelledError
from nbfutures.model.outcome import OutcomeKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from nbfutures.engine.contracts import Caller
    from nbfutures.engine.lanes import LaneWork
    from nbfutures.model.outcome import Outcome

__all__ = ["InlineLane", "InlineLaneWindow", "as_cancelled"]


class InlineLane(Lane):
    """A lane whose items are called in the thread that asked for the job.

    Args:
        work: What it shares with the job's other lanes.
        caller: That thread.
    """

    is_watched = True
    is_plain = False

    def __init__(self, work: LaneWork, caller: Caller) -> None:
        super().__init__(work, caller.name)
        self._caller = caller
        self._used = 0.0

    @property
    def cpu_clock(self) -> Callable[[], float]:
        """What tells the CPU seconds that the items have used in their thread."""
        return lambda: self._used

    def _call(self, index: int) -> Any:
        return self._caller.call(functools.partial(self._call_here, index))

    def _call_here(self, index: int) -> Any:
        began = time.thread_time()
        try:
            return super()._call(index)
        finally:
            self._used += time.thread_time() - began

    def _attempt(self, index: int) -> Any:
        work = self.work
        if not work.work.is_async:
            made = super()._attempt(index)
            return run_here(made) if inspect.isawaitable(made) else made
        limit = work.timeout
        return run_here(await_within(work.work.call(index), limit, timed_out(limit or 0)))

    def _failure(self, failure: Outcome) -> Outcome:
        return as_cancelled(failure)


class InlineLaneWindow(LaneWindow):
    """The window of a function's job: one lane, whose items are called in the thread that asked for the job."""

    def _make_lane(self, number: int, slots: int) -> Lane:  # noqa: ARG002 - there is one, for one item at a time
        assert self._run.caller is not None
        return InlineLane(self._work, self._run.caller)


def as_cancelled(outcome: Outcome) -> Outcome:
    """Return the outcome of an item that was interrupted as a cancelled one, with the place where that met it."""
    if not isinstance(outcome.error, Interrupt):
        return outcome
    error = ItemCancelledError(INTERRUPTED).with_traceback(outcome.traceback)
    return outcome.replace(kind=OutcomeKind.CANCELLED, error=error)

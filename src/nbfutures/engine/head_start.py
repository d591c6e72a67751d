"""Plain functions in threads start at once; whoever keeps the record of jobs is told of them when it is ready."""

from __future__ import annotations

import builtins
import threading
import time
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, Self

from nbfutures.engine.dispatcher import Dispatcher
from nbfutures.engine.lane_window import LaneWindow
from nbfutures.engine.lanes import COROUTINES, LaneWork

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from nbfutures.engine.calls.work import CallWork
    from nbfutures.engine.contracts import Run
    from nbfutures.engine.lane_window import LaneStarter
    from nbfutures.engine.lanes import Lane

__all__ = ["HeadStart"]


class HeadStart:
    """Runs items of a job at once, in bare threads; in recorded lanes once there is a record.

    Args:
        run: The job.
        work: Its calls.
        indices: The items.
        record: Called on a thread of its own: opens the record, calls `hand_over`, closes it. Its errors are told on
            the job, and stop nothing.
    """

    def __init__(self, run: Run, work: CallWork, indices: Sequence[int], record: Callable[[HeadStart], None]) -> None:
        self._run = run
        self._work = work
        self._record_job = record
        self._dispatcher = Dispatcher(run, work, indices)
        self._recorded: tuple[LaneStarter, Context] | None = None
        """Starts recorded lanes, in the context of the record; while there is one."""
        self._over = threading.Event()
        self._changed = threading.Condition()
        self._bare = 0
        """Lanes in bare threads that have not ended."""

    def drive(self) -> None:
        """Run the items to their end, and have the record kept of it. Blocks; on the job's thread."""
        run = self._run
        run.attach_dispatcher(self._dispatcher)
        # A script ends when its work does, as with `concurrent.futures`.
        getattr(threading, "_register_atexit", _ignore)(self._finish)
        recorder = threading.Thread(
            target=copy_context().run, args=(self._record,), name=f"nbfutures record {run.name}", daemon=True
        )
        recorder.start()
        try:
            self._dispatcher.drive(self._make_window, self)
        finally:
            self._over.set()
        recorder.join()

    def hand_over(self, lanes: LaneStarter, ends: AbstractContextManager[Any]) -> None:
        """Have recorded lanes from now on. Blocks until the job's items have ended; within the record's context.

        Args:
            lanes: Starts them.
            ends: Is left when all of them have ended.
        """
        with ends:
            self._recorded = lanes, copy_context()
            self._over.wait()
            self._recorded = None

    @property
    def ran(self) -> str:
        """When the items ran, such as "14:07:02-14:07:09", if they had ended by now; else empty."""
        state = self._run.state
        if state.ended is None:
            return ""
        began, ended = (time.strftime("%H:%M:%S", time.localtime(when)) for when in (state.created, state.ended))
        return f"{began}-{ended}"

    def _finish(self) -> None:
        if not hasattr(builtins, "__IPYTHON__"):
            self._over.wait()

    def _record(self) -> None:
        try:
            self._record_job(self)
        except BaseException as error:
            # The record never stops the work.
            self._recorded = None
            self._run.state.set_note(f"not recorded in Prefect: {_first_line(error)}")

    # --- lanes -------------------------------------------------------------------------------------------------------

    def _make_window(self, dispatcher: Dispatcher) -> LaneWindow:
        run, work = self._run, self._work
        in_flight = run.options.in_flight or ((run.options.workers or COROUTINES) if work.is_async else None)
        shared = LaneWork.of_job(run, work, dispatcher)
        return LaneWindow(dispatcher, self._start_lane, shared, workers=run.workers, in_flight=in_flight)

    def _start_lane(self, lane: Lane, number: int, on_done: Callable[[BaseException | None], None]) -> None:
        recorded = self._recorded
        if recorded is not None:
            start, context = recorded
            context.copy().run(start, lane, number, on_done)
            return
        with self._changed:
            self._bare += 1
        threading.Thread(
            target=copy_context().run,
            args=(self._run_lane, lane, on_done),
            name=f"nbfutures {self._run.name} {number}",
            daemon=True,
        ).start()

    def _run_lane(self, lane: Lane, on_done: Callable[[BaseException | None], None]) -> None:
        problem: BaseException | None = None
        try:
            lane.run(None)
        except BaseException as error:
            problem = error
        finally:
            on_done(problem)
            with self._changed:
                self._bare -= 1
                self._changed.notify_all()

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Wait until the lanes in bare threads have ended."""
        with self._changed:
            self._changed.wait_for(lambda: not self._bare)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _ignore(call: Callable[[], None]) -> None:
    del call

"""The dispatcher: keeps a bounded window of a job's items in flight, from the job's thread."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol

from nbfutures.engine import capture
from nbfutures.engine.calls.stream import StreamQueue
from nbfutures.engine.countdown import Countdown
from nbfutures.engine.no_limit import NO_LIMIT, NoLimit
from nbfutures.engine.work_queue import WorkQueue
from nbfutures.errors import ItemCancelledError
from nbfutures.model.events import JobPhase
from nbfutures.model.outcome import OutcomeKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager

    from nbfutures.engine.calls.work import CallWork
    from nbfutures.engine.contracts import Run

__all__ = ["Dispatcher", "Window"]

_SWEEP_SECONDS = 0.1
"""How long an outcome may lie in a running task run before it is told."""
_IDLE_SECONDS = 5.0
_GROW_SECONDS = 0.004


class Window(Protocol):
    """What is in flight: puts items into task runs, and knows when they are done."""

    def refill(self) -> None:
        """Hand more of the queue to the runner, up to the window's size."""
        ...

    def sweep(self) -> None:
        """Tell the outcomes that are known but not told."""
        ...

    def running(self) -> int:
        """Return how many items are being worked on."""
        ...

    def is_running(self, index: int) -> bool:
        """Tell whether the item is being worked on."""
        ...

    def missing(self) -> int:
        """Return how many more items could run at once now if there were slots of the job's limits for them."""
        ...

    def cancel_queued(self) -> None:
        """Take back what the runner has not started."""
        ...

    def close(self) -> None:
        """Let go of the workers: every item has ended."""
        ...

    @property
    def is_growing(self) -> bool:
        """Whether the window should be looked at again within milliseconds."""
        ...

    @property
    def busy(self) -> bool:
        """Whether task runs are in flight."""
        ...


class Dispatcher:
    """Runs some items of a job to their end, within one flow run.

    Args:
        run: The job.
        work: Its calls.
        indices: The items.
    """

    def __init__(self, run: Run, work: CallWork, indices: Sequence[int]) -> None:
        self.run = run
        self.work = work
        self.closed = False
        gated = self._gated_among(indices)
        ready = [index for index in indices if index not in gated] if gated else indices
        self.stream = work.stream if work.stream is not None and not work.stream.is_over else None
        rate, now = run.options.rate, run.state.clock.now
        self.queue = (
            WorkQueue(ready, rate=rate, now=now)
            if self.stream is None
            else StreamQueue(run.options.in_flight or run.workers, rate=rate, now=now)
        )
        self.limit: NoLimit = NO_LIMIT
        """Asked for a slot before an item starts; to be set before `drive`."""
        self._gated = gated
        self._to_gate = sorted(gated)
        self._gate_lock = threading.Lock()
        self._wake = threading.Event()
        self._window: Window | None = None
        self._reason = "Cancelled before it ran. Run it with job.retry()."
        self._awaited: dict[Any, list[Countdown]] = {}

    # --- from any thread -------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Have the dispatcher look at once; costs next to nothing when it was told already."""
        if not self._wake.is_set():
            self._wake.set()

    def offer(self, indices: Iterable[int]) -> None:
        """Add items to run; the caller has seen that the dispatcher is not closed."""
        made = list(indices)
        gated = self._gated_among(made)
        if gated:
            with self._gate_lock:
                self._gated.update(gated)
                self._to_gate.extend(sorted(gated))
        self.queue.put([index for index in made if index not in gated])
        self.wake()

    def take(self, indices: Sequence[int], to_gate: Sequence[int]) -> None:
        """Add items that have just come from the job's iterators.

        Args:
            indices: All of them.
            to_gate: Those whose arguments are to be resolved.
        """
        is_idle = not len(self.queue)
        if to_gate or self.work.has_dependencies:
            self.offer(indices)
            return
        self.queue.put(indices)
        if is_idle:
            self.wake()

    def _gated_among(self, indices: Iterable[int]) -> set[int]:
        """Return those of some items that may have to wait for futures."""
        table = self.work.table
        if self.work.has_dependencies:
            return set(indices)
        return set(indices) & table.to_resolve if table is not None and table.to_resolve else set()

    def cancel(self, reason: str) -> None:
        """Settle what has not started as cancelled, and start nothing more. What runs ends by itself."""
        self._reason = reason
        self._cancel_waiting()
        window = self._window
        if window is not None:
            window.cancel_queued()
        self.wake()

    def _cancel_waiting(self) -> None:
        """Settle what waits as cancelled while the job is being cancelled; also what came back for another try."""
        # A retry ends the cancelling with this lock held: what it gives is not taken away.
        with self.run.lock:
            if not self.run.stopped.is_set():
                return
            self.queue.halt()
            taken = self.queue.drain()
            with self._gate_lock:
                taken.extend(self._gated)
                self._gated.clear()
                self._to_gate.clear()
        if taken:
            self.run.settle_unrun(taken, OutcomeKind.CANCELLED, ItemCancelledError(self._reason))

    def is_running(self, index: int) -> bool:
        """Tell whether the item is being worked on."""
        return self._window is not None and self._window.is_running(index)

    # --- in the job's thread --------------------------------------------------------------------------------------

    def drive(self, make_window: Callable[[Dispatcher], Window], ends: AbstractContextManager[Any]) -> None:
        """Run the items to their end. Blocks.

        Args:
            make_window: Makes the window, given this dispatcher.
            ends: Within it, ends of what the window starts are told; it is left when all have ended.
        """
        state = self.run.state
        if state.phase is JobPhase.STARTING:
            state.set_phase(JobPhase.RUNNING)
        # Until all that was started has ended, items may use slots.
        with self.limit, ends:
            problem = self.limit.wait_until_known(self.run.stopped)
            if problem is not None and not self.run.stopped.is_set():
                self.run.crash(problem)
            window = self._window = make_window(self)
            if self.stream is not None and isinstance(self.queue, StreamQueue):
                self.stream.begin(self.run, self.take, self.queue, self.wake)
            while True:
                self._wake.clear()
                self._take_in()
                due = self.queue.release_due()
                if not self.run.is_halted:
                    window.refill()
                window.sweep()
                if self.run.stopped.is_set():
                    # The cancel may have come while the window was being refilled.
                    self._cancel_waiting()
                    window.cancel_queued()
                # Another cell may have redirected the streams meanwhile.
                capture.renew()
                state.set_running(window.running())
                if self.limit.is_limited:
                    self.limit.want(0 if self.run.is_halted else max(window.missing(), 0))
                if self._close_if_done(window):
                    break
                longest = _SWEEP_SECONDS if window.busy else _IDLE_SECONDS
                if window.is_growing and not self.run.is_halted:
                    longest = _GROW_SECONDS
                turn = self.queue.seconds_to_turn() if len(self.queue) else 0.0
                self._wake.wait(min(filter(None, (longest, due, turn)), default=longest))
            state.set_running(0)

    def _close_if_done(self, window: Window) -> bool:
        with self.run.lock:
            if not self.run.state.is_done:
                return False
            self.closed = True
            # Frees lanes that wait for their turn, where there is a rate.
            self.queue.halt()
        # Task runs that are still in flight hold items that were given up on, or none.
        window.sweep()
        window.close()
        return True

    def _take_in(self) -> None:
        """Take in the items that have come since the last look, and those that may run by now."""
        if self.stream is not None:
            self.stream.publish()
        self._open_gates()

    def _open_gates(self) -> None:
        """Let the items run whose futures are done, and have the others tell when theirs are."""
        if not self._to_gate:
            return
        with self._gate_lock:
            entering, self._to_gate = self._to_gate, []
        for index in entering:
            waiting = [future for future in self.work.dependencies(index) if not future._final_state]
            if not waiting:
                self._open_gate(index)
                continue
            countdown = Countdown(len(waiting), lambda index=index: self._open_gate(index))  # type: ignore[misc]
            for future in waiting:
                self._await(future, countdown)

    def _await(self, future: Any, countdown: Countdown) -> None:
        # One callback for each future, however many items wait for it: some of Prefect's futures hold only one.
        waiting = self._awaited.get(future)
        if waiting is not None:
            with self._gate_lock:
                if self._awaited.get(future) is waiting:
                    waiting.append(countdown)
                    return
            countdown()
            return
        self._awaited[future] = [countdown]
        future.add_done_callback(self._on_upstream_done)

    def _on_upstream_done(self, future: Any) -> None:
        with self._gate_lock:
            waiting = self._awaited.pop(future, [])
        for countdown in waiting:
            countdown()

    def _open_gate(self, index: int) -> None:
        with self._gate_lock:
            if index not in self._gated:
                return
            self._gated.discard(index)
        self.queue.put([index])
        self.wake()

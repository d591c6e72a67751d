"""The kernel's end of a lane whose items run in another process."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from nbfutures.errors import PicklingError
from nbfutures.model.outcome import OutcomeKind
from nbfutures.runtime.remote.lane_slots import LaneSlots
from nbfutures.runtime.remote.outbox import Outbox
from nbfutures.runtime.remote.packing import unpack_outcomes, unreadable_value
from nbfutures.runtime.remote.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from nbfutures.model.outcome import Outcome
    from nbfutures.runtime.remote.contracts import Connection
    from nbfutures.runtime.remote.mark import Mark
    from nbfutures.runtime.remote.supply import Supply

__all__ = ["RemoteLane"]

_IDLE_SECONDS = 0.3
"""A lane without items ends after this long."""
_QUIET = ("later", "back")
_logger = logging.getLogger(__name__)


class RemoteLane:
    """Sends items to a worker process as it can take them, and takes in how they ended.

    Args:
        supply: What it sends, shared with the job's other lanes.
        worker: Name of the worker, for the outcomes.
        round_: How often the job was retried when the lane began.
        mark: Where the worker notes what it runs, if it can be read here.
        slots: How many of its items run at once.
    """

    def __init__(self, supply: Supply, worker: str, round_: int, mark: Mark | None, slots: int = 1) -> None:
        self.supply = supply
        self.work = supply.work
        self.worker = worker
        self.round = round_
        self.records: deque[Outcome] = deque()
        self.running: dict[int, float] = {}
        """Items that the worker said are running, with the start of the attempt."""
        self._beginnings: dict[int, tuple[float, float]] = {}
        """Of items on another machine: when they began, by its clock and by the kernel's."""
        """Limits that its items wait for in Prefect's `concurrency`, with how many calls do."""
        self.is_open = True
        self.pulled = 0
        self.problem: PicklingError | None = None
        """Why the function cannot be sent."""
        self.ended_for: str | None = None
        """Why its process was ended from here: "cancel" or "timeout"."""
        self.mark = mark
        self.end_worker: Callable[[], bool] | None = None
        """Ends its worker from outside, where that is not connected, or has no process of this machine."""
        self.wire = Wire()
        self.slots = LaneSlots(supply.work.limit, slots)
        self._outbox = Outbox(supply, self.wire)
        self.outstanding = self._outbox.outstanding
        """Items that were sent and of which nothing is known yet, in their order."""
        self._lock = threading.RLock()
        self._seconds: float | None = None
        """Seconds of an item, as they were lately."""
        self._idle_since: float | None = None
        self._asked_back = False
        self._closing = False

    # --- as every lane -------------------------------------------------------------------------------------------

    def drain(self) -> list[Outcome]:
        """Take the outcomes that were not told yet; may be called from any thread."""
        taken: list[Outcome] = []
        while self.records:
            taken.append(self.records.popleft())
        return taken

    def abandon(self, index: int) -> bool:
        """Give up on an item: its process is ended, and another takes its place.

        Returns:
            Whether the item was still running.
        """
        with self._lock:
            if self.running.pop(index, None) is None or index not in self.outstanding:
                return False
            del self.outstanding[index]
        self.kill("timeout")
        if self.ended_for is None:
            # Its worker is not ours to end: what waits behind the item goes elsewhere, and it ends when the item does.
            self.give_back()
            self.close()
        with self._lock:
            if self.ended_for is None:
                self.slots.keep_for_stuck()
            self.slots.give_spare(len(self.outstanding))
        return True

    def let_go_slots(self) -> None:
        """Give back all slots: its worker is gone."""
        with self._lock:
            self.slots.give_all()

    def forget_outstanding(self) -> bool:
        """Take in nothing more of what was sent; return whether there was something."""
        with self._lock:
            was_at_work = bool(self.outstanding)
            self.outstanding.clear()
            self.running = {}
            return was_at_work

    # --- the conversation ------------------------------------------------------------------------------------------

    def connect(self, connection: Connection, pid: int | None) -> None:
        """Talk with the worker until it is gone; on a thread of its own."""
        if self.wire.was_connected and self.mark is None:
            # A cluster runs the work of a worker that died once more: its items have been given to others.
            connection.close()
            self.wire.cut()
            return
        if self.wire.was_connected:
            # An item has closed the first connection, of this process: it says what is left to say, and ends.
            self.is_open = False
            self.wire.let_in_again()
        if self.mark is not None:
            self.mark.remove()
        try:
            self.wire.hold(connection, pid, self.top_up, self._take)
        except Exception:
            # What cannot be understood will not get better; its items are taken care of once it is gone.
            _logger.exception("A worker said what nbfutures does not understand")
            self._end_worker(pid)
        finally:
            self.is_open = False
            self.wire.finish()
            self.work.wake()

    def top_up(self) -> None:
        """Send more items if the worker can take them, or let it go if there are none."""
        with self._lock:
            if not self.wire.was_connected or not self.is_open:
                return
            room = self._room()
            if room > 0:
                room = self.slots.take(room, len(self.outstanding))
            if room > 0:
                self._send(self.supply.pull(room))
                self.slots.give_spare(len(self.outstanding))
            if self.outstanding:
                self._idle_since = None
            elif self._is_used_up:
                self.close()
            elif self._idle_since is None:
                self._idle_since = time.monotonic()
            elif time.monotonic() - self._idle_since > _IDLE_SECONDS and not self.supply.is_waiting:
                self.close()

    def give_back(self) -> None:
        """Have the worker return what it has not begun."""
        with self._lock:
            if not self._asked_back and len(self.outstanding) > len(self.running):
                self._asked_back = True
                self.wire.post("back")

    def close(self) -> None:
        """Have the worker end once it has nothing to do."""
        with self._lock:
            if not self._closing:
                self._closing = True
                self.is_open = False
                self.wire.post("close")

    def kill(self, why: str) -> None:
        """End the process, whatever it is doing.

        Args:
            why: "cancel" or "timeout".
        """
        if self.ended_for is not None:
            return
        was_open, self.is_open = self.is_open, False
        # Said before it is done: who takes in the process's end asks for it.
        self.ended_for = why
        if not self.wire.kill() and not (self.end_worker is not None and self.end_worker()):
            self.ended_for, self.is_open = None, was_open

    def ping(self) -> None:
        """Have the worker know that the kernel is there."""
        if self.is_open:
            self.wire.post("ping")

    def _end_worker(self, pid: int | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            if pid is not None:
                os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))
            elif self.end_worker is not None:
                self.end_worker()

    # --- with the lock held ------------------------------------------------------------------------------------------

    def _room(self) -> int:
        outstanding = len(self.outstanding)
        room = self.supply.share(outstanding, self._seconds) - outstanding
        quota = self.work.quota
        return room if quota is None else min(room, quota - self._outbox.sent)

    @property
    def _is_used_up(self) -> bool:
        return self.work.quota is not None and self._outbox.sent >= self.work.quota

    def _send(self, indices: list[int]) -> None:
        if not indices:
            return
        try:
            self._outbox.send_function()
        except PicklingError as error:
            self._give_up(error)
            self.supply.put_back(indices)
            return
        unsendable = self._outbox.send_items(indices)
        if unsendable:
            self.records.extend(unsendable)
            self.work.wake()

    def _give_up(self, problem: PicklingError) -> None:
        self.problem = problem
        self.is_open = False
        self.work.wake()

    # --- what the worker says, on the thread that listens to it -------------------------------------------------------

    def _take(self, what: str, *rest: Any) -> None:
        with self._lock:
            getattr(self, f"_take_{what}")(*rest)
            self.slots.give_spare(len(self.outstanding))
        self.work.wake()
        if what not in _QUIET:
            self.top_up()

    def _take_singly(self, told: list[tuple[int, bytes]]) -> None:
        self._note([self._unpack_one(*one) for one in told], None)

    def _take_later(self, indices: list[tuple[int, float]]) -> None:
        now = self.work.state.clock.now()
        for index, seconds in indices:
            if self.outstanding.pop(index, 0) is None:
                self.work.takes_another_try(index)
                self.work.queue.put_later(index, now + seconds)

    def _take_back(self, indices: list[int]) -> None:
        self._asked_back = False
        # In their order, before what has not been handed out at all.
        known = [index for index in indices if self.outstanding.pop(index, 0) is None]
        self.supply.put_back(sorted(known))

    def _take_unreadable(self, indices: list[int]) -> None:
        # Each alone, so that only those fail that cannot be read.
        for index in indices:
            if self.outstanding.pop(index, 0) is None:
                self._send([index])

    def _take_problem(self, told: str) -> None:
        self._give_up(
            PicklingError(
                f"Cannot read {self.work.work.name} in another process: {told}. The modules that it uses have to be "
                f"importable there; or use runner='threads'."
            )
        )

    def _take_told(self, number: int, running: dict[int, float], payload: bytes) -> None:
        told: list[Outcome] = []
        try:
            told = unpack_outcomes(payload)
        except BaseException:
            # Something in it cannot be read here: each alone will show which.
            self.wire.post("resend", number)
        else:
            self.wire.post("ok", number)
        self._note(told, running)

    def _note(self, told: list[Outcome], running: dict[int, float] | None) -> None:
        pop = self.outstanding.pop
        known = [one for one in told if pop(one.index, 0) is None]
        if self._beginnings:
            for one in known:
                self._beginnings.pop(one.index, None)
        if running is not None:
            self.running = {
                index: self._began(index, since) for index, since in running.items() if index in self.outstanding
            }
        if self.work.fail_fast and any(one.kind is OutcomeKind.FAILED for one in known):
            # The dispatcher cancels the job once it sees the failure; until then nothing more is to start.
            self.work.queue.halt()
        self.records.extend(known)
        self.pulled += len(known)
        if known:
            self.supply.note_progress(len(known))
            latest = sum(one.seconds or 0.0 for one in known) / len(known)
            self._seconds = latest if self._seconds is None else (self._seconds + latest) / 2

    def _began(self, index: int, since: float) -> float:
        """Return when an attempt began, by the kernel's clock: that of another machine may tell another time."""
        if self.mark is not None:
            return since
        known = self._beginnings.get(index)
        if known is None or known[0] != since:
            known = self._beginnings[index] = since, self.work.state.clock.now()
        return known[1]

    def _unpack_one(self, index: int, payload: bytes) -> Outcome:
        try:
            (told,) = unpack_outcomes(payload)
        except BaseException as error:
            return self.work.unrun(index, OutcomeKind.FAILED, unreadable_value(index, error))
        return told

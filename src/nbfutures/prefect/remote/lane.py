"""The kernel's end of a lane whose items run in another process."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import queue
import signal
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from nbfutures.engine.workers.given import Sealer
from nbfutures.engine.workers.packing import (
    pack_arguments,
    pack_function,
    unpack_outcomes,
    unreadable_value,
    unsendable_item,
)
from nbfutures.errors import ItemSkippedError, PicklingError
from nbfutures.model.outcome import Outcome, OutcomeKind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nbfutures.engine.contracts import Run
    from nbfutures.engine.lanes import LaneWork
    from nbfutures.engine.no_limit import NoLimit
    from nbfutures.engine.workers.contracts import Connection
    from nbfutures.prefect.remote.crash_recovery import Mark

__all__ = ["RemoteLane", "Supply"]

_LAST_WORDS_SECONDS = 2.0


class Wire:
    """Sends without blocking, listens on the thread that holds it, and can end the process at its other end."""

    def __init__(self) -> None:
        self.was_connected = False
        self._connection: Connection | None = None
        self._pid: int | None = None
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._over = threading.Event()

    def post(self, *message: Any) -> None:
        """Have a message sent, now or once the worker has connected. Does not block."""
        self._outbox.put(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))

    def hold(
        self, connection: Connection, pid: int | None, begin: Callable[[], None], take: Callable[..., None]
    ) -> None:
        """Listen until the worker is gone.

        Args:
            connection: The connection.
            pid: Id of the worker's process, where it may be ended by it.
            begin: Called once messages are sent.
            take: Called with the parts of each message that comes.
        """
        with self._lock, contextlib.suppress(EOFError, OSError):
            if self._over.is_set():
                connection.close()
                return
            self._connection, self._pid = connection, pid
            self.was_connected = True
            outbox = self._outbox
        # In a thread of its own, so that a worker that does not listen holds up nobody.
        threading.Thread(
            target=self._send, args=(connection, outbox), name="nbfutures lane sender", daemon=True
        ).start()
        try:
            begin()
            with contextlib.suppress(EOFError, OSError):
                while True:
                    take(*pickle.loads(connection.recv_bytes()))  # noqa: S301 - from our own worker
        finally:
            with self._lock:
                self._pid = None
                self._outbox = queue.SimpleQueue()
            outbox.put(None)
            connection.close()

    def finish(self) -> None:
        """Say, from the thread that held it, that all is taken in that the worker had sent."""
        self._over.set()

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes from a worker that had connected."""
        return self.was_connected and self._over.is_set()

    def let_in_again(self) -> None:
        """Wait until all is taken in that came by a connection that broke, so that the worker's next can be held."""
        self.cut()
        if self._over.wait(_LAST_WORDS_SECONDS):
            self._over.clear()

    def wait_for_last_words(self) -> None:
        """Block until all is taken in that a worker, which has ended, had sent; one that never connected is late."""
        with self._lock:
            connection = self._connection
            if connection is None:
                self._over.set()
                return
        if not self._over.wait(_LAST_WORDS_SECONDS):
            connection.cut()
            self._over.wait(_LAST_WORDS_SECONDS)

    def cut(self) -> None:
        """Have the thread that listens end: the worker is gone."""
        with self._lock:
            connection = self._connection
        if connection is not None:
            connection.cut()

    def kill(self) -> bool:
        """End the process, whatever it is doing; return whether it was there and may be ended from here."""
        with self._lock:
            pid, self._pid = self._pid, None
            if pid is None:
                return False
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))
            return True

    @staticmethod
    def _send(connection: Connection, outbox: queue.SimpleQueue[bytes | None]) -> None:
        # A worker that is gone is noticed by the thread that listens.
        with contextlib.suppress(OSError, ValueError):
            while (data := outbox.get()) is not None:
                connection.send_bytes(data)


class Outbox:
    """Packs what one worker is to have, and posts it; used with the lane's lock held.

    Args:
        supply: What is sent, shared with the job's other lanes.
        wire: The connection to the worker.
    """

    def __init__(self, supply: Supply, wire: Wire) -> None:
        self._supply = supply
        self._wire = wire
        self.outstanding: dict[int, None] = {}
        """Items that were sent and of which nothing is known yet, in their order."""
        self.sent = 0
        """How many items were sent, those among them that came back."""
        self._function: Any = None
        self._code = 0
        """How much of the code that arguments share the worker has."""

    def send_function(self) -> None:
        """Send the function, if the worker has not got it.

        Raises:
            PicklingError: If it cannot be sent.
        """
        function = self._supply.work.work.function
        if function is not self._function:
            payload, self._code = self._supply.packed_function()
            self._wire.post("function", payload)
            self._function = function

    def send_items(self, indices: list[int]) -> list[Outcome]:
        """Send items, and return the outcomes of those that cannot be sent."""
        try:
            self._post(indices)
        except Exception:
            return [outcome for index in indices if (outcome := self._send_alone(index)) is not None]
        return []

    def _send_alone(self, index: int) -> Outcome | None:
        work = self._supply.work
        try:
            self._post([index])
        except ItemSkippedError as error:
            return work.unrun(index, OutcomeKind.SKIPPED, error)
        except Exception as error:
            return work.unrun(index, OutcomeKind.FAILED, unsendable_item(work.work.item(index), error))
        return None

    def _post(self, indices: list[int]) -> None:
        payload, self._code = self._supply.packed_arguments(indices, self._code)
        self.outstanding.update(dict.fromkeys(indices))
        self.sent += len(indices)
        self._supply.note_size(len(indices), len(payload))
        self._wire.post("items", indices, self._supply.extras(indices), payload)


class LaneSlots:
    """Takes slots for the items of a lane that may run now, and gives back what none needs; with the lane's lock held.

    Args:
        limit: The job's limits.
        most: How many of the lane's items run at once.
    """

    def __init__(self, limit: NoLimit, most: int) -> None:
        self._limit = limit
        self._most = most
        self.held = 0
        """Slots that it has: one for each item that may run now."""
        self._stuck = 0
        """Items that were given up on and go on all the same."""

    def take(self, wanted: int, outstanding: int) -> int:
        """Take slots for up to so many items more, and return how many may be sent.

        Args:
            wanted: How many items could be sent.
            outstanding: How many were sent and have not ended.
        """
        if self.held < self._most:
            self.held += self._limit.take(min(wanted, self._most - self.held))
        # Who runs one item after the other may be sent many at once.
        return wanted if self.held == self._most else min(wanted, self.held - outstanding - self._stuck)

    def give_spare(self, outstanding: int) -> None:
        """Give back the slots that no item needs any more."""
        needed = min(outstanding + self._stuck, self._most)
        if self.held > needed:
            self._limit.give(self.held - needed)
            self.held = needed

    def keep_for_stuck(self) -> None:
        """Keep one for an item that is outstanding no more and goes on all the same."""
        self._stuck += 1

    def give_all(self) -> None:
        """Give back all: the worker is gone."""
        self._limit.give(self.held)
        self.held = self._stuck = 0


_IDLE_SECONDS = 0.3
"""A lane without items ends after this long."""
_QUIET = ("later", "back")
_logger = logging.getLogger(__name__)


_CHUNK_SECONDS = 0.1
"""Work that is sent ahead: enough to keep the worker busy, little enough to be given back."""
_MOST_ITEMS = 20_000
_FIRST_ITEMS = 4
_FEWER = 8
_CHUNK_BYTES = 8_000_000
"""Arguments that one worker has, as they are sent; but at least what it runs and the next item."""
_LEAST_ITEMS = 2


class Supply:
    """The items of a job on their way into processes; may be asked from any thread.

    Args:
        run: The job.
        work: What the lanes share.
        lanes: How many lanes there are, at most.
        slots: Coroutines at once in each.
        in_flight: Items at once in all of them, where the user has set it.
    """

    def __init__(self, run: Run, work: LaneWork, *, lanes: int, slots: int, in_flight: int | None) -> None:
        self._run = run
        self.work = work
        self._lanes = lanes
        self._slots = slots
        self._each = max(in_flight // lanes, 1) if in_flight else _MOST_ITEMS
        if run.options.rate is not None and not work.is_async:
            # What is sent ahead would start when the worker likes.
            self._each = 1
        self._limit = _MOST_ITEMS
        """Items in one process at once, after one has died and nobody knows of which item."""
        self._item_bytes = 0.0
        self._lock = threading.Lock()
        self._packed: tuple[Any, bytes, int] | None = None
        self._sealer = Sealer()

    @property
    def is_waiting(self) -> bool:
        """Whether there are items to send."""
        return len(self.work.queue) > 0

    def share(self, outstanding: int, seconds: float | None) -> int:
        """Return how many items a lane is to have.

        Args:
            outstanding: How many it has.
            seconds: How long its items take; `None` if that is not known.
        """
        # Towards the end each takes its part of the rest, so that all end together.
        queue = self.work.queue
        part = _MOST_ITEMS if queue.may_get_more else max(-(-len(queue) // self._lanes), 1)
        if self.work.is_async:
            # All at once, so that none waits for another.
            return min(self._slots, self._each, self._limit, outstanding + part)
        if seconds is None:
            wanted = _FIRST_ITEMS
        else:
            wanted = int(min(max(_CHUNK_SECONDS / max(seconds, 1e-7), 1), _MOST_ITEMS)) + 1
        if self._item_bytes:
            wanted = min(wanted, max(int(_CHUNK_BYTES / self._item_bytes), _LEAST_ITEMS))
        return min(wanted, self._each, self._limit, part)

    def pull(self, most: int) -> list[int]:
        """Take up to so many items that may start now."""
        return self.work.queue.try_pull_many(most)

    def note_size(self, items: int, size: int) -> None:
        """Take in how many bytes some items took on their way."""
        each = size / items
        self._item_bytes = max(each, (self._item_bytes + each) / 2)

    def put_back(self, indices: list[int]) -> None:
        """Put back what was not run."""
        self.work.queue.put(indices)

    def extras(self, indices: Sequence[int]) -> dict[int, tuple[int, int]]:
        """Return the round and the attempts so far of each item that has either."""
        if not self._run.rounds and not self.work.has_tries:
            return {}
        return {index: (self.work.state.round_of(index), self.work.tries(index)) for index in indices}

    def packed_function(self) -> tuple[bytes, int]:
        """Return the job's function and what all its calls have in common, and how much code that brings along.

        Raises:
            PicklingError: If that cannot be; the message names what is to blame.
        """
        with self._lock:
            work = self.work.work
            function = work.function
            if self._packed is None or self._packed[0] is not function:
                self._sealer = Sealer()
                data = pack_function(function, work.sendable_statics, work.layout, work.name, self._sealer)
                self._packed = (function, data, len(self._sealer.code))
            return self._packed[1:]

    def packed_arguments(self, indices: list[int], known: int) -> tuple[bytes, int]:
        """Return what calls are given, for a worker that has so much of the code in it, and how much it has then.

        Raises:
            ItemSkippedError: If an item depends on something that did not complete.
            Exception: If something cannot be pickled.
        """
        with self._lock:
            data = pack_arguments(self.work.work.sendable_arguments(indices), self._sealer, known)
            return data, len(self._sealer.code)

    def note_death(self, held: int) -> None:
        """Send fewer items at once: a process died, and which of so many items ended it is not known."""
        self._limit = max(held // _FEWER, 1)

    def note_progress(self, ended: int) -> None:
        """Send more items at once again, as they end."""
        if self._limit < _MOST_ITEMS:
            self._limit += ended


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

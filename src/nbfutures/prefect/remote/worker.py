"""The worker's end of a lane: a Prefect task run in another process, which works through what the kernel sends."""

from __future__ import annotations

import contextlib
import functools
import os
import pickle
import threading
import time
from collections import deque
from contextvars import copy_context
from dataclasses import dataclass
from multiprocessing import AuthenticationError
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext
from prefect.states import Completed, Failed

from nbfutures.engine import capture
from nbfutures.engine.async_lane import AsyncLane
from nbfutures.engine.item_pipes import redirected_descriptors, runs_alone
from nbfutures.engine.lanes import NOTHING, Lane, LaneWork
from nbfutures.engine.workers.given import Given, Opener
from nbfutures.engine.workers.packing import pack_outcomes, unpack, unreadable_arguments, words
from nbfutures.engine.workers.surroundings import Surroundings, note_modules, settle_in
from nbfutures.model.clock import SystemClock
from nbfutures.model.outcome import Outcome, OutcomeKind
from nbfutures.prefect.prefect_logging import keep_logging_apart
from nbfutures.prefect.private_settings import private_settings
from nbfutures.prefect.processes.start import can_talk
from nbfutures.prefect.remote.crash_recovery import READING, SEVERAL, TELLING, Marked, open_mark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prefect.client.schemas.objects import State

    from nbfutures.engine.calls.signatures import Layout
    from nbfutures.engine.workers.contracts import Connection, Route

__all__ = ["LaneSettings", "run_remote_lane", "work_for"]


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """How a lane runs its items, and what it needs of the kernel's surroundings."""

    worker: str
    """Name of the worker, for the outcomes."""
    mark: str | None
    """Path of the file in which the worker notes what it runs; `None` if the kernel cannot read it."""
    surroundings: Surroundings | None
    """What to take over from the kernel; `None` where the process is not the lane's own."""
    is_async: bool
    slots: int
    """Coroutines at once."""
    retries: int
    retry_delay: float
    """Seconds."""
    timeout: float | None
    """Seconds."""
    fail_fast: bool
    queued: float
    """When the items were submitted, in seconds since the epoch."""


class Calls:
    """The function and the arguments of the calls that were sent."""

    def __init__(self) -> None:
        self.arguments: dict[int, Any] = {}
        self._opener = Opener()
        self._common: tuple[Callable[..., Any], dict[str, Any]] | None = None
        """The function, and the arguments that all calls have in common; `None` if each call has its own of them."""
        self._layout: Any = None

    def replace(self, code: list[Any], layout: Layout, common: Any) -> None:
        """Call this function from now on, with these arguments in common.

        Args:
            code: Functions and classes that what is sent refers to.
            layout: How arguments are passed that are sent by name.
            common: The function and the arguments by parameter name, as they are or `Given`.

        Raises:
            Exception: If they cannot be read.
        """
        self._layout = layout
        self._opener = Opener()
        self._opener.take_code(code)
        if isinstance(common, Given):
            self._opener.take_common(common)
            self._opener.open_common()
            common = None
        self._common = common

    def take(self, indices: list[int], arguments: Iterable[Any], code: list[Any], *, is_sealed: bool) -> None:
        """Take in the arguments of calls: some of them `Sealed`, if it is said so."""
        self._opener.take_code(code)
        if is_sealed:
            arguments = map(_Unopened, arguments)
        self.arguments.update(zip(indices, arguments, strict=True))

    def call(self, index: int) -> Any:
        """Make the call of an item."""
        arguments = self.arguments[index]
        function, statics = self._common or self._opener.open_common()
        if type(arguments) is _Unopened:
            arguments = self._opened(index, arguments.arguments)
        if type(arguments) is tuple:
            return function(*arguments)
        return self._layout.call(function, {**arguments, **statics})

    def _opened(self, index: int, arguments: Any) -> Any:
        try:
            if type(arguments) is tuple:
                return tuple(map(self._opener.open, arguments))
            return {name: self._opener.open(one) for name, one in arguments.items()}
        except Exception as error:
            raise unreadable_arguments(index, error) from None


class _Unopened:
    """Arguments of a call, some of them sealed."""

    __slots__ = ("arguments",)

    def __init__(self, arguments: Any) -> None:
        self.arguments = arguments


class Rounds:
    """As much of a job's state as a lane asks."""

    def __init__(self) -> None:
        self.clock = SystemClock()
        self.rounds: dict[int, int] = {}
        """Item to how often it was retried, of those that were."""

    def round_of(self, index: int) -> int:
        """Return how often an item was retried."""
        return self.rounds.get(index, 0)


class Inbox:
    """The items that were sent and have not begun; as much of a work queue as a lane uses.

    Args:
        wake: Called when there is something to tell.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._items: deque[int] = deque()
        self._filled = threading.Condition()
        self._later: list[tuple[int, float]] = []
        self._back: list[int] = []
        self._was_asked = False
        self._wake = wake
        self.is_closed = False

    def put(self, indices: list[int]) -> None:
        """Add items."""
        with self._filled:
            self._items.extend(indices)
            self._filled.notify()

    def pull(self) -> int | None:
        """Take the next item, waiting for it; `None` once nothing more will come."""
        try:
            return self._items.popleft()
        except IndexError:
            pass
        while True:
            with self._filled:
                if self._items:
                    return self._items.popleft()
                if self.is_closed:
                    return None
            self._wake()
            with self._filled:
                if not self._items and not self.is_closed:
                    self._filled.wait()

    def try_pull(self) -> int | None:
        """Take the next item if there is one."""
        try:
            return self._items.popleft()
        except IndexError:
            self._wake()
            return None

    def put_later(self, index: int, when: float) -> None:
        """Have the kernel send the item again later."""
        with self._filled:
            self._later.append((index, when))

    def take_later(self) -> list[tuple[int, float]]:
        """Return the items for later, each once."""
        with self._filled:
            taken, self._later = self._later, []
            return taken

    def give_back(self) -> None:
        """Return what has not begun, when the kernel asks."""
        with self._filled:
            self._was_asked = True
            self._empty()

    def take_back(self) -> list[int] | None:
        """Return the items that go back, each once; `None` if the kernel did not ask and there are none."""
        with self._filled:
            taken, self._back = self._back, []
            was_asked, self._was_asked = self._was_asked, False
            return taken if taken or was_asked else None

    def close(self) -> None:
        """Nothing more will come."""
        with self._filled:
            self.is_closed = True
            self._filled.notify_all()

    @property
    def may_get_more(self) -> bool:
        """Whether a lane that finds nothing is to wait for more."""
        return not self.is_closed

    def seconds_to_turn(self) -> float:
        """Return 0: the kernel keeps the rate."""
        return 0.0

    def halt(self) -> None:
        """Start nothing more of what has come: an item failed, and the job is to fail fast."""
        with self._filled:
            self._empty()

    def __len__(self) -> int:
        """Return the number of items that have not begun."""
        return len(self._items)

    def _empty(self) -> None:
        while True:
            try:
                self._back.append(self._items.pop())
            except IndexError:
                return


_TELL_SECONDS = 0.05
"""How long an outcome may wait for others to be sent with; one of a notable item goes at once."""
_IDLE_SECONDS = 1.0
_END_SECONDS = 3.0
"""How long a lane may take to end when it has nothing to do."""


# Prefect pickles the task by value: it refers to one function, by its name.
@task(name="process lane", persist_result=False, cache_policy=NO_CACHE)
def run_remote_lane(lane: str, route: Route, settings: LaneSettings) -> Any:
    """Work through what the kernel sends until it closes the lane."""
    return work_for(lane, route, settings)


def work_for(lane: str, route: Route, settings: LaneSettings) -> State[Any]:
    """Connect to the kernel and work through what it sends, until it closes the lane.

    Args:
        lane: Which lane this is.
        route: How to reach the kernel.
        settings: How items run.
    """
    context = TaskRunContext.get()
    keep_logging_apart(is_worker=True)
    is_alone = runs_alone() and not (settings.is_async and settings.slots > 1)
    if settings.surroundings is not None:
        settle_in(settings.surroundings)
    capture.install()
    try:
        mark = open_mark(settings.mark) if settings.mark is not None else None
        try:
            connection = route.connect(lane)
        except OSError as error:
            # Such as the second run of a lane whose worker died: the kernel has given its items to others.
            return Completed(message=f"Nothing to do: {error}")
        remote = _WorkersEnd(connection, functools.partial(route.connect, lane), settings, mark)
        fence = redirected_descriptors() if is_alone else contextlib.nullcontext()
        try:
            with fence, private_settings():
                # What items set in context variables ends with the lane.
                failed = copy_context().run(remote.run, context.task_run.id if context else None)
        finally:
            remote.close()
    finally:
        capture.uninstall()
        if settings.surroundings is not None:
            note_modules()
    told = f"{remote.lane.pulled:,} items" + (f", {failed:,} failed" if failed else "")
    return Failed(message=told) if failed else Completed(message=told)


class _WorkersEnd:
    """A lane, and the two threads that talk with the kernel about it."""

    def __init__(
        self, connection: Connection, connect: Callable[[], Connection], settings: LaneSettings, mark: Any
    ) -> None:
        self._connection = connection
        self._connect = connect
        self._is_second = False
        """Whether the connection is a second one, since an item has closed the first."""
        self._sending = threading.Lock()
        self._mark = mark
        self._wake = threading.Event()
        self._over = threading.Event()
        self._calls = Calls()
        self._rounds = Rounds()
        self._queue = Inbox(self._wake.set)
        self._unread: list[Outcome] = []
        self._is_lost = False
        """Whether the function could not be read: the job crashes for it."""
        self._sent: dict[int, list[Outcome]] = {}
        """What was told, by number, until the kernel says that it could read it."""
        self._work = LaneWork(
            work=self._calls,  # type: ignore[arg-type]  # as much of it as a lane uses
            queue=self._queue,  # type: ignore[arg-type]  # as above
            state=self._rounds,  # type: ignore[arg-type]  # as above
            wake=self._wake.set,
            is_async=settings.is_async,
            retries=settings.retries,
            retry_delay=settings.retry_delay,
            timeout=settings.timeout,
            fail_fast=settings.fail_fast,
            queued=settings.queued,
            lane_seconds=float("inf"),
        )
        name = settings.worker
        self.lane = AsyncLane(self._work, name, settings.slots) if settings.is_async else Lane(self._work, name)
        if mark is not None and settings.is_async:
            self.lane.running = Marked(mark)
        elif mark is not None:
            self.lane.mark = mark
        self._has_own_process = settings.surroundings is not None

    def run(self, task_run_id: Any) -> int:
        """Work on the calling thread, which is the process's main thread: a timeout can interrupt it."""
        teller = self._thread(self._tell, "teller")
        self._thread(self._listen, "listener")
        try:
            return self.lane.run(task_run_id)
        finally:
            self._over.set()
            self._wake.set()
            teller.join()

    def close(self) -> None:
        """Let go of the connection; end a process that an item has left unable to say how its task run ended."""
        with contextlib.suppress(OSError):
            self._connection.close()
        if self._mark is not None and (self._is_second or not can_talk()):
            os._exit(1)

    def _thread(self, talk: Callable[[], None], name: str) -> threading.Thread:
        def run() -> None:
            try:
                talk()
            except BaseException:
                # A worker that cannot talk is of no use; the kernel notices its end, and says which item it ran.
                if self._has_own_process:
                    os._exit(1)
                self._queue.close()
                self.lane.stir()

        thread = threading.Thread(target=run, name=f"nbfutures lane {name}", daemon=True)
        thread.start()
        return thread

    # --- what the kernel says ----------------------------------------------------------------------------------------

    def _listen(self) -> None:
        while True:
            connection = self._connection
            try:
                what, *rest = unpack(connection.recv_bytes())
            except (EOFError, OSError):
                if self._reconnect(connection):
                    continue
                # The kernel is gone, or has let go of the lane.
                what = "close"
            if what == "items":
                self._take_items(*rest)
            elif what == "function":
                self._take_function(*rest)
            elif what == "ok":
                self._sent.pop(rest[0], None)
            elif what == "resend":
                told = self._sent.pop(rest[0], [])
                self._send("singly", [(one.index, pack_outcomes([one], is_careful=True)) for one in told])
            elif what == "back":
                self._queue.give_back()
                self._wake.set()
            elif what == "ping":
                continue
            else:
                self._queue.close()
                self.lane.stir()
                self._see_to_the_end()
                return

    def _take_items(self, indices: list[int], extras: dict[int, tuple[int, int]], payload: bytes) -> None:
        if self._is_lost:
            return
        try:
            with self._marked(READING, indices):
                code, is_sealed, are_positional, given = unpack(payload)
        except Exception as error:
            self._cannot_read(indices, error)
            return
        self._calls.take(indices, zip(*given, strict=True) if are_positional else given, code, is_sealed=is_sealed)
        for index, (round_, tries) in extras.items():
            self._rounds.rounds[index] = round_
            self._work.tried[index, round_] = tries
        self._queue.put(indices)
        self.lane.stir()

    @contextlib.contextmanager
    def _marked(self, place: int, indices: list[int]) -> Iterator[None]:
        """Within it, the kernel can read which items would be to blame for the end of this process."""
        if self._mark is not None and indices:
            self._mark[place] = indices[0] if len(indices) == 1 else SEVERAL
        yield
        if self._mark is not None:
            self._mark[place] = NOTHING

    def _cannot_read(self, indices: list[int], error: Exception) -> None:
        if len(indices) > 1:
            self._send("unreadable", indices)
            return
        (index,) = indices
        told = unreadable_arguments(index, error)
        now = self._rounds.clock.now()
        self._unread.append(Outcome(index, OutcomeKind.FAILED, None, told, self._work.queued, None, now))
        self._wake.set()

    def _take_function(self, payload: bytes) -> None:
        try:
            self._calls.replace(*unpack(payload))
            # As they are now: an edit may come before the lane's end.
            note_modules()
        except Exception as error:
            self._is_lost = True
            self._send("problem", words(error))

    def _see_to_the_end(self) -> None:
        """End the process if the lane has nothing to do and does not end, such as for a thread that it waits for."""
        while not self._over.wait(_END_SECONDS):
            if not self.lane.running and self._has_own_process:
                os._exit(1)

    # --- what the kernel is told ------------------------------------------------------------------------------------

    def _tell(self) -> None:
        """Send what has happened, until the lane is over and all is told."""
        known: dict[int, float] = {}
        number = 0
        while True:
            self._wake.wait(_TELL_SECONDS if self.lane.running or self.lane.records else _IDLE_SECONDS)
            is_over = self._over.is_set()
            self._wake.clear()
            later, back = self._queue.take_later(), self._queue.take_back()
            told = self.lane.drain()
            running = dict(self.lane.running)
            if self._unread:
                unread, self._unread = self._unread, []
                told += unread
            if told or running != known:
                known = running
                number += 1
                indices = [one.index for one in told]
                self._sent[number] = told
                # A value may end the process while it is pickled: the item that runs by now has nothing to do with it.
                with self._marked(TELLING, indices):
                    payload = pack_outcomes(told)
                self._send("told", number, running, payload)
                for index in indices:
                    self._calls.arguments.pop(index, None)
            del told
            if later:
                now = self._rounds.clock.now()
                self._send("later", [(index, max(when - now, 0.0)) for index, when in later])
            if back is not None:
                for index in back:
                    self._calls.arguments.pop(index, None)
                self._send("back", back)
            if is_over:
                return
            # Others may come with the next message.
            time.sleep(_TELL_SECONDS / 25)

    def _send(self, *message: Any) -> None:
        data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        while True:
            connection = self._connection
            try:
                with self._sending:
                    connection.send_bytes(data)
            except (OSError, ValueError):
                if self._reconnect(connection):
                    continue
                # The kernel has let go of the lane.
                self._queue.close()
                self.lane.stir()
            return

    def _reconnect(self, broken: Connection) -> bool:
        """Reach the kernel once more, where an item has closed the connection, and tell what may have been lost.

        No further item begins in this process: who knows what else was closed.
        """
        with self._sending:
            if self._connection is not broken:
                return True
            if self._mark is None or self._is_second:
                return False
            try:
                self._connection = self._connect()
            except (OSError, EOFError, AuthenticationError):
                return False
            self._is_second = True
        self._queue.give_back()
        self._queue.close()
        self.lane.stir()
        for number, told in list(self._sent.items()):
            self._send("told", number, dict(self.lane.running), pack_outcomes(told))
        self._wake.set()
        return True

"""Items that come from iterators while the job runs, read on a thread of their own and no faster than needed."""

from __future__ import annotations

import functools
import inspect
import sys
import threading
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from nbfutures.engine.work_queue import WorkQueue
from nbfutures.errors import ItemCancelledError, JobCrashedError, MapArgumentsError
from nbfutures.model.outcome import ATOMS, OutcomeKind

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence

    from nbfutures.engine.contracts import Run
    from nbfutures.model.outcome import Outcome

__all__ = ["ItemStream", "Kept", "StreamQueue", "is_unsized", "reader_of"]

_PUBLISHED_PER_FRESH = 8
"""Items that wait to be handed out for each that was read and is not among them yet: telling of each costs time."""
_HEAVY_BYTES = 10_000
_MOST_BYTES = 64_000_000
"""Arguments of items that have not ended, beside those that the workers need."""
_KEPT_BYTES = 1_000
"""What is larger is let go of when its item has completed."""
_KEPT_DEPTH = 3
_KEPT_LENGTH = 30
_MOST_AHEAD = 1024
"""Items that wait to be handed out, however fast they are taken."""
_PATIENCE_SECONDS = 0.3
"""A lane that finds nothing waits so long for more before it ends."""
_LOOK_SECONDS = 1.0


def is_unsized(value: Any) -> bool:
    """Tell whether nobody knows how many items an iterable has: it is a generator, or another iterator."""
    try:
        len(value)
    except Exception:
        return True
    return False


def reader_of(value: Any) -> Iterator[Any]:
    """Return an iterator over an iterable or an async generator, which is awaited where the coroutines of jobs run."""
    return _awaited(value) if inspect.isasyncgen(value) else iter(value)


def _awaited(made: AsyncGenerator[Any, Any]) -> Iterator[Any]:
    from nbfutures.engine.shared_loop import run_shared

    while True:
        try:
            value = run_shared(made.__anext__())
        except StopAsyncIteration:
            return
        yield value


class Kept(dict[int, Any]):
    """The arguments of one parameter: item to value, of those that have come."""

    def let_go(self, index: int) -> None:
        """Keep of a value no more than tables show, where it is large: its item has completed."""
        value = self[index]
        if type(value) not in ATOMS or sys.getsizeof(value) > _KEPT_BYTES:
            weight = _weight(value, _KEPT_DEPTH)
            if weight is None or weight > _KEPT_BYTES:
                self[index] = _Gone(value)


class _Gone:
    """Stands in tables for an argument that was let go of."""

    __slots__ = ("_words",)

    def __init__(self, value: Any) -> None:
        kind = type(value).__name__
        try:
            shape = getattr(value, "shape", None)
            size = " x ".join(f"{one:,}" for one in shape) if isinstance(shape, tuple) else f"of {len(value):,}"
        except Exception:
            size = ""
        self._words = f"<{kind} {size}>" if size else f"<{kind}>"

    def __repr__(self) -> str:
        return self._words


def _weight(value: Any, depth: int) -> int | None:
    """Return about how many bytes a value of builtin types takes; `None` for what is deep, long or of another type."""
    if type(value) in ATOMS:
        return sys.getsizeof(value)
    if type(value) is dict:
        parts: Sequence[Any] = [*value.keys(), *value.values()]
    elif type(value) in {list, tuple, set, frozenset} or (isinstance(value, tuple) and hasattr(type(value), "_fields")):
        # Named tuples are rows of a table.
        parts = list(value) if len(value) <= _KEPT_LENGTH else value
    else:
        return None
    if depth == 0 or len(parts) > 2 * _KEPT_LENGTH:
        return None
    total = sys.getsizeof(value)
    for part in parts:
        weight = _weight(part, depth - 1)
        if weight is None:
            return None
        total += weight
    return total


def _bytes_of(value: Any) -> int:
    """Return about how many bytes a value holds, as far as that is known without looking into it."""
    if type(value) in {bytes, bytearray, str}:
        return len(value)
    size = getattr(value, "nbytes", 0) if type(value).__module__ == "numpy" else 0
    return size if isinstance(size, int) else 0


class ItemStream:
    """Reads the arguments of a job's calls from iterators, side by side.

    They are read on one thread, in the context of whoever made the job; with the runner `inline` in the thread that
    asked for it, between the items.

    Args:
        columns: Where the values go, by parameter name.
        sources: What to read, by parameter name: iterators, or lists.
        note: Tells what came, once it is in the columns: the first index, and how many there are by now.
    """

    def __init__(
        self, columns: Mapping[str, Kept], sources: Mapping[str, Any], note: Callable[[int, int], Sequence[int]]
    ) -> None:
        self._columns = list(columns.values())
        self._lengths = {name: len(source) for name, source in sources.items() if isinstance(source, list | range)}
        self._readers = {name: reader_of(source) for name, source in sources.items()}
        self._note = note
        self._context = copy_context()
        self.limit: int | None = None
        """Items to read at most, for a sample: told together when the last is there."""
        self.ended = threading.Event()
        """Set once nothing more comes."""
        self.error: BaseException | None = None
        """Why it ended early, which nothing can mend."""
        self.is_begun = False
        self._words = ""
        self._fresh: list[tuple[Any, ...]] = []
        self._count = 0
        self._told = 0
        self._heavy: dict[int, int] = {}
        self._bytes = 0
        self._are_heavy = False
        """Whether some have been large, so that the next ones may be."""
        self._lock = threading.RLock()
        """Held to tell of items, and to end."""

    @property
    def is_cut(self) -> bool:
        """Whether a sample was taken, after which there may be more."""
        return self._count == self.limit

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes."""
        return self.ended.is_set()

    # --- from any thread -------------------------------------------------------------------------------------------

    def begin(
        self,
        run: Run,
        take: Callable[[Sequence[int], Sequence[int]], None],
        queue: StreamQueue | None = None,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        """Read from now on, unless the job has been cancelled. Does not block.

        Args:
            run: The job, which is open-ended.
            take: Told which items have come, and which of them have arguments that are to be resolved.
            queue: Where items wait to be handed out: no more are read than it wants; without one, all.
            wake: Wakes the dispatcher.
        """
        with self._lock:
            self._run, self._take, self._queue, self._wake = run, take, queue, wake
            if run.stopped.is_set():
                run.state.set_open_ended(is_open=False)
                return
            if queue is not None and not self.is_over:
                queue.open(self)
            if self.is_begun:
                return
            self.is_begun = True
        threading.Thread(
            target=self._context.run, args=(self._read,), name=f"nbfutures {run.name} items", daemon=True
        ).start()

    def stop(self, run: Run, *, told: BaseException | None = None) -> None:
        """Read nothing more; what was read is told first. Does not wait for an iterator that blocks.

        Args:
            run: The job.
            told: What its result is to raise if there would have been more.
        """
        with self._lock:
            if self.is_over:
                return
            if not self.is_begun:
                # Nothing was read: a retry begins anew.
                run.state.set_open_ended(is_open=False)
                return
            self._end(told)

    def publish(self) -> None:
        """Tell of the items that were read and not told of."""
        if not self._fresh:
            return
        with self._lock:
            if not self.is_over and self.limit is None:
                self._hand_out(*self._keep())

    def let_go(self, outcomes: Iterable[Outcome], run: Run) -> None:
        """Take in that items ended: large arguments of those that completed are kept no longer."""
        if self._heavy:
            with self._lock:
                self._bytes -= sum(self._heavy.pop(one.index, 0) for one in outcomes)
            if self._queue is not None:
                self._queue.ask()
        if self.limit is not None:
            return
        outcome_of = run.state.outcome
        for one in outcomes:
            if one.kind is OutcomeKind.COMPLETED and outcome_of(one.index) is one:
                for column in self._columns:
                    column.let_go(one.index)

    def room(self, ready: int, ahead: int, needed: int) -> int:
        """Return how many more items are wanted.

        Args:
            ready: Items that wait to be handed out.
            ahead: How many are to wait.
            needed: How many the workers can have at once.
        """
        if self.limit is not None:
            return self.limit - self._count
        most = max(ahead - ready - len(self._fresh), 0)
        if not self._are_heavy or not most:
            return most
        if self._bytes < _MOST_BYTES or len(self._heavy) < needed:
            # How large the next ones are is not known.
            return 1
        # What has ended counts until it is told.
        self._wake()
        return 0

    # --- on the thread that reads ------------------------------------------------------------------------------------

    def _read(self) -> None:
        caller = self._run.caller
        problem = self._read_all(self._next if caller is None else functools.partial(caller.call, self._next))
        # Here, since a generator that nobody else holds ends with it, and may have much to do then.
        self._readers.clear()
        if caller is not None and isinstance(problem, KeyboardInterrupt):
            self._run.cancel()
            return
        with self._lock:
            if not self.is_over:
                self._end(problem)

    def _read_all(self, read: Callable[[], tuple[Any, ...] | None]) -> BaseException | None:
        """Read until the end, or until something is raised, which is returned."""
        queue = self._queue
        try:
            while not self.is_over and (most := 1 if queue is None else queue.wait_until_wanted()):
                for _ in range(most if self.limit is None else min(most, self.limit - self._count)):
                    row = read()
                    if row is None or self.is_over:
                        return None
                    self._fresh.append(row)
                    self._count += 1
                    if queue is None or len(self._fresh) * _PUBLISHED_PER_FRESH >= len(queue):
                        self.publish()
                    if queue is not None and (queue.is_halted or self._are_heavy):
                        break
                if self._count == self.limit:
                    return None
        except BaseException as error:
            return error
        return None

    def _next(self) -> tuple[Any, ...] | None:
        """Return the next item's arguments, in the order of the columns; `None` at the end."""
        row: list[Any] = []
        ended: list[str] = []
        for name, reader in self._readers.items():
            try:
                row.append(next(reader))
            except StopIteration:
                ended.append(name)
            except BaseException as error:
                explained = self._explained(name, error)
                if explained is error:
                    raise
                raise explained from error
        if not ended:
            return tuple(row)
        if not row:
            return None
        longer = [name for name in self._readers if name not in ended]
        told = ", ".join(
            f"{name} has {self._lengths[name]:,}"
            if name in self._lengths
            else (f"{name} ended after {self._count:,}" if name in ended else f"{name} goes on after {self._count:,}")
            for name in self._readers
        )
        raise MapArgumentsError(
            f"The iterables have different lengths: {told}. What came before is in the job. To map over so many as the "
            f"shortest has, cut the others: itertools.islice({longer[0]}, {self._count})."
        )

    def _explained(self, name: str, error: BaseException) -> BaseException:
        told = (
            f"The iterator for {name!r} raised this after {self._count:,} items, which are kept: see job.frame(). "
            f"It is read in a thread of the job; to have it read in the cell, give list(...) of it."
        )
        kind = type(error).__name__
        self._words = f"The iterator for {name!r} raised {kind}: {error} after {self._count:,} items, which are kept."
        if not isinstance(error, Exception) and not (
            isinstance(error, KeyboardInterrupt) and self._run.caller is not None
        ):
            error = JobCrashedError(f"The iterator for {name!r} raised {type(error).__name__}: {error}")
        error.add_note(told)
        return error

    # --- with the lock held ------------------------------------------------------------------------------------------

    def _keep(self) -> tuple[Sequence[int], Sequence[int]]:
        """Put what was read into the columns and the job; return the items, and those that are to be resolved."""
        rows, self._fresh = self._fresh, []
        first = self._told
        self._told += len(rows)
        for column, values in zip(self._columns, zip(*rows, strict=True), strict=False):
            column.update(enumerate(values, first))
        for index, row in enumerate(rows, first):
            size = sum(map(_bytes_of, row))
            if size > _HEAVY_BYTES:
                self._heavy[index] = size
                self._are_heavy = True
                self._bytes += size
        special = self._note(first, self._told)
        return self._run.state.grow(len(rows)), special

    def _hand_out(self, indices: Sequence[int], special: Sequence[int]) -> None:
        if indices:
            self._take(indices, special)

    def _end(self, problem: BaseException | None) -> None:
        last = self._keep()
        self.ended.set()
        state = self._run.state
        if problem is not None:
            if not isinstance(problem, ItemCancelledError):
                self.error = problem
            state.crash(problem, self._words)
        # Before the items of a sample run: its report is made when the last of them has.
        state.set_open_ended(is_open=False)
        self._hand_out(*last)
        if self._queue is not None:
            self._queue.close()
        self._wake()


class StreamQueue(WorkQueue):
    """A queue whose items come from iterators while the job runs; asks for more as its items are taken.

    Args:
        needed: Items that the job's workers can have at once: as many wait here, and more where that was too few.
        rate: As for every queue.
        now: As for every queue.
    """

    def __init__(self, needed: int, *, rate: float | None, now: Callable[[], float]) -> None:
        super().__init__((), rate=rate, now=now)
        self._needed = needed
        self._ahead = needed
        self._stream: ItemStream | None = None
        self._wanted = threading.Event()
        self._holds_back = False
        self._changed = threading.Condition()

    @property
    def may_get_more(self) -> bool:  # type: ignore[override]
        """Whether the iterators have not ended."""
        return self._stream is not None

    def open(self, stream: ItemStream) -> None:
        """Have items come from a stream."""
        self._stream = stream

    def close(self) -> None:
        """Expect no more."""
        self._stream = None
        self._wanted.set()
        self._stir()

    def pull(self) -> int | None:
        """Take the next item, waiting a little where there is none yet; otherwise as every queue."""
        while not self._halted.is_set():
            if len(self):
                index = super().pull()
                if index is not None:
                    return index
            elif self._stream is None or not self._wait_for_more():
                return None
        return None

    def put(self, indices: Iterable[int]) -> None:
        """Add items that can run now."""
        super().put(indices)
        self._stir()

    def halt(self) -> None:
        """Hand out nothing more until `go_on`, and ask for nothing."""
        super().halt()
        self._stir()

    def go_on(self) -> None:
        """Hand out items again."""
        super().go_on()
        self.ask()

    def try_pull_many(self, most: int) -> list[int]:
        """Take up to so many items that may start now; never waits."""
        pulled = super().try_pull_many(most)
        self._note_taken(is_dry=len(pulled) < most)
        return pulled

    def ask(self) -> None:
        """Have the stream look whether there is room for more."""
        if not self._wanted.is_set():
            self._wanted.set()

    @property
    def is_halted(self) -> bool:
        """Whether nothing is handed out."""
        return self._halted.is_set()

    def wait_until_wanted(self) -> int:
        """Block until there is room for more items; on the thread that reads them.

        Returns:
            For how many; 0 if nothing more will be wanted.
        """
        while (stream := self._stream) is not None:
            self._wanted.clear()
            if not self._halted.is_set() and (room := stream.room(len(self._ready), self._ahead, self._needed)):
                return room
            stream.publish()
            self._holds_back = True
            if not self._wanted.wait(_LOOK_SECONDS):
                self._ahead = max(self._ahead // 2, self._needed)
            self._holds_back = False
        return 0

    def _take(self) -> int | None:
        index = super()._take()
        self._note_taken(is_dry=index is None)
        return index

    def _note_taken(self, *, is_dry: bool) -> None:
        if 2 * len(self._ready) > self._ahead:
            return
        if is_dry and self._holds_back:
            # There was room for more, which would have been there by now.
            self._holds_back = False
            self._ahead = min(2 * self._ahead, max(_MOST_AHEAD, self._needed))
        if not self._wanted.is_set():
            self._wanted.set()

    def _wait_for_more(self) -> bool:
        """Wait for an item, the end, or a halt; return whether there is one of them soon enough."""
        self._note_taken(is_dry=True)
        with self._changed:
            return self._changed.wait_for(
                lambda: bool(self._ready) or self._stream is None or self._halted.is_set(), _PATIENCE_SECONDS
            )

    def _stir(self) -> None:
        with self._changed:
            self._changed.notify_all()

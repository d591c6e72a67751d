"""Waiting for a job: in a thread, and in an event loop that is not to be blocked."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from nbfutures.errors import ItemCancelledError, ItemExitedError
from nbfutures.model.outcome import OutcomeKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from nbfutures.model.events import JobEvent
    from nbfutures.model.job_state import JobState
    from nbfutures.model.outcome import Outcome

__all__ = [
    "as_settled",
    "as_settled_async",
    "is_of_an_item",
    "not_exiting",
    "raisable",
    "wait",
    "wait_async",
    "wait_for_failure",
    "wait_for_item",
]


def wait(state: JobState, timeout: float | None = None) -> bool:
    """Block until every item is settled.

    Args:
        state: The job.
        timeout: Seconds to wait at most; `None` for no limit.

    Returns:
        Whether every item is settled.
    """
    return _wait_until(state, lambda: state.is_done, timeout)


def wait_for_item(state: JobState, index: int, timeout: float | None = None) -> Outcome:
    """Block until an item ended, and return its outcome.

    Args:
        state: The job.
        index: The item.
        timeout: Seconds to wait at most; `None` for no limit.

    Raises:
        TimeoutError: If it did not end in time.
    """
    # Most are asked for when they have ended: without the lock.
    outcome = state.outcome(index)
    if outcome is None and _wait_until(state, lambda: state.outcome(index) is not None, timeout):
        outcome = state.outcome(index)
    if outcome is None:
        raise TimeoutError(
            f"Item {index} of {state.name!r} did not end within {timeout or 0:g} s; it goes on. Wait longer, or cancel "
            f"the job with job.cancel()."
        )
    return outcome


def wait_for_failure(state: JobState, timeout: float | None, *, is_patient: bool) -> Outcome | None:
    """Block until every item is settled, or until one failed.

    Args:
        state: The job.
        timeout: Seconds to wait at most; `None` for no limit.
        is_patient: Whether to wait for the others, too, when one failed.

    Returns:
        The failure that was told first; `None` if there is none.

    Raises:
        TimeoutError: If it did not come to that in time.
    """
    if not _wait_until(state, lambda: state.is_done or (not is_patient and state.counts.failed > 0), timeout):
        raise _late(state, timeout)
    if not state.counts.failed:
        return None
    told, _ = state.settled_since(0)
    return next((outcome for outcome in told if outcome.kind is OutcomeKind.FAILED), None)


def as_settled(state: JobState, timeout: float | None = None) -> Iterator[Outcome]:
    """Yield each item's outcome once, as items end; blocks between them.

    Args:
        state: The job.
        timeout: Seconds for all of them; `None` for no limit.

    Raises:
        TimeoutError: If the job is not done in time.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    fresh = _Fresh(state)
    while True:
        is_done = state.is_done
        told = fresh.take()
        yield from told
        if told:
            continue
        if is_done:
            return
        left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
        if not _wait_until(state, lambda: state.is_done or state.has_settled_since(fresh.position), left):
            raise _late(state, timeout)


async def as_settled_async(state: JobState) -> AsyncIterator[Outcome]:
    """Yield each item's outcome once, as items end, without blocking the event loop."""
    fresh = _Fresh(state)
    async with _changes(state) as changed:
        while True:
            is_done = state.is_done
            told = fresh.take()
            for outcome in told:
                yield outcome
            if told:
                # Others in the loop get a turn, however fast the items end.
                await asyncio.sleep(0)
            elif is_done:
                return
            else:
                await changed.wait()
                changed.clear()


async def wait_async(state: JobState, is_over: Callable[[], bool], timeout: float | None = None) -> None:  # noqa: ASYNC109
    """Await that something is the case, which is asked at each change of the job.

    Args:
        state: The job.
        is_over: Whether there is nothing more to wait for.
        timeout: Seconds to wait at most; `None` for no limit.

    Raises:
        TimeoutError: If it did not become so in time.
    """
    async with _changes(state) as changed, asyncio.timeout(timeout):
        while not is_over():
            await changed.wait()
            changed.clear()


def raisable(outcome: Outcome) -> BaseException:
    """Return what to raise where the value of an item that did not complete is asked for."""
    error = outcome.error
    if error is None:
        return ItemCancelledError(f"Item {outcome.index} was cancelled. Run it with job.retry().")
    # Raising it before has added the frames of those who asked.
    error = error.with_traceback(outcome.traceback) if outcome.traceback is not None else error
    return not_exiting(error, f"Item {outcome.index}")


def not_exiting(error: BaseException, who: str) -> BaseException:
    """Return what to raise for an error: a `SystemExit` would end the script that asks, without a word.

    Args:
        error: The error.
        who: What has raised it.
    """
    if not isinstance(error, SystemExit):
        return error
    code = "" if error.code is None else repr(error.code)
    told = ItemExitedError(
        f"{who} called sys.exit({code}), or something that it uses did. It has failed; have it return, or raise "
        f"another error."
    )
    told.__cause__ = error
    return told


def is_of_an_item(error: BaseException, state: JobState) -> bool:
    """Tell whether an item of a job has raised an error, rather than who waits for it."""
    return any(outcome is not None and outcome.error is error for outcome in state.outcomes())


def _late(state: JobState, timeout: float | None) -> TimeoutError:
    counts = state.counts
    return TimeoutError(
        f"{state.name!r} was not done within {timeout or 0:g} s: {counts.settled:,} of {counts.total:,} items have "
        f"ended. It goes on; wait longer, or cancel it with job.cancel()."
    )


class _Fresh:
    """The outcomes that have not been taken, each item's once."""

    def __init__(self, state: JobState) -> None:
        self._state = state
        self._seen: set[int] = set()
        self.position = 0

    def take(self) -> list[Outcome]:
        told, self.position = self._state.settled_since(self.position)
        new = {outcome.index: outcome for outcome in told if outcome.index not in self._seen}
        self._seen.update(new)
        return list(new.values())


def _wait_until(state: JobState, is_so: Callable[[], bool], timeout: float | None) -> bool:
    deadline = None if timeout is None else time.monotonic() + timeout
    with state.changed:
        while not is_so():
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            state.changed.wait(left)
    return True


@asynccontextmanager
async def _changes(state: JobState) -> AsyncIterator[asyncio.Event]:
    """Give an event of the running loop that is set whenever the job changes."""
    loop = asyncio.get_running_loop()
    changed = asyncio.Event()

    def tell(_: JobEvent) -> None:
        # A loop that is closed waits for nothing any more.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(changed.set)

    unsubscribe = state.subscribe(tell)
    try:
        yield changed
    finally:
        unsubscribe()

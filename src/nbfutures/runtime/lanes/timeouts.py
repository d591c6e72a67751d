"""Items that ran out of time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from nbfutures.errors import ItemTimeoutError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nbfutures.runtime.lanes.lane import LaneWork

__all__ = ["GRACE_SECONDS", "STUCK_LOOP", "STUCK_THREAD", "give_up_late", "given_up_on", "timed_out"]

GRACE_SECONDS = 0.25
"""How long an item may take to notice its timeout before it is given up on."""
STUCK_THREAD = "a thread cannot be stopped from outside, so its call ends by itself."
STUCK_LOOP = (
    "it, or another item, blocked the event loop that they share: call what blocks by `await asyncio.to_thread(...)`."
)


class _Lane(Protocol):
    running: dict[int, float]

    def abandon(self, index: int) -> bool: ...


def give_up_late(work: LaneWork, lane: _Lane, timeout: float, grace: float) -> Iterator[tuple[int, float]]:
    """Give up on items that did not notice their timeout; yield those that are not tried again, and their start.

    Args:
        work: What the job's lanes share.
        lane: Where the items run.
        timeout: Seconds.
        grace: Seconds that an item may take to notice it.
    """
    now = work.state.clock.now()
    for index, started in lane.running.copy().items():
        if now - started < timeout + grace or not lane.abandon(index):
            continue
        if work.takes_another_try(index):
            work.queue.put_later(index, now + work.retry_delay)
        else:
            yield index, started


def given_up_on(timeout: float, why: str) -> ItemTimeoutError:
    """Return the error of an item that ran out of time and goes on all the same.

    Args:
        timeout: Seconds.
        why: Why it was not stopped.
    """
    return ItemTimeoutError(
        f"The item ran longer than its timeout of {timeout:g} s and was given up on; {why} Give it more time, or split "
        f"its work into smaller items."
    )


def timed_out(seconds: float) -> ItemTimeoutError:
    """Return the error of an item that ran out of time."""
    return ItemTimeoutError(
        f"The item ran longer than its timeout of {seconds:g} s. "
        f"Give it more time, or split its work into smaller items."
    )

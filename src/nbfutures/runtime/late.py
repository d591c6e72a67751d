"""Items that ran out of time."""

from __future__ import annotations

from nbfutures.errors import ItemTimeoutError

__all__ = ["GRACE_SECONDS", "STUCK_LOOP", "STUCK_THREAD", "given_up_on", "timed_out"]

GRACE_SECONDS = 0.25
"""How long an item may take to notice its timeout before it is given up on."""
STUCK_THREAD = "a thread cannot be stopped from outside, so its call ends by itself."
STUCK_LOOP = (
    "it, or another item, blocked the event loop that they share: call what blocks by `await asyncio.to_thread(...)`."
)


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

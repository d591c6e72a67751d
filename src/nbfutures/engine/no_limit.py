"""What holds a job's items back where no limit does: nothing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import threading

__all__ = ["NO_LIMIT", "NoLimit"]


class NoLimit:
    """Lets every item start; `Keeper` takes its place where the job has a limit."""

    is_limited = False
    """Whether there is something to ask for."""

    @property
    def free(self) -> int:
        """How many more items may start now."""
        return sys.maxsize

    def take(self, most: int) -> int:
        """Take slots for items that are about to start. Never blocks.

        Args:
            most: For how many.

        Returns:
            For how many there are slots now.
        """
        return most

    def give(self, count: int = 1) -> None:
        """Give back the slots of items that have ended, or did not start. Never blocks."""

    def want(self, count: int) -> None:
        """Say how many more items could start now if there were slots for them. Never blocks."""

    def wait_until_known(self, stop: threading.Event) -> BaseException | None:
        """Block until Prefect has said whether the limits exist, or until `stop` is set.

        Returns:
            Why the job cannot run, or `None`.
        """
        del stop
        return None

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Let go of everything."""


NO_LIMIT = NoLimit()

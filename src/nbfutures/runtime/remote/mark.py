"""Which item a worker runs, where the kernel can read it when the worker has died."""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
from pathlib import Path
from typing import Any

from nbfutures.runtime.kernel_directory import kernel_directory
from nbfutures.runtime.lanes.lane import NOTHING

__all__ = ["READING", "RUNNING", "SEVERAL", "TELLING", "Mark", "Marked", "open_mark"]

SEVERAL = -2
LAST = -3
"""An item that has ended, and was the last to begin, stands as this less its number."""
RUNNING, TELLING, READING = range(3)
"""Places of a mark: the item that runs, those whose outcomes are being pickled, and whose arguments are being read."""
_WIDTH = 8
_SIZE = 3 * _WIDTH


class Mark:
    """The kernel's view of three numbers in a small file; what a process wrote there stays when it is killed."""

    def __init__(self) -> None:
        number, self.path = tempfile.mkstemp(prefix="mark-", dir=kernel_directory())
        try:
            os.write(number, 3 * NOTHING.to_bytes(_WIDTH, "little", signed=True))
            self._map = mmap.mmap(number, _SIZE)
        finally:
            os.close(number)

    def read(self, place: int = RUNNING) -> int:
        """Return the item that is in a place, `NOTHING`, or `SEVERAL`."""
        start = place * _WIDTH
        found = int.from_bytes(self._map[start : start + _WIDTH], "little", signed=True)
        return found if found >= SEVERAL else NOTHING

    @property
    def last(self) -> int:
        """The item that began last, whether or not it has ended; `NOTHING` or `SEVERAL` where that is not one."""
        found = int.from_bytes(self._map[:_WIDTH], "little", signed=True)
        return LAST - found if found <= LAST else found

    def close(self) -> None:
        """Let go of the file; nothing can be read any more."""
        self.remove()
        self._map.close()

    def remove(self) -> None:
        """Remove the file's name; who has opened it goes on to share it."""
        with contextlib.suppress(OSError):
            Path(self.path).unlink()


def open_mark(path: str) -> Any:
    """Return the numbers as the worker writes them: a view with three elements."""
    with Path(path).open("r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), _SIZE)).cast("q")


class Marked(dict[int, float]):
    """The running items of a lane that may run several at once, of which one that runs alone is marked.

    Args:
        mark: From `open_mark`.
    """

    def __init__(self, mark: Any) -> None:
        super().__init__()
        self._mark = mark

    def __setitem__(self, index: int, started: float) -> None:
        super().__setitem__(index, started)
        self._mark[0] = index if len(self) == 1 else SEVERAL

    def pop(self, index: int, default: Any = None) -> Any:
        """As `dict.pop`."""
        started = super().pop(index, default)
        left = len(self)
        self._mark[0] = NOTHING if not left else next(iter(self)) if left == 1 else SEVERAL
        return started

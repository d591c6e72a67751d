"""Which item a worker runs, where the kernel can read it when the worker has died."""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
from pathlib import Path
from typing import Any

from nbfutures.runtime.lane import NOTHING

__all__ = ["SEVERAL", "Mark", "Marked", "open_mark"]

SEVERAL = -2
_SIZE = 8


class Mark:
    """The kernel's view of one number in a small file; what a process wrote there stays when it is killed."""

    def __init__(self) -> None:
        number, self.path = tempfile.mkstemp(prefix="nbfutures-mark-")
        try:
            os.write(number, NOTHING.to_bytes(_SIZE, "little", signed=True))
            self._map = mmap.mmap(number, _SIZE)
        finally:
            os.close(number)

    def read(self) -> int:
        """Return the item that runs, `NOTHING`, or `SEVERAL`."""
        return int.from_bytes(self._map[:_SIZE], "little", signed=True)

    def remove(self) -> None:
        """Remove the file's name; who has opened it goes on to share it."""
        with contextlib.suppress(OSError):
            Path(self.path).unlink()


def open_mark(path: str) -> Any:
    """Return the number as the worker writes it: a view with one element."""
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

"""Which item a worker runs, where the kernel can read it when the worker has died."""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbfutures.engine.lanes import NOTHING
from nbfutures.engine.workers.kernel_directory import kernel_directory
from nbfutures.errors import ItemCancelledError, ItemTimeoutError, JobCrashedError, WorkerDiedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nbfutures.engine.workers.contracts import RemoteRunner

__all__ = [
    "GRACE_SECONDS",
    "READING",
    "RUNNING",
    "SEVERAL",
    "TELLING",
    "Mark",
    "Marked",
    "Silence",
    "cancelled_in_mid_run",
    "no_worker",
    "open_mark",
    "out_of_time",
    "worker_died",
]

GRACE_SECONDS = 0.5
"""How long an item may take to notice its timeout, or a cancel, before its process is ended."""


def cancelled_in_mid_run(index: int) -> ItemCancelledError:
    """Return the error of an item whose process was stopped by a cancel."""
    return ItemCancelledError(f"Item {index} was stopped by the cancel while it ran. Run it with job.retry().")


def out_of_time(timeout: float, *, was_ended: bool) -> ItemTimeoutError:
    """Return the error of an item that did not notice its timeout.

    Args:
        timeout: Seconds.
        was_ended: Whether its worker was ended for it.
    """
    how = "its process was ended" if was_ended else "it was given up on; its call ends by itself"
    return ItemTimeoutError(
        f"The item ran longer than its timeout of {timeout:g} s, and {how}. Give it more time, or split its work into "
        f"smaller items."
    )


def worker_died(kind: str, index: int, problem: BaseException | None) -> WorkerDiedError:
    """Return the error of an item that ended its worker.

    Args:
        kind: What people call the worker.
        index: The item.
        problem: What is known of it.
    """
    told = f" ({problem})" if problem is not None else ""
    return WorkerDiedError(
        f"The {kind} that ran item {index} ended under it{told}: it ran out of memory, crashed, was stopped, or "
        f"called os._exit. "
        f"The other items go on in a new one; run this one again with job.retry()."
    )


def no_worker(kind: str, problem: BaseException | None) -> JobCrashedError:
    """Return the error of a job whose workers do not start to work."""
    if kind != "process":
        return JobCrashedError(
            f"No {kind} takes up the work ({problem}). Its workers need nbfutures and Prefect, in the versions of this "
            f"kernel, and have to reach the Prefect server if that is not local. Or use runner='processes'."
        )
    return JobCrashedError(
        f"Worker processes end before they can work ({problem}). In a script, put what starts jobs below "
        f'`if __name__ == "__main__":`. Else the task runs in Prefect\'s UI (job.url) say more. '
        f"Or use runner='threads'."
    )


_LOOK_SECONDS = 1.0
_LOOKS = 5
"""So often in a row a worker has to be found silent: looks are counted, as the kernel itself may have been stopped."""


class Silence:
    """Looks, once a second, which workers are silent, and ends those that stay so.

    An item that computes for an hour, holding the interpreter, is not silent: its process runs, and is connected.

    Args:
        runner: Where the work runs.
    """

    def __init__(self, runner: RemoteRunner) -> None:
        self._runner = runner
        self._next_look = 0.0
        self._looks: Counter[Any] = Counter()
        self._ended: set[Any] = set()

    def look(self, futures: Iterable[Any], cut_off: Iterable[Any] = ()) -> None:
        """End the workers that were silent for some seconds; what they ran is to blame, as for any worker's end.

        Args:
            futures: What runs.
            cut_off: Those of it that are not connected any more, with items of which nothing is known.
        """
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_SECONDS
        lost = set(cut_off)
        silent = [one for one in futures if one in lost or self._runner.is_stopped(one)]
        self._looks = Counter({one: self._looks[one] + 1 for one in silent})
        for one, looks in self._looks.items():
            if looks >= _LOOKS and one not in self._ended and self._runner.kill(one):
                self._ended.add(one)


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

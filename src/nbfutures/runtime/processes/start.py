"""What a worker process does first."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import stat
import sys
import threading
from pathlib import Path

__all__ = ["can_talk", "mend_main", "start_worker"]

_STREAMS = 2
"""The last number of the standard streams."""


def mend_main() -> None:
    """Have the main module as `multiprocessing` expects it: IPython's `%reset` empties it."""
    main = sys.modules.get("__main__")
    if main is not None and not hasattr(main, "__spec__"):
        main.__spec__ = None


def start_worker() -> None:
    """Leave interrupts to the kernel, end with it, and have random numbers of one's own."""
    # An interrupt of the kernel is meant for the cell.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, name="nbfutures parent", daemon=True).start()
    # `random` does this by itself.
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()
    _note_pipes()


_talks_by: dict[int, tuple[int, int]] = {}
"""The open pipes and sockets of this process when it began, by their numbers: the kernel is at the other ends."""


def _note_pipes() -> None:
    try:
        numbers = [int(one.name) for one in Path("/proc/self/fd").iterdir()]
    except OSError:
        return
    for number in numbers:
        with contextlib.suppress(OSError):
            status = os.fstat(number)
            if number > _STREAMS and (stat.S_ISFIFO(status.st_mode) or stat.S_ISSOCK(status.st_mode)):
                _talks_by[number] = status.st_dev, status.st_ino


def can_talk() -> bool:
    """Tell whether this worker process still has what it talks by: an item may have closed or replaced that."""
    try:
        return all(
            (status.st_dev, status.st_ino) == known
            for number, known in _talks_by.items()
            for status in (os.fstat(number),)
        )
    except OSError:
        return False


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        # Nobody is left to tell anything.
        os._exit(1)

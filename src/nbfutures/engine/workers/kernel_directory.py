"""One folder for the files that a kernel and its workers share; what killed kernels left is removed."""

from __future__ import annotations

import contextlib
import multiprocessing.util
import os
import shutil
import sys
import tempfile
import threading
from pathlib import Path

from nbfutures.engine.process_lock import ProcessLock, is_held

__all__ = ["kernel_directory", "note_temporary"]

_PREFIX = "nbfutures-kernel-"
_LOCK = "lock"
_OTHERS = "others"
_LAST = -200
_lock = threading.Lock()
_own: tuple[Path, ProcessLock] | None = None


def kernel_directory() -> Path:
    """Return this kernel's folder in the temporary directory, which goes when the kernel ends; made at the first call.

    Only its user can look into it. Folders of kernels that were killed are removed then.
    """
    global _own  # noqa: PLW0603 - one for each kernel
    with _lock:
        if _own is None or _own[1].closed or not _own[0].exists():
            place = Path(tempfile.mkdtemp(prefix=_PREFIX))
            held = ProcessLock.acquire(place / _LOCK)
            assert held is not None, "a new file is nobody else's"
            _own = place, held
            # After what `multiprocessing` removes of it by itself; not in children that were forked.
            multiprocessing.util.Finalize(None, shutil.rmtree, args=(place, True), exitpriority=_LAST)
            _remove_left(place)
        return _own[0]


def note_temporary(folder: str) -> None:
    """Have a folder removed too that a library made for this kernel, if the kernel is killed; else the library does."""
    with contextlib.suppress(OSError), (kernel_directory() / _OTHERS).open("a", encoding="utf-8") as file:
        file.write(f"{folder}\n")


def _remove_left(own: Path) -> None:
    for place in own.parent.glob(f"{_PREFIX}*"):
        lock = place / _LOCK
        # Without a lock it is being made, or removed.
        if place == own or not lock.exists() or not _is_mine(place) or is_held(lock):
            continue
        with contextlib.suppress(OSError):
            for line in (place / _OTHERS).read_text(encoding="utf-8").splitlines():
                other = Path(line)
                if other.parent == own.parent and other.name.startswith("pymp-") and _is_mine(other):
                    shutil.rmtree(other, ignore_errors=True)
        shutil.rmtree(place, ignore_errors=True)


def _is_mine(place: Path) -> bool:
    try:
        status = place.lstat()
    except OSError:
        return False
    return sys.platform == "win32" or status.st_uid == os.getuid()

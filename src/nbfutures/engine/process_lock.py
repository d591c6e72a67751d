"""Locks that tell whether a process lives: the operating system frees them when it ends, however it ends."""

from __future__ import annotations

import functools
import os
import sys
import weakref
from typing import TYPE_CHECKING

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ProcessLock", "is_held"]


class ProcessLock:
    """An exclusive lock on a file, which the operating system frees when the process ends, however it ends.

    This is `flock` itself, and not the `filelock` package, for two reasons. The lock belongs to the open file, so a
    child that inherits the descriptor holds the lock from its first moment on: that is how a supervisor gets its
    own. And it is freed by closing, never by unlocking: in a child made by a plain fork, the finaliser of a
    `FileLock` of filelock 3 would free the lock of its parent.

    The descriptor is close-on-exec, so no program that this process starts inherits it by accident. A plain fork
    (`os.fork`, `multiprocessing` with "fork") does copy it: the copy is closed in the child at once. What is left
    is a fork by C code that does not run Python's fork hooks; such a child holds the lock until it ends.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor
        _close_in_forked_children()
        _held.add(self)

    @classmethod
    def acquire(cls, path: Path) -> ProcessLock | None:
        """Take the lock, or return None if somebody holds it. Does not wait."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor)

    @property
    def descriptor(self) -> int:
        """The open file, for a child to inherit.

        Raises:
            ValueError: If the lock is closed.
        """
        if self._descriptor is None:
            raise ValueError("The lock is closed; acquire it again.")
        return self._descriptor

    @property
    def closed(self) -> bool:
        """Whether this process has let go of the lock."""
        return self._descriptor is None

    def close(self) -> None:
        """Let go of the lock; a child that inherited it goes on holding it. May be called again."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


_held: weakref.WeakSet[ProcessLock] = weakref.WeakSet()


@functools.cache
def _close_in_forked_children() -> None:
    def close_all() -> None:
        for lock in list(_held):
            lock.close()

    os.register_at_fork(after_in_child=close_all)


def is_held(path: Path) -> bool:
    """Tell whether some process holds the `ProcessLock` on the file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that two who ask at the same time do not take each other for the holder.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False

"""Which kernel submits the items of a job, and whether it is gone."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nbfutures.runtime.background.records import serving_directory
from nbfutures.runtime.process_lock import ProcessLock, is_held

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["KernelMark", "this_kernel"]


@dataclass(frozen=True, slots=True)
class KernelMark:
    """A kernel, as others can recognise it."""

    id: str
    host: str

    @property
    def is_gone(self) -> bool:
        """Whether it has certainly ended; `False` for one of another machine, of which nothing is known here."""
        lock = _lock_of(self.id)
        # The file is removed some days after its end.
        return (self.host == socket.gethostname() or lock.exists()) and not is_held(lock)


def this_kernel() -> KernelMark:
    """Return this process's mark; it holds a lock from the first call to its end."""
    global _current  # noqa: PLW0603 - one for each process
    with _mutex:
        # A process that was forked has none.
        if _current is None or _current[2] != os.getpid():
            made = KernelMark(f"{os.getpid()}-{secrets.token_hex(6)}", socket.gethostname())
            lock = ProcessLock.acquire(_lock_of(made.id))
            assert lock is not None
            _current = made, lock, os.getpid()
        return _current[0]


def _lock_of(kernel: str) -> Path:
    return serving_directory() / f"kernel-{kernel}.lock"


_mutex = threading.Lock()
_current: tuple[KernelMark, ProcessLock, int] | None = None

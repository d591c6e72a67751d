"""Pipes for what items write past Python's streams: the programs that they start, and code in C."""

from __future__ import annotations

import codecs
import contextlib
import ctypes
import os
import select
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "CAPTURE_LIMIT",
    "ItemPipes",
    "KeptText",
    "are_supported",
    "own_pipes",
    "redirected_descriptors",
    "runs_alone",
]

CAPTURE_LIMIT = 64_000
"""Characters of each stream that are kept of one item: the first half and the last half."""


class KeptText:
    """The first and the last characters of a text that may be long."""

    __slots__ = ("dropped", "head", "room", "tail", "tail_length")

    def __init__(self) -> None:
        self.head: list[str] = []
        self.room = CAPTURE_LIMIT // 2
        self.tail: list[str] = []
        self.tail_length = 0
        self.dropped = 0

    def add(self, text: str) -> None:
        """Add to the end."""
        if self.room > 0:
            first = text[: self.room]
            self.head.append(first)
            self.room -= len(first)
            text = text[len(first) :]
        if text:
            self.tail.append(text)
            self.tail_length += len(text)
            if self.tail_length > CAPTURE_LIMIT:
                self._cut()

    def text(self) -> str:
        """Return what was kept, and how much was not."""
        if self.tail_length > CAPTURE_LIMIT // 2:
            self._cut()
        middle = f"\n[… {self.dropped:,} characters left out …]\n" if self.dropped else ""
        return "".join(self.head) + middle + "".join(self.tail)

    def _cut(self) -> None:
        tail = "".join(self.tail)
        keep = tail[-(CAPTURE_LIMIT // 2) :]
        self.dropped += len(tail) - len(keep)
        self.tail, self.tail_length = [keep], len(keep)


_NUMBERS = {"stdout": 1, "stderr": 2}
_CHUNK = 65_536
_UNBUFFERED = 2
"""C's `_IONBF`."""


def are_supported() -> bool:
    """Tell whether this system can wait for pipes."""
    return hasattr(select, "poll")


class ItemPipes:
    """Takes in what is written to either of two pipes; what comes after its item has ended is read and thrown away."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._poll = select.poll()
        self._readers: dict[int, str] = {}
        self._writers: dict[str, int] = {}
        self._kept: dict[str, KeptText] = {}
        self._decoders = {name: codecs.getincrementaldecoder("utf-8")("replace") for name in _NUMBERS}
        self._is_wanted = True
        for name in _NUMBERS:
            reader, self._writers[name] = os.pipe()
            os.set_blocking(reader, False)
            self._readers[reader] = name
            self._poll.register(reader, select.POLLIN)
        # A program that writes more than a pipe holds would wait for the item, which waits for the program.
        threading.Thread(
            target=self._collect, args=(list(self._readers),), name="nbfutures output", daemon=True
        ).start()

    def fileno(self, name: str) -> int:
        """Return where to write what is for the stream of this name."""
        return self._writers[name]

    def take(self) -> dict[str, str]:
        """Return what was written since the last call, by the name of the stream; usually nothing."""
        # What the collecting thread has read and not yet put there would be missed without the lock.
        with self._lock:
            if not self._kept and not self._poll.poll(0):
                return {}
            for reader in list(self._readers):
                while self._read(reader):
                    pass
            kept, self._kept = self._kept, {}
        return {name: one.text() for name, one in kept.items()}

    def close(self) -> None:
        """Write no more, and want nothing more of what others write."""
        self._is_wanted = False
        for writer in self._writers.values():
            os.close(writer)

    def _read(self, reader: int) -> bool:
        """Read what is there, and return whether there was something."""
        try:
            data = os.read(reader, _CHUNK)
        except BlockingIOError:
            return False
        name = self._readers[reader]
        text = self._decoders[name].decode(data)
        if text and self._is_wanted:
            self._kept.setdefault(name, KeptText()).add(text)
        return bool(data)

    def _collect(self, readers: list[int]) -> None:
        poll = select.poll()
        for reader in readers:
            poll.register(reader, select.POLLIN)
        while readers:
            for reader, what in poll.poll():
                with self._lock:
                    if not self._read(reader) and what & ~select.POLLIN:
                        # Nobody is left who could write.
                        poll.unregister(reader)
                        readers.remove(reader)
                        os.close(reader)


_own: ItemPipes | None = None
_saved: dict[int, int] = {}
_users = 0
_lock = threading.Lock()


def own_pipes() -> ItemPipes | None:
    """Return the pipes that the descriptors of this process lead to, where an item has the process to itself."""
    return _own if _users else None


def runs_alone() -> bool:
    """Tell, in a worker process, whether nothing else runs in it at the same time."""
    dask = sys.modules.get("distributed.worker")
    # Dask is the one that may run several at once.
    workers = list(dask.Worker._instances) if dask is not None else []
    return all(worker.state.nthreads == 1 for worker in workers) and len(workers) <= 1


@contextlib.contextmanager
def redirected_descriptors() -> Iterator[None]:
    """Within it, all that is written to standard output and error of this process, by whomever, is for `own_pipes`."""
    global _own, _users  # noqa: PLW0603 - the descriptors are the process's
    if not are_supported():
        yield
        return
    with _lock:
        if _own is None:
            _own = ItemPipes()
            _unbuffer()
        if _users == 0:
            _flush()
            for name, number in _NUMBERS.items():
                # Without an error where the process has none.
                with contextlib.suppress(OSError):
                    _saved[number] = os.dup(number)
                os.dup2(_own.fileno(name), number)
            # Of nobody.
            _own.take()
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _flush()
                for number, saved in _saved.items():
                    os.dup2(saved, number)
                    os.close(saved)
                _saved.clear()


def _flush() -> None:
    for stream in (sys.__stdout__, sys.__stderr__):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()  # type: ignore[union-attr]  # as suppressed


def _unbuffer() -> None:
    """Have the streams of Python and of C write at once, so that it is known of which item a text is."""
    for stream in (sys.__stdout__, sys.__stderr__):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # as suppressed
    with contextlib.suppress(Exception):
        library = ctypes.CDLL(None)
        name = "__stdoutp" if sys.platform == "darwin" else "stdout"
        library.setvbuf(ctypes.c_void_p.in_dll(library, name), None, _UNBUFFERED, ctypes.c_size_t(0))

"""What an item prints is kept with the item and never lands in a cell."""

from __future__ import annotations

import bdb
import sys
import threading
from collections import deque
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from nbfutures.model.outcome import CapturedOutput

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

__all__ = ["CAPTURE_LIMIT", "OutputSink", "install", "into", "is_in_item", "renew", "uninstall"]

CAPTURE_LIMIT = 64_000
"""Characters of each stream that are kept of one item: the first half and the last half."""


class _Kept:
    """The first and the last characters of a text that may be long."""

    __slots__ = ("dropped", "head", "room", "tail", "tail_length")

    def __init__(self) -> None:
        self.head: list[str] = []
        self.room = CAPTURE_LIMIT // 2
        self.tail: list[str] = []
        self.tail_length = 0
        self.dropped = 0

    def add(self, text: str) -> None:
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

    def _cut(self) -> None:
        tail = "".join(self.tail)
        keep = tail[-(CAPTURE_LIMIT // 2) :]
        self.dropped += len(tail) - len(keep)
        self.tail, self.tail_length = [keep], len(keep)

    def text(self) -> str:
        if self.tail_length > CAPTURE_LIMIT // 2:
            self._cut()
        middle = f"\n[… {self.dropped:,} characters left out …]\n" if self.dropped else ""
        return "".join(self.head) + middle + "".join(self.tail)


class OutputSink:
    """Where the prints of one item go."""

    __slots__ = ("_kept", "lets_debuggers_speak")

    def __init__(self, *, lets_debuggers_speak: bool = False) -> None:
        self._kept: dict[str, _Kept] = {}
        self.lets_debuggers_speak = lets_debuggers_speak
        """Whether what is written while the item is in a debugger goes where it would without a sink."""

    def write(self, stream: str, text: str) -> None:
        """Keep a text that the item wrote.

        Args:
            stream: "stdout" or "stderr".
            text: The text.
        """
        kept = self._kept.get(stream)
        if kept is None:
            kept = self._kept[stream] = _Kept()
        kept.add(text)

    def take(self) -> CapturedOutput | None:
        """Return what was written since the last call, or `None` if nothing was."""
        if not self._kept:
            return None
        kept, self._kept = self._kept, {}
        return CapturedOutput(**{stream: one.text() for stream, one in kept.items()})


# A context variable, not a thread's: coroutines of one event loop print into their own items.
_current: ContextVar[OutputSink | None] = ContextVar("nbfutures_output_sink", default=None)


def is_in_item() -> bool:
    """Tell whether an item runs in this thread or asyncio task."""
    return _current.get() is not None


@contextmanager
def into(sink: OutputSink) -> Iterator[OutputSink]:
    """Send what this thread or asyncio task writes to `sink`, once the streams are installed."""
    token = _current.set(sink)
    try:
        yield sink
    finally:
        _current.reset(token)


class _SplitStream:
    """A stream that sends each item's text to its sink, and all else to the stream that it stands for."""

    def __init__(self, stream: Any, name: str) -> None:
        self._nbfutures_stream = stream
        self._nbfutures_name = name

    def write(self, text: str) -> int:
        sink = _current.get()
        if sink is None or (sink.lets_debuggers_speak and _is_debugging()):
            return int(self._nbfutures_stream.write(text) or 0)
        sink.write(self._nbfutures_name, text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._nbfutures_stream, name)


def _is_debugging() -> bool:
    """Tell whether a debugger writes, or the code that it steps through."""
    if isinstance(getattr(sys.gettrace(), "__self__", None), bdb.Bdb):
        return True
    # One that does not trace, or not by `sys.settrace`, is found among those who called.
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name in _LOOPS and isinstance(frame.f_locals.get("self"), bdb.Bdb):
            return True
        frame = frame.f_back
    return False


_LOOPS = frozenset({"cmdloop", "interaction", "set_trace"})
"""Methods of a debugger in which it talks."""

_lock = threading.Lock()
_users = 0
# CPython's `print` borrows `sys.stdout`: a stream that is freed while another thread prints to it crashes the process.
_made: deque[_SplitStream] = deque(maxlen=100)


def install() -> None:
    """Put the splitting streams in place of `sys.stdout` and `sys.stderr`; each call needs an `uninstall`."""
    global _users  # noqa: PLW0603 - the streams are the process's
    with _lock:
        _users += 1
        _put()


def renew() -> None:
    """Put the splitting streams back in place if somebody else redirected the streams meanwhile."""
    if not (isinstance(sys.stdout, _SplitStream) and isinstance(sys.stderr, _SplitStream)):
        with _lock:
            if _users:
                _put()


def uninstall() -> None:
    """Undo one `install`; the last one gives the streams back."""
    global _users  # noqa: PLW0603
    with _lock:
        _users -= 1
        if _users == 0:
            for name in ("stdout", "stderr"):
                stream = getattr(sys, name)
                if isinstance(stream, _SplitStream):
                    setattr(sys, name, stream._nbfutures_stream)


def _put() -> None:
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, _SplitStream):
            setattr(sys, name, _split(stream, name))


def _split(stream: Any, name: str) -> _SplitStream:
    for made in _made:
        if made._nbfutures_stream is stream and made._nbfutures_name == name:
            return made
    _made.append(_SplitStream(stream, name))
    return _made[-1]

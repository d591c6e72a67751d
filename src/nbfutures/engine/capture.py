"""What an item writes is kept with the item and never lands in a cell.

The streams stay those that they are: their own `write` asks whose text it is, so that also a handler of `logging`
that was made long before, or a library that holds `sys.stderr`, writes into the item.
"""

from __future__ import annotations

import bdb
import contextlib
import functools
import inspect
import os
import subprocess
import sys
import threading
import weakref
from collections import deque
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from nbfutures.engine.item_pipes import CAPTURE_LIMIT, ItemPipes, KeptText, are_supported, own_pipes
from nbfutures.model.outcome import CapturedOutput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

__all__ = ["CAPTURE_LIMIT", "OutputSink", "install", "into", "is_in_item", "renew", "uninstall"]

_NAMES = ("stdout", "stderr")
_INSTANT = 1e-6
"""Seconds: who took less than this has started no program, nor called the system at all."""


class OutputSink:
    """Where the texts of one item go.

    Args:
        lets_debuggers_speak: Whether what is written while the item is in a debugger goes where it would without a
            sink.
    """

    __slots__ = ("_kept", "_pid", "_pipes", "_redirected", "has_process", "lets_debuggers_speak")

    def __init__(self, *, lets_debuggers_speak: bool = False) -> None:
        self.lets_debuggers_speak = lets_debuggers_speak
        # What an item starts in its process has none of its own: several of it may run at once.
        self._pipes = own_pipes() if _current.get() is None else None
        self.has_process = self._pipes is not None
        """Whether nothing else runs in this process while the item does."""
        self._kept: dict[str, KeptText] = {}
        self._redirected: dict[str, list[Any]] | None = None
        self._pid = os.getpid()

    def write(self, stream: str, text: str) -> None:
        """Keep a text that the item wrote.

        Args:
            stream: "stdout" or "stderr".
            text: The text.
        """
        targets = self._redirected[stream] if self._redirected else None
        if targets:
            target = targets[-1]
            known = _known(target)
            if known is None:
                if target is not None:
                    target.write(text)
                return
            # To the other one of the streams, such as by `redirect_stdout(sys.stderr)`.
            stream = known.name
        if self._pipes is not None:
            if os.getpid() != self._pid:
                # A process that the item has forked: what it keeps would be lost with it.
                os.write(self._pipes.fileno(stream), text.encode("utf-8", "replace"))
                return
            self._take_pipes()
        self._keep(stream, text)

    def take(self, seconds: float = float("inf")) -> CapturedOutput | None:
        """Return what was written since the last call, or `None` if nothing was.

        Args:
            seconds: How long the item has run.
        """
        if sys.stdout is not _kernels["stdout"] or sys.stderr is not _kernels["stderr"]:
            _mend(is_alone=self.has_process)
        if self._pipes is not None and seconds > _INSTANT:
            self._take_pipes()
            if not self.has_process:
                self._pipes.close()
                self._pipes = None
        self._redirected = None
        if not self._kept:
            return None
        kept, self._kept = self._kept, {}
        return CapturedOutput(**{stream: one.text() for stream, one in kept.items()})

    def fileno(self, stream: str) -> int:
        """Return a descriptor, to which programs can write what is for a stream of the item."""
        if self._pipes is None:
            self._pipes = ItemPipes()
        return self._pipes.fileno(stream)

    def redirect(self, stream: str, target: Any) -> None:
        """Give what the item writes to a stream to something else, until `redirect_back`."""
        if self._redirected is None:
            self._redirected = {name: [] for name in _NAMES}
        self._redirected[stream].append(target)

    def redirect_back(self, stream: str) -> None:
        """Undo the last `redirect`."""
        if self._redirected and self._redirected[stream]:
            self._redirected[stream].pop()

    def _take_pipes(self) -> None:
        assert self._pipes is not None
        for name, text in self._pipes.take().items():
            self._keep(name, text)

    def _keep(self, stream: str, text: str) -> None:
        kept = self._kept.get(stream)
        if kept is None:
            kept = self._kept[stream] = KeptText()
        kept.add(text)


# A context variable, not a thread's: coroutines of one event loop print into their own items.
_current: ContextVar[OutputSink | None] = ContextVar("nbfutures_output_sink", default=None)


def is_in_item() -> bool:
    """Tell whether an item runs in this thread or asyncio task."""
    return _current.get() is not None


@contextlib.contextmanager
def into(sink: OutputSink) -> Iterator[OutputSink]:
    """Send what this thread or asyncio task writes to `sink`, once the streams are installed."""
    token = _current.set(sink)
    try:
        yield sink
    finally:
        _current.reset(token)


def _write_to_item(name: str, write: Callable[[str], Any], text: str) -> Any:
    """Write to the item that runs, or by `write` where none does."""
    sink = _current.get()
    if sink is None or (sink.lets_debuggers_speak and _is_debugging()):
        return write(text)
    if not isinstance(text, str):
        raise TypeError(f"write() argument must be str, not {type(text).__name__}")
    sink.write(name, text)
    return len(text)


class _Stream:
    """A stream that asks whose text it is."""

    def __init__(self, stream: Any, name: str) -> None:
        self.stream = weakref.ref(stream)
        self.name = name

    def renew(self) -> None:
        """Ask again, where somebody has put his own `write` there meanwhile."""

    def undo(self) -> None:
        """Ask no more."""


class _OfClass(_Stream):
    """One of a class of Python's own: gets a class that has a `write` for items, and lets others set theirs.

    IPython does that in each cell, and puts back what was there before.
    """

    references = 0

    def __init__(self, stream: Any, name: str) -> None:
        super().__init__(stream, name)
        self._kind = kind = type(stream)

        def get(it: Any) -> Any:
            write = vars(it)["write"] if "write" in vars(it) else functools.partial(kind.write, it)
            return write if _current.get() is None else functools.partial(_write_to_item, name, write)

        def put(it: Any, write: Any) -> None:
            vars(it)["write"] = write

        def take(it: Any) -> None:
            vars(it).pop("write", None)

        def close(it: Any) -> Any:
            # It is no item's.
            return kind.close(it) if _current.get() is None else None

        made = {"__module__": kind.__module__, "write": property(get, put, take), "close": close}
        stream.__class__ = type(kind.__name__, (kind,), made)

    def undo(self) -> None:
        """Ask no more."""
        stream = self.stream()
        if stream is not None:
            stream.__class__ = self._kind


class _OfObject(_Stream):
    """One of a class of C's: gets methods of its own."""

    references = 2
    """To the stream, from its methods."""

    def __init__(self, stream: Any, name: str) -> None:
        super().__init__(stream, name)
        self._before = {one: vars(stream).get(one) for one in ("write", "close")}
        write, close = stream.write, stream.close
        self._made = {
            "write": functools.partial(_write_to_item, name, write),
            "close": lambda: close() if _current.get() is None else None,
        }
        vars(stream).update(self._made)

    def renew(self) -> None:
        """Ask again, where somebody has put his own `write` there meanwhile."""
        stream = self.stream()
        # Another function may well ask this one.
        if stream is not None and inspect.isbuiltin(vars(stream).get("write", stream.write)):
            vars(stream).update(self._made)

    def undo(self) -> None:
        """Ask no more."""
        stream = self.stream()
        if stream is None:
            return
        # What somebody else has put before it stays, and asks it: without an item, it passes all on.
        for name, made in self._made.items():
            if vars(stream).get(name) is made:
                if self._before[name] is None:
                    del vars(stream)[name]
                else:
                    vars(stream)[name] = self._before[name]


def _known(stream: Any) -> _OfClass | _OfObject | None:
    known = _streams.get(id(stream))
    return known if known is not None and known.stream() is stream else None


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

_lock = threading.RLock()
_users = 0
_kernels: dict[str, Any] = dict.fromkeys(_NAMES)
"""The streams of the process, whatever items put in their place."""
_streams: dict[int, _OfClass | _OfObject] = {}
"""The streams that ask whose text it is, by their `id`."""
# CPython's `print` borrows `sys.stdout`: a stream that is freed while another thread prints to it crashes the process.
_left: deque[Any] = deque(maxlen=100)
_REFERENCES = 4
"""To a stream that only `sys` holds: this one, two variables, and the one of what counts them."""


def install() -> None:
    """Have the streams, and what starts programs, ask whose text it is; each call needs an `uninstall`."""
    global _users  # noqa: PLW0603 - the streams are the process's
    with _lock:
        _users += 1
        if _users == 1:
            for name in _NAMES:
                _kernels[name] = getattr(sys, name, None)
            _wrap_calls()
        _put()


def renew() -> None:
    """Have the streams ask that stand there by now, where somebody else has redirected them meanwhile."""
    if sys.stdout is not _kernels["stdout"] or sys.stderr is not _kernels["stderr"]:
        _mend(is_alone=False)
    with _lock:
        if _users:
            _put()


def uninstall() -> None:
    """Undo one `install`; the last one gives the streams back."""
    global _users  # noqa: PLW0603
    with _lock:
        _users -= 1
        if _users == 0:
            _mend(is_alone=False)
            for known in _streams.values():
                known.undo()
            _streams.clear()
            _kernels.update(dict.fromkeys(_NAMES))
            _unwrap_calls()


def _mend(*, is_alone: bool) -> None:
    """Put the process's streams back where an item has left another one: nobody but `sys` holds it by then.

    Args:
        is_alone: Whether nobody but an item can have put it there.
    """
    with _lock:
        for name in _NAMES:
            kernels = _kernels[name]
            stream = getattr(sys, name, None)
            if stream is kernels or kernels is None:
                continue
            is_missing = stream is None or getattr(stream, "closed", False)
            # A cell's, which is over, is never put back.
            is_over = getattr(kernels, "closed", False)
            if not is_over and (is_alone or is_missing or _is_held_by_sys_alone(stream)):
                _left.append(stream)
                setattr(sys, name, kernels)
            elif not is_missing and (is_over or _is_held_by_sys_alone(kernels)):
                _kernels[name] = stream


def _is_held_by_sys_alone(stream: Any) -> bool:
    """Tell whether nobody holds a stream but `sys`, or who calls this instead of it, and the variable there."""
    known = _known(stream)
    return sys.getrefcount(stream) <= _REFERENCES + (known.references if known is not None else 0)


def _put() -> None:
    for name in _NAMES:
        stream = getattr(sys, name, None)
        if stream is not None:
            _have_it_ask(stream, name)


def _have_it_ask(stream: Any, name: str) -> None:
    known = _known(stream)
    if known is not None:
        known.renew()
        return
    for kind in (_OfClass, _OfObject):
        # A stream that takes neither goes without.
        with contextlib.suppress(AttributeError, TypeError):
            _streams[id(stream)] = kind(stream, name)
            return


# --- what starts programs, and redirects ------------------------------------------------------------------------------

_popen = subprocess.Popen.__init__
_system = os.system


def _item() -> OutputSink | None:
    """Return the sink of an item that shares the process with others, if one calls."""
    sink = _current.get()
    return None if sink is None or sink.has_process else sink


def _popen_for_item(  # noqa: PLR0917 - as Python's own
    self: Any,
    args: Any,
    bufsize: int = -1,
    executable: Any = None,
    stdin: Any = None,
    stdout: Any = None,
    stderr: Any = None,
    *more: Any,
    **options: Any,
) -> None:
    """Start a program; what it writes belongs to the item that starts it."""
    sink = _item()
    if sink is not None:
        stdout = sink.fileno("stdout") if stdout is None else stdout
        stderr = sink.fileno("stderr") if stderr is None else stderr
    _popen(self, args, bufsize, executable, stdin, stdout, stderr, *more, **options)


def _system_for_item(command: Any) -> int:
    """As `os.system`; what the command writes belongs to the item."""
    if _item() is None:
        return _system(command)
    status = subprocess.Popen(command, shell=True).wait()  # noqa: S602 - as `os.system`
    return -status if status < 0 else status << 8


class _Redirecting:
    """`redirect_stdout` and `redirect_stderr` of an item: for the item only, as others write at the same time."""

    def __enter__(self: Any) -> Any:
        sink = _item()
        if sink is not None:
            sink.redirect(self._stream, self._new_target)
            # Python's own way back, should it be taken.
            self._old_targets.append(getattr(sys, self._stream))
            vars(self).setdefault("_nbfutures_sinks", []).append(sink)
            return self._new_target
        target = contextlib._RedirectStream.__enter__(self)
        if _current.get() is None:
            # What items write is no more for the target of a cell than for the cell.
            renew()
        return target

    def __exit__(self: Any, *raised: Any) -> None:  # noqa: PYI036 - passed on
        sinks = vars(self).get("_nbfutures_sinks")
        if sinks:
            sinks.pop().redirect_back(self._stream)
            self._old_targets.pop()
            return
        contextlib._RedirectStream.__exit__(self, *raised)


_REDIRECTS: tuple[Any, ...] = (contextlib.redirect_stdout, contextlib.redirect_stderr)


def _wrap_calls() -> None:
    for redirect in _REDIRECTS:
        redirect.__enter__, redirect.__exit__ = _Redirecting.__enter__, _Redirecting.__exit__
    if are_supported():
        subprocess.Popen.__init__ = _popen_for_item  # type: ignore[method-assign]  # for items
        os.system = _system_for_item


def _unwrap_calls() -> None:
    for redirect in _REDIRECTS:
        del redirect.__enter__, redirect.__exit__
    if subprocess.Popen.__init__ is _popen_for_item:
        subprocess.Popen.__init__ = _popen  # type: ignore[method-assign]  # as it was
    if os.system is _system_for_item:
        os.system = _system


def _pipes_for_fork() -> None:
    sink = _item()
    if sink is not None and are_supported():
        sink.fileno("stdout")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_pipes_for_fork)

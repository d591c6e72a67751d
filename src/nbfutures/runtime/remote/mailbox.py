"""Connections over boxes that a cluster keeps: where workers reach the scheduler, and not the kernel."""

from __future__ import annotations

import contextlib
import threading
import uuid
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from nbfutures.runtime.remote.contracts import Connection, Route

__all__ = ["MailPost", "Mailbox", "connect_by_mail"]

_END = b""
_WELCOME = b"welcome"
_ID_BYTES = 16
_WELCOME_SECONDS = 30.0
SILENCE_SECONDS = 60.0
"""A worker that hears nothing for so long takes the kernel for gone, and ends its lane."""


class Mailbox(Protocol):
    """Boxes, by name; a message lies in its box until it is taken, in order. Used from any thread."""

    def put(self, box: str, message: bytes) -> None:
        """Put a message into a box.

        Raises:
            OSError: If the cluster is gone.
        """
        ...

    def take(self, box: str, timeout: float | None) -> bytes:
        """Take the first message out of a box, waiting for it.

        Args:
            box: Name of the box.
            timeout: Seconds to wait, at most; `None` for as long as it takes.

        Raises:
            TimeoutError: If none came in time.
            OSError: If the cluster is gone.
        """
        ...

    def drop(self, box: str, *, openers: int = 1) -> None:
        """Forget a box and what lies in it, once both ends have.

        Args:
            box: Name of the box.
            openers: For how many ends this is said: 2 if the other one has died.
        """
        ...


class _MailConnection:
    """One end of a connection; each message begins with the id of the worker's end."""

    def __init__(self, mailbox: Mailbox, worker: bytes, *, out: str, into: str, silence: float | None) -> None:
        self._mailbox = mailbox
        self._worker = worker
        self._out = out
        self._into = into
        self._silence = silence
        self._workers_box = into if silence else out
        self._is_over = False
        self._ended_well = True
        self._closing = threading.Lock()

    def send_bytes(self, data: bytes) -> None:
        """Send a message."""
        self._mailbox.put(self._out, self._worker + data)

    def recv_bytes(self) -> bytes:
        """Return the next message, waiting for it; end where the other end has, or somebody else takes its place."""
        if self._is_over:
            raise EOFError
        message = self._mailbox.take(self._into, self._silence)
        if message == _END or not message.startswith(self._worker):
            self._is_over = True
            self._ended_well = message == _END
            if message != _END:
                # A cluster runs the work of a worker that died once more: that one is turned away.
                with contextlib.suppress(OSError):
                    self._mailbox.put(_box_of(self._into, message[:_ID_BYTES]), _END)
            raise EOFError
        return message[_ID_BYTES:]

    def cut(self) -> None:
        """Have `recv_bytes` end."""
        with contextlib.suppress(OSError):
            self._mailbox.put(self._into, _END)

    def close(self) -> None:
        """Tell the other end, and forget the worker's box."""
        if not self._closing.acquire(blocking=False):
            return
        with contextlib.suppress(OSError):
            self._mailbox.put(self._out, _END)
        with contextlib.suppress(OSError):
            self._mailbox.drop(self._workers_box, openers=1 if self._ended_well else 2)


def connect_by_mail(mailbox: Mailbox, name: str) -> Connection:
    """Return the worker's end of a connection.

    Raises:
        OSError: If nobody in the kernel expects that name.
    """
    me = uuid.uuid4().bytes
    mine = _box_of(name, me)
    mailbox.put(name, me)
    try:
        welcome = mailbox.take(mine, _WELCOME_SECONDS)
    except TimeoutError:
        welcome = _END
    if welcome != me + _WELCOME:
        mailbox.drop(mine)
        raise ConnectionRefusedError(f"The kernel does not expect {name!r}.")
    return _MailConnection(mailbox, me, out=name, into=mine, silence=SILENCE_SECONDS)


class MailPost:
    """The kernel's end: a thread for each name that is expected.

    Args:
        mailbox: The cluster's boxes.
        route: How workers get to them.
    """

    def __init__(self, mailbox: Mailbox, route: Route) -> None:
        self.route = route
        self._mailbox = mailbox
        self._expected: set[str] = set()

    def expect(self, name: str, then: Callable[[Connection, int | None], None]) -> None:
        """Have `then` called with the connection of who gives this name, on a thread of its own."""
        self._expected.add(name)
        threading.Thread(target=self._greet, args=(name, then), name="nbfutures lane", daemon=True).start()

    def forget(self, name: str) -> None:
        """Expect it no more."""
        self._expected.discard(name)
        with contextlib.suppress(OSError):
            self._mailbox.put(name, _END)

    def _greet(self, name: str, then: Callable[[Connection, int | None], None]) -> None:
        # Several may come, one after the other: a task that is tried again tells of each attempt.
        with contextlib.suppress(OSError):
            while name in self._expected:
                who = self._mailbox.take(name, None)[:_ID_BYTES]
                if who == _END:
                    continue
                out = _box_of(name, who)
                self._mailbox.put(out, who + _WELCOME)
                then(_MailConnection(self._mailbox, who, out=out, into=name, silence=None), None)
            self._mailbox.drop(name)


def _box_of(name: str, worker: bytes) -> str:
    return f"{name} for {worker.hex()}"

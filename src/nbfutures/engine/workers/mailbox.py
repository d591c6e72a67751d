"""Connections over boxes that a cluster keeps: where workers reach the scheduler, and not the kernel."""

from __future__ import annotations

import contextlib
import threading
import uuid
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from nbfutures.engine.workers.contracts import Connection, Route

__all__ = ["MailPost", "Mailbox", "connect_by_mail"]

_END = b""
_WELCOME = b"welcome"
_ID_BYTES = 16
_WELCOME_SECONDS = 10.0
_SILENCE_SECONDS = 60.0
"""A worker that hears nothing for so long takes the kernel for gone, and ends its lane."""


class Mailbox(Protocol):
    """Boxes, by name; a message lies in its box until it is taken, in order. Used from any thread."""

    def open(self, box: str) -> None:
        """Have a box, which stays until every end that opened it has dropped it.

        Raises:
            OSError: If the cluster is gone.
        """
        ...

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
        """Forget a box and what lies in it, once every end has.

        Args:
            box: Name of the box.
            openers: For how many ends this is said: 2 if the other one has died.
        """
        ...


class _MailConnection:
    """One end of a connection, which has a box for each direction.

    Args:
        mailbox: Where the boxes are.
        out: Name of the box for what goes out.
        into: Name of the box for what comes in.
        silence: Seconds without a message after which the other end is taken for gone.
    """

    def __init__(self, mailbox: Mailbox, *, out: str, into: str, silence: float | None) -> None:
        self._mailbox = mailbox
        self._out = out
        self._into = into
        self._silence = silence
        self._is_over = False
        self._was_cut = False
        self._closing = threading.Lock()

    def send_bytes(self, data: bytes) -> None:
        """Send a message."""
        self._mailbox.put(self._out, data)

    def recv_bytes(self) -> bytes:
        """Return the next message, waiting for it."""
        message = _END if self._is_over else self._mailbox.take(self._into, self._silence)
        if message == _END:
            self._is_over = True
            raise EOFError
        return message

    def cut(self) -> None:
        """Have `recv_bytes` end: the other end is gone."""
        self._was_cut = True
        with contextlib.suppress(OSError):
            self._mailbox.put(self._into, _END)

    def close(self) -> None:
        """Tell the other end, and forget the boxes."""
        if not self._closing.acquire(blocking=False):
            return
        with contextlib.suppress(OSError):
            self._mailbox.put(self._out, _END)
            for box in (self._out, self._into):
                self._mailbox.drop(box, openers=2 if self._was_cut else 1)


def connect_by_mail(mailbox: Mailbox, reception: str, name: str) -> Connection:
    """Return the worker's end of a connection.

    Args:
        mailbox: Where the boxes are.
        reception: The box that the kernel looks into.
        name: Who is wanted in the kernel.

    Raises:
        OSError: If nobody there expects that name.
    """
    me = uuid.uuid4().bytes
    up, down = _boxes_of(me)
    mailbox.open(up)
    mailbox.open(down)
    mailbox.put(reception, me + name.encode())
    try:
        answer = mailbox.take(down, _WELCOME_SECONDS)
    except TimeoutError:
        answer = _END
    if answer != _WELCOME:
        mailbox.drop(up)
        mailbox.drop(down)
        raise ConnectionRefusedError(f"The kernel does not expect {name!r}.")
    return _MailConnection(mailbox, out=up, into=down, silence=_SILENCE_SECONDS)


class MailPost:
    """The kernel's end: one thread looks who comes, and each connection has a thread of its own.

    Args:
        mailbox: The cluster's boxes.
        make_route: Returns how workers get to them, given the name of the box for who comes.
    """

    def __init__(self, mailbox: Mailbox, make_route: Callable[[str], Route]) -> None:
        self._reception = f"nbfutures {uuid.uuid4().hex}"
        self.route = make_route(self._reception)
        self._mailbox = mailbox
        self._expected: dict[str, Callable[[Connection, int | None], None]] = {}
        threading.Thread(target=self._receive, name="nbfutures reception", daemon=True).start()

    def expect(self, name: str, then: Callable[[Connection, int | None], None]) -> None:
        """Have `then` called with the connection of who gives this name, on a thread of its own."""
        self._expected[name] = then

    def forget(self, name: str) -> None:
        """Expect it no more."""
        self._expected.pop(name, None)

    def _receive(self) -> None:
        # Until the connection to the cluster is closed.
        with contextlib.suppress(OSError):
            while True:
                hello = self._mailbox.take(self._reception, None)
                threading.Thread(target=self._greet, args=(hello,), name="nbfutures lane", daemon=True).start()

    def _greet(self, hello: bytes) -> None:
        up, down = _boxes_of(hello[:_ID_BYTES])
        then = self._expected.get(hello[_ID_BYTES:].decode())
        with contextlib.suppress(OSError):
            if then is None:
                # Such as work that the cluster runs once more since it lost what came of it.
                self._mailbox.put(down, _END)
                self._mailbox.drop(down)
                return
            # Before the worker can put something into it, and drop it.
            self._mailbox.open(up)
            self._mailbox.put(down, _WELCOME)
            then(_MailConnection(self._mailbox, out=down, into=up, silence=None), None)


def _boxes_of(worker: bytes) -> tuple[str, str]:
    return f"nbfutures {worker.hex()} up", f"nbfutures {worker.hex()} down"

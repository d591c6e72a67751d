"""Where worker processes connect to the kernel: one listener, on this machine only, that asks for a key."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
import sys
import threading
from dataclasses import dataclass
from multiprocessing.connection import Client, Listener, answer_challenge, deliver_challenge
from typing import TYPE_CHECKING, Any

from nbfutures.engine.workers.kernel_directory import kernel_directory

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

__all__ = ["Hub", "HubRoute", "get_hub", "identity_of"]

_BACKLOG = 128
_logger = logging.getLogger(__name__)


class SocketConnection:
    """A connection over a socket or a pipe."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._identity = identity_of(connection.fileno())
        self.close = connection.close

    def send_bytes(self, data: bytes) -> None:
        """Send a message."""
        self._check()
        self._connection.send_bytes(data)

    def recv_bytes(self) -> bytes:
        """Return the next message, waiting for it."""
        self._check()
        return self._connection.recv_bytes()

    def _check(self) -> None:
        # An item may close whatever is open: its number may be that of a file of the item's by now.
        if identity_of(self._connection.fileno()) != self._identity:
            raise ConnectionAbortedError("Something has closed this connection")

    def cut(self) -> None:
        """Have `recv_bytes` end, also where something that the worker has started holds the connection open."""
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self._connection.fileno())) as cut:
            cut.shutdown(socket.SHUT_RDWR)


def identity_of(descriptor: int) -> tuple[int, int] | None:
    """Return what tells an open file from any other; `None` if it is closed."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino


@dataclass(frozen=True, slots=True)
class HubRoute:
    """How the worker processes of this machine reach the kernel."""

    address: Any
    key: bytes

    def connect(self, name: str) -> SocketConnection:
        """Connect with who expects this name in the kernel."""
        connection: Any = Client(self.address, authkey=self.key)
        connection.send((name, os.getpid()))
        return SocketConnection(connection)


class Hub:
    """Hands each connection to who expects it."""

    def __init__(self) -> None:
        self.key = secrets.token_bytes(32)
        # A Unix socket or a named pipe, which no other machine can reach.
        address = None if sys.platform == "win32" else str(kernel_directory() / "hub")
        self._listener = Listener(address, backlog=_BACKLOG)
        self._waiting: dict[str, Callable[[SocketConnection, int], None]] = {}
        threading.Thread(target=self._accept, name="nbfutures hub", daemon=True).start()

    @property
    def route(self) -> HubRoute:
        """How workers get here."""
        return HubRoute(self._listener.address, self.key)

    def expect(self, name: str, then: Callable[[SocketConnection, int], None]) -> None:
        """Have `then` called with the connection of who gives this name and its process id, on a thread of its own."""
        self._waiting[name] = then

    def forget(self, name: str) -> None:
        """Expect it no more: it is turned away."""
        self._waiting.pop(name, None)

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()
            except Exception:
                # A worker that ended while it connected, or too many open files for the moment.
                _logger.debug("A connection to the hub failed", exc_info=True)
                threading.Event().wait(0.01)
                continue
            # In a thread each: one that does not answer holds up no other.
            threading.Thread(target=self._greet, args=(connection,), name="nbfutures lane", daemon=True).start()

    def _greet(self, connection: Connection) -> None:
        try:
            # In this order `multiprocessing.connection.Client` expects it.
            deliver_challenge(connection, self.key)
            answer_challenge(connection, self.key)
            name, pid = connection.recv()
        except Exception:
            # Somebody without the key, or who ended meanwhile.
            _logger.debug("Somebody at the hub said nothing that it knows", exc_info=True)
            connection.close()
            return
        then = self._waiting.get(name)
        if then is None:
            connection.close()
            return
        then(SocketConnection(connection), pid)


_hub: Hub | None = None
_hub_lock = threading.Lock()


def get_hub() -> Hub:
    """Return the kernel's hub; made at the first call."""
    global _hub  # noqa: PLW0603 - one for each kernel
    with _hub_lock:
        if _hub is None:
            _hub = Hub()
        return _hub

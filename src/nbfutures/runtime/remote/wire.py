"""The kernel's side of the connection to a worker process."""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from nbfutures.runtime.remote.contracts import Connection

__all__ = ["Wire"]

_LAST_WORDS_SECONDS = 2.0


class Wire:
    """Sends without blocking, listens on the thread that holds it, and can end the process at its other end."""

    def __init__(self) -> None:
        self.was_connected = False
        self._connection: Connection | None = None
        self._pid: int | None = None
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._over = threading.Event()

    def post(self, *message: Any) -> None:
        """Have a message sent, now or once the worker has connected. Does not block."""
        self._outbox.put(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))

    def hold(
        self, connection: Connection, pid: int | None, begin: Callable[[], None], take: Callable[..., None]
    ) -> None:
        """Listen until the worker is gone.

        Args:
            connection: The connection.
            pid: Id of the worker's process, where it may be ended by it.
            begin: Called once messages are sent.
            take: Called with the parts of each message that comes.
        """
        with self._lock, contextlib.suppress(EOFError, OSError):
            if self._over.is_set():
                connection.close()
                return
            self._connection, self._pid = connection, pid
            self.was_connected = True
            outbox = self._outbox
        # In a thread of its own, so that a worker that does not listen holds up nobody.
        threading.Thread(
            target=self._send, args=(connection, outbox), name="nbfutures lane sender", daemon=True
        ).start()
        try:
            begin()
            with contextlib.suppress(EOFError, OSError):
                while True:
                    take(*pickle.loads(connection.recv_bytes()))  # noqa: S301 - from our own worker
        finally:
            with self._lock:
                self._pid = None
                self._outbox = queue.SimpleQueue()
            outbox.put(None)
            connection.close()

    def finish(self) -> None:
        """Say, from the thread that held it, that all is taken in that the worker had sent."""
        self._over.set()

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes from a worker that had connected."""
        return self.was_connected and self._over.is_set()

    def let_in_again(self) -> None:
        """Wait until all is taken in that came by a connection that broke, so that the worker's next can be held."""
        self.cut()
        if self._over.wait(_LAST_WORDS_SECONDS):
            self._over.clear()

    def wait_for_last_words(self) -> None:
        """Block until all is taken in that a worker, which has ended, had sent; one that never connected is late."""
        with self._lock:
            connection = self._connection
            if connection is None:
                self._over.set()
                return
        if not self._over.wait(_LAST_WORDS_SECONDS):
            connection.cut()
            self._over.wait(_LAST_WORDS_SECONDS)

    def cut(self) -> None:
        """Have the thread that listens end: the worker is gone."""
        with self._lock:
            connection = self._connection
        if connection is not None:
            connection.cut()

    def kill(self) -> bool:
        """End the process, whatever it is doing; return whether it was there and may be ended from here."""
        with self._lock:
            pid, self._pid = self._pid, None
            if pid is None:
                return False
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))
            return True

    @staticmethod
    def _send(connection: Connection, outbox: queue.SimpleQueue[bytes | None]) -> None:
        # A worker that is gone is noticed by the thread that listens.
        with contextlib.suppress(OSError, ValueError):
            while (data := outbox.get()) is not None:
                connection.send_bytes(data)

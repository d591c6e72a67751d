"""Where worker processes connect to the kernel: one listener, on this machine only, that asks for a key."""

from __future__ import annotations

import logging
import secrets
import threading
from multiprocessing.connection import Listener, answer_challenge, deliver_challenge
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

__all__ = ["Hub", "get_hub"]

_BACKLOG = 128
_logger = logging.getLogger(__name__)


class Hub:
    """Hands each connection to who expects it."""

    def __init__(self) -> None:
        self.key = secrets.token_bytes(32)
        # No family: a Unix socket or a named pipe, which no other machine can reach.
        self._listener = Listener(backlog=_BACKLOG)
        self._waiting: dict[str, Callable[[Connection, int], None]] = {}
        threading.Thread(target=self._accept, name="nbfutures hub", daemon=True).start()

    @property
    def address(self) -> Any:
        """Where workers connect to."""
        return self._listener.address

    def expect(self, name: str, then: Callable[[Connection, int], None]) -> None:
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
        then(connection, pid)


_hub: Hub | None = None
_hub_lock = threading.Lock()


def get_hub() -> Hub:
    """Return the kernel's hub; made at the first call."""
    global _hub  # noqa: PLW0603 - one for each kernel
    with _hub_lock:
        if _hub is None:
            _hub = Hub()
        return _hub

"""A proxy before Prefect's server that counts the requests and the messages of websockets that clients send."""

from __future__ import annotations

import re
import socket
import threading
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self
    from urllib.parse import SplitResult

__all__ = ["ClientCounter", "CountingProxy"]

_REQUEST = re.compile(rb"(GET|POST|PUT|PATCH|DELETE|HEAD) (\S+) HTTP/1\.1\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_UPGRADE = re.compile(rb"\r\nupgrade: *websocket", re.IGNORECASE)
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DATA_FRAMES = (1, 2)
_BLOCK = 1 << 16


class ClientCounter:
    """Counts what one client says on one connection, byte for byte.

    Args:
        counts: Kind, such as "HTTP POST /task_runs/" or "websocket /events/in", to number; changed in place.
    """

    def __init__(self, counts: Counter[str]) -> None:
        self._counts = counts
        self._buffer = b""
        self._to_skip = 0
        self._websocket = ""
        self._is_lost = False

    def feed(self, data: bytes) -> None:
        """Take what the client said next."""
        self._buffer = b"" if self._is_lost else self._buffer + data
        while self._skip() and (self._take_frame() if self._websocket else self._take_request()):
            pass

    def _skip(self) -> bool:
        """Drop the rest of a body; whether it was all there."""
        dropped = min(self._to_skip, len(self._buffer))
        self._buffer = self._buffer[dropped:]
        self._to_skip -= dropped
        return not self._to_skip

    def _take_request(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        head, self._buffer = self._buffer[: end + 2], self._buffer[end + 4 :]
        request = _REQUEST.match(head)
        if request is None or _CHUNKED.search(head):
            self._counts["HTTP that the proxy cannot read"] += 1
            self._is_lost = True
            return False
        path = _ID.sub("ID", request[2].decode().partition("?")[0])
        if _UPGRADE.search(head):
            self._websocket = f"websocket {path}"
            return True
        self._counts[f"HTTP {request[1].decode()} {path}"] += 1
        length = _LENGTH.search(head)
        self._to_skip = int(length[1]) if length else 0
        return True

    def _take_frame(self) -> bool:
        """Take one frame of RFC 6455."""
        if len(self._buffer) < 2:
            return False
        is_masked, length, at = self._buffer[1] >> 7, self._buffer[1] & 127, 2
        if length > 125:
            size = 2 if length == 126 else 8
            at += size
            if len(self._buffer) < at:
                return False
            length = int.from_bytes(self._buffer[2:at], "big")
        if self._buffer[0] & 15 in _DATA_FRAMES:
            self._counts[self._websocket] += 1
        self._buffer = self._buffer[at:]
        self._to_skip = length + 4 * is_masked
        return True


class CountingProxy:
    """Passes bytes on between clients and a server, and counts; ends with the `with` block.

    Args:
        target: The server's API, with its port.
    """

    def __init__(self, target: SplitResult) -> None:
        self._target = target
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.api_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}{target.path}"
        """What clients are to be told."""

    def __enter__(self) -> Self:
        """Begin to listen."""
        threading.Thread(target=self._accept, name="counting proxy", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take no more connections; those that there are stay."""
        self._listener.close()

    def counts(self) -> dict[str, int]:
        """Return the number of each kind so far."""
        with self._lock:
            return dict(sorted(self._counts.items()))

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection((self._target.hostname or "127.0.0.1", self._target.port or 80))
            for one, other, counter in ((client, server, ClientCounter(self._counts)), (server, client, None)):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._pass_on, args=(one, other, counter), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, counter: ClientCounter | None) -> None:
        try:
            while data := source.recv(_BLOCK):
                sink.sendall(data)
                if counter is not None:
                    with self._lock:
                        counter.feed(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            # One of the two has closed the connection in the middle of it.
            sink.close()

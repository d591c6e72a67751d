"""A loopback proxy in front of Prefect's server that can answer 503 or nothing at all."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import urllib.parse

BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Proxy:
    """Relays bytes, so that websockets pass too. In a thread of its own.

    Args:
        api_url: The real API.
        port: Where to listen; 0 for any free port.
    """

    def __init__(self, api_url, port=0):
        parts = urllib.parse.urlsplit(api_url)
        self._target = parts.hostname, parts.port
        self._path = parts.path
        self._port = port
        self._mode = "pass"
        self._writers = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._serve, "127.0.0.1", self._port))
        host, port = self._server.sockets[0].getsockname()
        self.api_url = f"http://{host}:{port}{self._path}"
        return self

    def __exit__(self, *_):
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(120)
        self._loop.close()

    def switch(self, mode):
        """Pass everything on ("pass"), answer 503 ("busy") or nothing ("stall"); what is connected is cut off."""
        self._call(self._switch(mode))

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(120)

    async def _switch(self, mode):
        self._mode = mode
        for writer in self._writers:
            writer.transport.abort()

    async def _stop(self):
        await self._switch("pass")
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader, writer):
        self._writers.add(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if self._mode == "busy":
                await reader.readuntil(b"\r\n\r\n")
                writer.write(BUSY)
                await writer.drain()
            elif self._mode == "stall":
                await reader.read()
            else:
                await self._relay(reader, writer)
        self._writers.discard(writer)
        writer.close()

    async def _relay(self, reader, writer):
        there, back = await asyncio.open_connection(*self._target)
        self._writers.add(back)
        try:
            await asyncio.gather(self._copy(reader, back), self._copy(there, writer))
        finally:
            self._writers.discard(back)
            back.close()

    @staticmethod
    async def _copy(reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

"""A TCP proxy that stands between a store and its server, and breaks the connection on purpose."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

# So much is held between the two sides: who sends more to one that is stalled has to wait.
PIECE = 65536


@dataclass
class Proxy:
    """What goes wrong, and when.

    Attributes
    ----------
    url : str
        The server's URL through this proxy.
    fault : str
        ``none``; ``stall``: nothing is passed on any more, in neither direction; ``cut``: both
        connections are reset; ``deaf``: what the client sends is passed, the answers are not.
    after : bytes
        The fault comes when the client has sent this; at once if it is empty.
    more_bytes : int
        And that much more.
    hit : asyncio.Event
        Set when the fault has come.
    """

    url: str = ""
    fault: str = "none"
    after: bytes = b""
    more_bytes: int = 0
    hit: asyncio.Event = field(default_factory=asyncio.Event)

    def arm(self, fault: str, after: bytes = b"", more_bytes: int = 0) -> None:
        """Let this go wrong from now on, for connections that are there too."""
        self.fault, self.after, self.more_bytes = fault, after, more_bytes
        self.hit.clear()
        if fault != "none" and not after:
            self.hit.set()

    def heal(self) -> None:
        """Pass everything again, on new connections."""
        self.arm("none")

    async def serve(self, client: tuple, server: tuple) -> None:
        forth = asyncio.create_task(self._requests(client[0], server[1], client[1]))
        back = asyncio.create_task(self._answers(server[0], client[1]))
        try:
            await asyncio.wait((forth, back), return_when=asyncio.FIRST_COMPLETED)
        finally:
            forth.cancel()
            back.cancel()
            await asyncio.gather(forth, back, return_exceptions=True)

    async def _requests(self, reader, server, client) -> None:
        seen, left = b"", None
        while data := await reader.read(PIECE):
            if self.fault != "none" and not self.hit.is_set():
                seen = (seen + data)[-2 * PIECE :]
                if left is None and self.after in seen:
                    left = self.more_bytes
                elif left is not None:
                    left -= len(data)
                if left is not None and left <= 0:
                    self.hit.set()
            if self.hit.is_set() and self.fault == "stall":
                await asyncio.Event().wait()
            if self.hit.is_set() and self.fault == "cut":
                client.transport.abort()
                server.transport.abort()
                return
            server.write(data)
            await server.drain()

    async def _answers(self, reader, client) -> None:
        while data := await reader.read(PIECE):
            if not self.hit.is_set():
                client.write(data)
                await client.drain()


@asynccontextmanager
async def proxied(url: str) -> AsyncIterator[Proxy]:
    """Listen on a free port in front of a server; at the end nothing of it is left."""
    parts = urlsplit(url)
    proxy = Proxy()
    tasks = []

    async def handle(reader, writer) -> None:
        tasks.append(asyncio.current_task())
        server = None
        try:
            if proxy.fault == "stall" and proxy.hit.is_set():
                await asyncio.Event().wait()
            server = await asyncio.open_connection(parts.hostname, parts.port)
            await proxy.serve((reader, writer), server)
        except (ConnectionError, asyncio.CancelledError):
            pass  # asyncio logs what a handler raises, and that it was cancelled
        finally:
            writer.transport.abort()
            if server is not None:
                server[1].transport.abort()

    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PIECE)
    async with await asyncio.start_server(handle, sock=listener, limit=PIECE):
        place = f"{parts.username}:{parts.password}@127.0.0.1:{listener.getsockname()[1]}"
        proxy.url = urlunsplit(parts._replace(netloc=place))
        try:
            yield proxy
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

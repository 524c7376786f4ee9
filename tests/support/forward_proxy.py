"""A small HTTP proxy on loopback: CONNECT, and requests with a whole URL.

Names of ``hosts`` resolve here and nowhere else. With ``tls`` it opens TLS by a certificate of its own and
speaks plain HTTP to the host's port, as proxies do that look into everything.
"""

import asyncio
import contextlib
import ssl
from base64 import b64encode
from collections.abc import Mapping
from types import TracebackType
from typing import Self


class ForwardProxy:
    """Listens as a context manager; ``port`` is known inside. ``asked`` has each request's method and target.

    With ``credentials`` (``user:password``) it refuses requests without them. ``answer`` is sent to all.
    """

    def __init__(
        self,
        hosts: Mapping[str, int] | None = None,
        *,
        credentials: str = "",
        answer: str = "",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._hosts, self._tls, self._answer = hosts or {}, tls, answer
        self._wanted = f"basic {b64encode(credentials.encode()).decode()}".lower() if credentials else ""
        self.asked: list[str] = []
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._serve(reader, writer)
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        request, *lines = head.rstrip().split("\r\n")
        method, target, version = request.split(" ")
        self.asked.append(f"{method} {target}")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        if self._answer or (self._wanted and headers.get("proxy-authorization") != self._wanted):
            refusal = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n"
            writer.write((self._answer or f"{refusal}Content-Length: 0\r\n\r\n").encode())
            await writer.drain()
            return
        place = target.removeprefix("http://").partition("/")[0]
        name = place.partition(":")[0]
        # whoever is not in the table gets no connection: nothing leaves this machine
        there_reader, there = await asyncio.open_connection("127.0.0.1", self._hosts[name])
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await writer.drain()
            if self._tls is not None:
                await writer.start_tls(self._tls)
        else:
            path = target.removeprefix(f"http://{place}") or "/"
            kept = [line for line in lines if not line.lower().startswith("proxy-")]
            there.write("\r\n".join([f"{method} {path} {version}", *kept, "", ""]).encode("latin-1"))
        ways = [asyncio.ensure_future(way) for way in (_copy(reader, there), _copy(there_reader, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            there.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()

"""A load balancer in a few lines: one address, several backends, each connection to the next that answers.

And a bad network: it loses everything while it is ``silent``, is late by ``late_s``, and can ``reset``."""

import asyncio
import contextlib
from collections.abc import Sequence
from itertools import cycle
from types import TracebackType
from typing import Self


class RoundRobin:
    """Listens on loopback as a context manager; ``port`` is known inside. It looks at no byte."""

    def __init__(self, backends: Sequence[int], host: str = "127.0.0.1", *, port: int = 0) -> None:
        """``backends`` are ports on ``host``; ``port`` is ours, any free one unless given."""
        self._backends, self._next = backends, cycle(backends)
        self._host = host
        self.silent, self.late_s = False, 0.0
        self._connections: set[asyncio.Task[None]] = set()
        self._clients: set[asyncio.StreamWriter] = set()
        self.port = port

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def reset(self) -> None:
        """Every client's connection ends without a word."""
        for writer in self._clients:
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
        self._clients.add(writer)
        try:
            for port in (next(self._next) for _ in self._backends):
                with contextlib.suppress(OSError):
                    backend_reader, backend_writer = await asyncio.open_connection(self._host, port)
                    break
            else:
                return
            try:
                ways = [self._copy(reader, backend_writer), self._copy(backend_reader, writer)]
                tasks = [asyncio.ensure_future(way) for way in ways]
                # when one side has ended, the other is to hear of it
                with contextlib.suppress(asyncio.CancelledError):  # at our end; asyncio would log it
                    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for copying in tasks:
                    copying.cancel()
            finally:
                backend_writer.close()
        finally:
            self._clients.discard(writer)
            writer.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await asyncio.sleep(self.late_s)
                if not self.silent:
                    writer.write(data)
                    await writer.drain()

"""A bad network before one server: every byte is late, connections are reset, vanish without a word, or are
accepted and never answered. ``calm`` ends the faults but not what they have done: a peer that has vanished
stays so, and who waits for it has to notice by itself.
"""

import asyncio
import contextlib
import random
import socket
import struct
from collections import Counter
from types import TracebackType
from typing import Final, Literal, Self

DELAY_S: Final = (0.05, 0.15)
"""Each way, evenly spread; what was sent first arrives first."""
_DEAF: Final = 0.15
"""So many of the connections that are opened in a storm are accepted, and nothing is ever heard on them."""

Fault = Literal["reset", "vanish"]


class _Link:
    """One connection of a client, and ours to the server in its place."""

    def __init__(self, writers: list[asyncio.StreamWriter]) -> None:
        self.writers = writers
        self.vanished = False


class BadNetwork:
    """Listens on loopback as a context manager; ``port`` is known inside. ``target`` is the server's port.

    Late always; resets and silences only in a storm: between ``storm`` and ``calm``, or by ``strike``."""

    def __init__(self, dice: random.Random, target: int = 0) -> None:
        self.target, self.port = target, 0
        self.faults: Counter[str] = Counter()
        self._dice = dice
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stormy = False
        self._storm: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.calm()
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def storm(self, every_s: float) -> None:
        """Until ``calm``: about so often something happens to one connection, and some new ones are deaf."""
        self._stormy = True
        self._storm = asyncio.ensure_future(self._strikes(every_s))

    def calm(self) -> None:
        self._stormy = False
        if self._storm is not None:
            self._storm.cancel()

    async def _strikes(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(self._dice.uniform(0.5, 1.5) * every_s)
            self.strike(self._dice.choice(("reset", "vanish")))

    def strike(self, fault: Fault) -> bool:
        """One of the connections, if there is any, is reset, or vanishes: whether there was one."""
        alive = [link for link in self._links if not link.vanished]
        if not alive:
            return False
        self.faults[fault] += 1
        link = self._dice.choice(alive)
        if fault == "vanish":
            link.vanished = True
            return True
        for writer in link.writers:
            with contextlib.suppress(OSError):
                there = writer.get_extra_info("socket")
                there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        return True

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        writers = [writer]
        try:
            if self._stormy and self._dice.random() < _DEAF:
                self.faults["deaf"] += 1
                while await reader.read(65536):
                    pass
                return
            await asyncio.sleep(self._dice.uniform(*DELAY_S))
            there_reader, there = await asyncio.open_connection("127.0.0.1", self.target)
            writers.append(there)
            link = _Link(writers)
            self._links.add(link)
            ways = [
                asyncio.ensure_future(self._carry(link, *way))
                for way in ((reader, there), (there_reader, writer))
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                if link.vanished:  # no end of it is ever told to the other side
                    await asyncio.Event().wait()
            finally:
                self._links.discard(link)
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except OSError:
            pass
        finally:
            for one in writers:
                one.close()

    async def _carry(self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)
        delivering = asyncio.ensure_future(self._deliver(link, under_way, writer))
        loop, due = asyncio.get_running_loop(), 0.0
        try:
            with contextlib.suppress(OSError):
                while data := await reader.read(65536):
                    due = max(due, loop.time() + self._dice.uniform(*DELAY_S))
                    await under_way.put((due, data))
            await under_way.put((max(due, loop.time() + DELAY_S[0]), b""))
            await delivering
        finally:
            delivering.cancel()

    async def _deliver(
        self, link: _Link, under_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while True:
                due, data = await under_way.get()
                await asyncio.sleep(due - loop.time())
                if not data:
                    return
                if not link.vanished:
                    writer.write(data)
                    await writer.drain()

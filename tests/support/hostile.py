"""Raw HTTP against an ingress: good pushes as bytes, mutations of them, and a reader of whatever comes back.

It knows just enough of HTTP/1 to read an answer; what it sends is meant to be wrong.
"""

import asyncio
import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlencode

import psutil

from tests.support.pusher import signed

CLASSES = {
    400: b'{"error":"malformed"}',
    403: b'{"error":"forbidden"}',
    404: b'{"error":"not_found"}',
    405: b'{"error":"malformed"}',
    408: b'{"error":"malformed"}',
    413: b'{"error":"too_large"}',
}
"""What a refusal says, by status: nothing but its class."""


@dataclass(frozen=True)
class Reply:
    """One answer; ``status`` 0 when the connection was closed or stayed silent."""

    status: int
    headers: dict[str, str]
    body: bytes


NOTHING = Reply(0, {}, b"")


def raw_push(plaintext: bytes, path: str = "/callback") -> bytes:
    """A good push as the bytes of its request."""
    query, body = signed(plaintext)
    head = (
        f"POST {path}?{urlencode(query)} HTTP/1.1\r\nHost: bridge.example\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def exchange(port: int, request: bytes, silence_s: float) -> Reply:
    """Send the bytes on a connection of their own; the first answer, if one begins within ``silence_s``."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        return await read_reply(reader, silence_s)
    except ConnectionError:
        return NOTHING
    finally:
        writer.transport.abort()


async def read_reply(reader: asyncio.StreamReader, silence_s: float) -> Reply:
    """The next answer on a connection; that the body is wanted (100) is none."""
    try:
        reply = Reply(100, {}, b"")
        while reply.status == 100:
            reply = parsed(await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), silence_s))
        body = await asyncio.wait_for(reader.readexactly(int(reply.headers.get("content-length", 0))), 10)
    except (TimeoutError, asyncio.IncompleteReadError):
        return NOTHING
    return Reply(reply.status, reply.headers, body)


def parsed(head: bytes) -> Reply:
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return Reply(int(first.split(" ")[1]), {name.lower(): value.strip() for name, _, value in pairs}, b"")


class Line:
    """A blocking connection that is made anew when the other side has closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def send(self, request: bytes, *, head_only: bool = False) -> Reply:
        """Send one request and read its answer; ``head_only`` as for HEAD."""
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=20)
        received = b""
        try:
            with suppress(ConnectionError):  # it may have refused and closed before it had all
                self._socket.sendall(request)
            while b"\r\n\r\n" not in received:
                received += self._more()
            head, _, body = received.partition(b"\r\n\r\n")
            reply = parsed(head)
            while not head_only and len(body) < int(reply.headers.get("content-length", 0)):
                body += self._more()
        except ConnectionError:
            self.close()
            return NOTHING
        if reply.headers.get("connection") == "close" or head.startswith(b"HTTP/1.0"):
            self.close()
        return Reply(reply.status, reply.headers, body)

    def _more(self) -> bytes:
        assert self._socket is not None
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionResetError
        return data

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


_MORSELS = (
    b"\r\n",
    b"\n",
    b"\r\n\r\n",
    b"\0",
    b"%00",
    b"%0d%0aX-Injected: 1",
    b"%zz",
    b"\xff\xfe",
    b"Content-Length: 5\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Encoding: gzip\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
    b"Expect: 100-continue\r\n",
    b": no-name\r\n",
    b" folded: line\r\n",
    b"HTTP/1.0",
    b"HTTP/2.0",
    b"?signature=x",
    b"&nonce=",
    b"../",
    b'{"encrypt":',
    b"[" * 600,
    b"9" * 400,
    b"A" * 9000,
)


def mutations(seed: bytes, dice: random.Random) -> Iterator[bytes]:
    """Without end: ``seed`` with one to four things done to its bytes."""
    while True:
        data = bytearray(seed)
        for _ in range(dice.randint(1, 4)):
            place = dice.randrange(len(data) + 1)
            end = min(len(data), place + dice.choice((1, 2, 8, 40)))
            match dice.randrange(7):
                case 0:
                    data[place:end] = bytes(b ^ (1 << dice.randrange(8)) for b in data[place:end])
                case 1:
                    del data[place:end]
                case 2:
                    data[place:place] = data[place:end]
                case 3:
                    data[place:place] = dice.choice(_MORSELS)
                case 4:
                    data[place:end] = dice.randbytes(end - place)
                case 5:
                    del data[place:]
                case _:
                    data[place:place] = seed
        if bytes(data) != seed:
            yield bytes(data)


def memory_bytes(pid: int) -> int:
    """Resident memory of one process."""
    return int(psutil.Process(pid).memory_info().rss)

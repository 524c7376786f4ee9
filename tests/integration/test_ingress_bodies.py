"""Bodies that come later than their heads, over real HTTP: who is told to go on, and what never comes."""

import asyncio
import errno
from urllib.parse import urlencode

import pytest

from tests.integration.test_ingress_http import door, push
from tests.support.waiting import eventually
from tests.unit.ingress.test_connections import Wire

__all__ = ["door"]


def busy(door):
    return any(connection.busy for connection in door.server._server.connections)


def asking(length, path, version="1.1"):
    """A head whose sender wants to know whether to go on."""
    lines = [f"POST {path} HTTP/{version}", "Host: x", f"Content-Length: {length}", "Expect: 100-Continue"]
    return "\r\n".join([*lines, "", ""]).encode()


async def first_line(reader):
    return (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).split(b"\r\n")[0]


async def test_a_sender_that_asks_whether_to_go_on_is_told(door):
    query, body = push()
    path = f"/callback?{urlencode(query)}"
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    for _ in range(2):
        writer.write(asking(len(body), path))
        assert await first_line(reader) == b"HTTP/1.1 100 Continue"
        writer.write(body)
        assert await first_line(reader) == b"HTTP/1.1 200 OK"
        await reader.readuntil(b"}")
    writer.close()


async def test_a_sender_whose_body_has_begun_to_come_needs_not_be_told(door):
    query, body = push()
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(asking(len(body), f"/callback?{urlencode(query)}") + body[:9])
    await eventually(lambda: busy(door), 10, "it is read")
    writer.write(body[9:])
    assert await first_line(reader) == b"HTTP/1.1 200 OK"
    writer.close()


async def test_a_sender_that_is_refused_is_not_told_to_go_on(door):
    for head, answer in (
        (asking(500, "/elsewhere"), b"HTTP/1.1 404 Not Found"),
        (asking(70_000, "/callback"), b"HTTP/1.1 413 Request Entity Too Large"),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(head)
        assert await first_line(reader) == answer
        writer.close()


async def test_a_sender_of_http_1_0_is_not_told_to_go_on(door):
    query, body = push()
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(asking(len(body), f"/callback?{urlencode(query)}", version="1.0"))
    await eventually(lambda: busy(door), 10, "it is read")
    writer.write(body)
    assert await first_line(reader) == b"HTTP/1.1 200 OK"
    writer.close()


@pytest.mark.parametrize("number", [errno.EHOSTUNREACH, errno.ETIMEDOUT, errno.ECONNRESET, None])
async def test_however_a_connection_is_lost_it_is_no_fault_of_ours(door, number):
    connection = door.server._server()
    connection.connection_made(Wire())
    connection.data_received(b"POST /callback HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
    await asyncio.sleep(0)
    assert connection.busy
    connection.connection_lost(number and OSError(number, "lost"))
    await connection._task
    assert door.counted("unavailable", "fault") == 0
    assert door.counted("malformed", "payload") == 1

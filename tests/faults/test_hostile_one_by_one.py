"""Hostile requests one by one: each is refused by its class, and a fault of ours is no success."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from dingbridge.ingress.callback import Refused
from tests.faults.hostile_http import MARKER, POST, check, raw_line, request
from tests.integration.test_ingress_http import Listener, listener
from tests.support.hostile import CLASSES, exchange
from tests.support.waiting import eventually

__all__ = ["listener"]


@pytest.mark.parametrize(
    "sent",
    {
        "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "HTTP/9.9": request("POST /callback HTTP/9.9"),
        "bare line feeds": b"POST /callback HTTP/1.1\nHost: x\nContent-Length: 2\n\n{}",
        "no host": b"POST /callback HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
        "long URL": request("POST /callback?a=" + "a" * 20_000 + " HTTP/1.1"),
        "long header": request(POST, "X: " + "y" * 20_000),
        "many headers": request(POST, *(f"X{n}: y" for n in range(1000))),
        "NUL in the path": request("POST /call\0back HTTP/1.1"),
        "NUL in a header": request(POST, "X: a\0b"),
        "negative length": request(POST, "Content-Length: -1"),
        "absurd length": request(POST, "Content-Length: " + "9" * 30),
        "two lengths": request(POST, "Content-Length: 2", "Content-Length: 3", body=b"{}1"),
        "length and chunks": request(
            POST, "Content-Length: 2", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"
        ),
        "bad chunk size": request(POST, "Transfer-Encoding: chunked", body=b"zz\r\n{}\r\n0\r\n\r\n"),
        "folded header": request(POST, "X: a", " b: c"),
        "raw bytes in the query": request("POST /callback?nonce=\xff\xfe HTTP/1.1"),
        "bad authority": request("POST http://[::1/callback HTTP/1.1"),
    }.items(),
    ids=lambda item: item[0],
)
async def test_what_is_no_http_is_refused_and_stored_nowhere(
    listener: Listener, sent: tuple[str, bytes]
) -> None:
    assert (await exchange(listener.port, sent[1], silence_s=10)).status == 400
    assert listener.kept() == []
    assert listener.counted("unavailable", "fault") == 0
    assert (await listener.push())[0] == 200


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(sent, status, id=name)
        for name, sent, status in (
            ("HTTP/1.0", b"POST /callback HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}", 400),
            ("declared too large", request(POST, "Content-Length: 70000"), 413),
            ("GET", request("GET /callback HTTP/1.1"), 405),
            ("other path", request("POST /metrics HTTP/1.1", "Content-Length: 0"), 404),
            (
                "upgrade",
                request(POST, "Connection: upgrade", "Upgrade: websocket", "Content-Length: 2", body=b"{}"),
                400,
            ),
            (
                "a bomb of values",
                request(POST, "Content-Length: 60003", body=b"[" + b"[]," * 20_000 + b"[]"),
                400,
            ),
        )
    ],
)
async def test_each_is_refused_by_class_and_names_no_software(
    listener: Listener, sent: bytes, status: int
) -> None:
    reply = await exchange(listener.port, sent, silence_s=10)
    assert (reply.status, reply.body) == (status, CLASSES[status])
    check(reply, sent)
    assert listener.kept() == []
    assert listener.counted("unavailable", "fault") == 0
    assert (await listener.push())[0] == 200


async def test_pipelined_requests_are_answered_in_turn(listener: Listener) -> None:
    good = raw_line(listener)
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(request("GET / HTTP/1.1") + good + request("GET /callback HTTP/1.1") + good)
    replies = [(await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1] for _ in range(1)]
    rest = b""
    while rest.count(b"HTTP/1.1 ") < 3:
        rest += await asyncio.wait_for(reader.read(65536), 10)
    replies += [part.split(b" ")[0] for part in rest.split(b"HTTP/1.1 ")[1:]]
    assert replies == [b"404", b"200", b"405", b"200"]
    writer.close()
    assert len(listener.kept()) == 1


async def test_a_success_names_no_software_either(listener: Listener) -> None:
    reply = await exchange(listener.port, raw_line(listener), silence_s=10)
    assert reply.status == 200
    assert reply.headers["server"] == "callback"


async def test_a_sender_that_asks_before_it_sends_the_body_is_told_to(listener: Listener) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    head, _, body = raw_line(listener).partition(b"\r\n\r\n")
    writer.write(head + b"\r\nExpect: 100-continue\r\n\r\n")
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10) == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_a_fault_of_ours_is_no_success_and_logged_without_what_was_sent(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(entry: object) -> bool:
        raise ValueError(MARKER)

    monkeypatch.setattr(listener.journal, "append", fail)
    with capture_logs() as logs:
        reply = await exchange(listener.port, raw_line(listener), silence_s=10)
    assert (reply.status, reply.body) == (500, b'{"error":"unavailable"}')
    assert listener.counted("unavailable", "fault") == 1
    [fault] = [line for line in logs if line["event"] == "callback.fault"]
    assert fault["error"] == "ValueError"
    assert fault["place"].startswith("test_hostile_one_by_one.py:")
    assert MARKER not in str(logs)


async def test_a_chunked_body_that_came_with_its_head_is_held_to_the_limit(tmp_path: Path) -> None:
    body = b"x" * 2000
    chunked = request(POST, "Transfer-Encoding: chunked", body=b"7d0\r\n" + body + b"\r\n0\r\n\r\n")
    async with Listener(tmp_path, max_bytes=1024) as listener:
        assert (await exchange(listener.port, chunked, silence_s=10)).status == 413


async def test_a_sender_that_hangs_up_in_the_middle_is_no_fault_of_ours(listener: Listener) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(request(POST, "Content-Length: 500", body=b"{"))
    await writer.drain()
    writer.transport.abort()
    await eventually(lambda: listener.counted("malformed", "payload") == 1, what="it is counted")

    async def hung_up() -> AsyncIterator[bytes]:
        """What aiohttp's stream does when the connection was lost before the request's task had begun."""
        raise RuntimeError("Connection closed.")
        yield b""

    def request_of(transport: object) -> SimpleNamespace:
        body = SimpleNamespace(is_eof=lambda: False, iter_any=hung_up)
        return SimpleNamespace(content=body, content_length=500, headers={}, transport=transport)

    with pytest.raises(Refused) as refused:
        await listener.server._body(request_of(transport=None))
    assert refused.value.reason == "payload"
    with pytest.raises(RuntimeError):
        await listener.server._body(request_of(transport=object()))
    assert listener.counted("unavailable", "fault") == 0

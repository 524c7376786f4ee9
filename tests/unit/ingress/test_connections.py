"""One connection, byte for byte: what its parser holds back is answered in turn; nothing waits for ever."""

import asyncio
import errno
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import pytest

from ingress.connections import Connections
from ingress.exchange import Answer, Request

GARBAGE = b"GARBAGE\r\n\r\n"


def post(body: bytes = b"{}") -> bytes:
    return b"POST /callback HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body


class Wire(asyncio.Transport):
    """What a connection sees of its peer; ``sent`` is what the peer would read."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.reading, self.closed = True, False

    def write(self, data: Any) -> None:
        self.sent += data

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close

    @property
    def statuses(self) -> list[int]:
        return [int(part[:3]) for part in self.sent.split(b"HTTP/1.1 ")[1:]]


class Ours:
    """Answers each request when its gate is open, and knows what ``Connections`` told it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.told: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def answer(self, request: Request) -> Answer:
        body = await request.content.read()
        await self.gate.wait()
        self.bodies.append(body)
        return Answer(b"{}", HTTPStatus.OK)

    def broken(self, request: Request, error: str) -> None:
        self.told.append("broken")

    def fault(self, error: BaseException) -> None:
        self.told.append(f"fault {error!r}")

    def dropped(self, reason: str) -> None:
        self.told.append(f"dropped {reason}")

    def open(self, count: int) -> None:
        pass


class Peer:
    def __init__(self, connections: Connections | None = None) -> None:
        self.ours, self.wire = Ours(), Wire()
        self.connection = (connections or Connections(self.ours.answer, self.ours, 10))()
        self.connection.connection_made(self.wire)

    async def send(self, *packets: bytes) -> None:
        """Each packet is read when the one before it has been dealt with, as far as that goes."""
        for packet in packets:
            self.connection.data_received(packet)
            await settled()


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def until(met: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if met():
            return
        await asyncio.sleep(0)


@pytest.fixture
async def peer() -> Peer:
    return Peer()


@pytest.mark.parametrize("large", [1000, 140_000, 300_000])
@pytest.mark.parametrize("small", [10, 31, 32, 33, 100])
async def test_requests_behind_a_large_body_are_all_answered(peer: Peer, large: int, small: int) -> None:
    await peer.send(post(b"x" * large) + post() * small)
    await until(lambda: len(peer.wire.statuses) == 1 + small)
    assert peer.wire.statuses == [200] * (1 + small)
    assert peer.wire.reading


async def test_wherever_packets_end_each_request_is_answered_with_its_own_body(peer: Peer) -> None:
    stream = post(b"one") + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + post(b"") + post(b"four")
    for place in range(1, len(stream)):
        peer.ours.bodies.clear()
        await peer.send(stream[:place], stream[place:])
        assert peer.ours.bodies == [b"one", b"", b"", b"four"], place
    await peer.send(*(stream[place : place + 1] for place in range(len(stream))))
    assert peer.ours.bodies[4:] == [b"one", b"", b"", b"four"]
    assert peer.ours.told == []


async def test_a_peer_that_sends_before_it_is_answered_has_to_wait(peer: Peer) -> None:
    peer.ours.gate.clear()
    await peer.send(post())
    assert peer.wire.reading, "one that waits for its answer is not held up"
    packets = 0
    while peer.wire.reading and packets < 100:
        await peer.send(post() * 100)
        packets += 1
    assert packets <= 2
    peer.ours.gate.set()
    await until(lambda: len(peer.wire.statuses) > 100 * packets)
    assert peer.wire.statuses == [200] * (1 + 100 * packets)
    assert peer.wire.reading


async def test_a_body_behind_another_request_is_read_to_its_end(peer: Peer) -> None:
    peer.ours.gate.clear()
    begun = post(b"y" * 300_000)
    await peer.send(post(b"x") + begun[:1000], begun[1000:2000], begun[2000:3000])
    assert not peer.wire.reading
    peer.ours.gate.set()
    await settled()
    assert peer.wire.reading, "the rest of the body can come"
    await peer.send(begun[3000:])
    assert peer.ours.bodies == [b"x", b"y" * 300_000]


@pytest.mark.parametrize("good", [1, 2, 40])
async def test_what_stands_before_garbage_is_answered_for_itself(peer: Peer, good: int) -> None:
    await peer.send(post(b"before") * good + GARBAGE + post(b"behind"))
    await until(lambda: peer.wire.closed)
    assert peer.wire.statuses == [200] * good + [400]
    assert peer.ours.bodies == [b"before"] * good
    assert peer.ours.told == ["broken"]


async def test_a_head_that_began_earlier_is_answered_before_garbage_too(peer: Peer) -> None:
    request = post(b"before")
    await peer.send(request[:20], request[20:] + request + GARBAGE)
    await until(lambda: peer.wire.closed)
    assert peer.wire.statuses == [200, 200, 400]


async def test_a_connection_that_is_lost_behind_a_refused_body_ends_quietly(peer: Peer) -> None:
    async def refuse(request: Request) -> Answer:
        return Answer(b"{}", HTTPStatus.NOT_FOUND)

    peer.connection._connections.handler = refuse
    await peer.send(post(b"x" * 1000)[:-1])
    assert peer.wire.statuses == [404]
    task = peer.connection._task
    assert task is not None
    assert not task.done(), "the rest is read and dropped"
    peer.connection.connection_lost(OSError(errno.EHOSTUNREACH, "No route to host"))
    await task


def begun(size: int) -> bytes:
    """A head of so many bytes that does not end."""
    lines = b"POST /callback HTTP/1.1\r\nHost: x\r\n"
    while len(lines) < size:
        lines += b"X-%d: " % len(lines) + b"y" * min(4000, size - len(lines)) + b"\r\n"
    return lines[:size]


def at_once(head: bytes) -> list[bytes]:
    return [head]


def behind_a_request(head: bytes) -> list[bytes]:
    return [post() + head]


def behind_the_rest_of_a_body(head: bytes) -> list[bytes]:
    return [post()[:-1], post()[-1:] + head]


def in_small_packets(head: bytes) -> list[bytes]:
    return [head[at : at + 1000] for at in range(0, len(head), 1000)]


@pytest.mark.parametrize("come", [at_once, behind_a_request, behind_the_rest_of_a_body, in_small_packets])
async def test_heads_that_do_not_end_share_a_bound_and_the_oldest_makes_room(
    come: Callable[[bytes], list[bytes]],
) -> None:
    ours = Ours()
    connections = Connections(ours.answer, ours, 10_000)
    connections.heads.limit = 450_000
    peers = [Peer(connections) for _ in range(20)]
    for peer in peers:
        await peer.send(*come(begun(100_000)))
    assert 390_000 < connections.heads.held_bytes <= 450_000
    assert [peer.wire.closed for peer in peers] == [True] * (20 - 4) + [False] * 4
    assert set(ours.told) == {"dropped crowded"}
    good = Peer(connections)
    await good.send(post(b"good"))
    assert good.wire.statuses == [200]
    for peer in peers:
        peer.connection.connection_lost(None)
    assert connections.heads.held_bytes == 0


async def test_whole_requests_hold_nothing(peer: Peer) -> None:
    for packets in ([post(b"x" * 200_000)], [post(b"x" * 200_000)[:-1], b"x"], [post()[:30], post()[30:]]):
        await peer.send(*packets)
        assert peer.connection._connections.heads.held_bytes == 0
    assert peer.wire.statuses == [200] * 3


CHUNKED = b"POST /callback HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"


@pytest.mark.parametrize("request_", [post(), CHUNKED])
async def test_whoever_sent_whole_requests_makes_no_room_for_heads_that_do_not_end(request_: bytes) -> None:
    """A proxy's connection, say, which brings heads and bodies in packets of their own."""
    ours = Ours()
    connections = Connections(ours.answer, ours, 10_000)
    connections.heads.limit = 450_000
    good = Peer(connections)
    head = request_.index(b"\r\n\r\n") + 4
    await good.send(request_[:head], request_[head:-1], request_[-1:])
    for _ in range(5):
        await Peer(connections).send(begun(100_000))
    assert ours.told == ["dropped crowded"]
    assert not good.wire.closed
    await good.send(post())
    assert good.wire.statuses == [200] * 2

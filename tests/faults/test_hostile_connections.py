"""Connections that only cost: idle ones, slow heads, slow and large bodies, peers that never read.

500 idle ones; 10,000 with ``DINGBRIDGE_LONG=1``.
"""

import asyncio
import json
import os
import resource
import socket
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.faults.hostile_http import raw_line
from tests.integration.test_ingress_http import Door, door
from tests.support.hostile import exchange, memory_bytes, read_reply
from tests.support.ingress import IngressUnderTest
from tests.support.processes import Processes, free_port
from tests.support.pusher import Pusher
from tests.support.waiting import eventually

__all__ = ["door"]

IDLE = 10_000 if os.environ.get("DINGBRIDGE_LONG") else 500
SLOW = 40
BYTES_PER_IDLE = 64 * 1024


def event(number: int) -> bytes:
    return json.dumps(
        {"EventType": "check_in", "eventId": f"e{number}", "CorpId": "c", "StaffId": "u"}
    ).encode()


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connected(port: int, count: int, first: bytes = b"") -> AsyncIterator[list[Connection]]:
    """``count`` connections that have sent ``first``."""
    found: list[Connection] = []
    try:
        for _ in range(count):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(first)
            found.append((reader, writer))
        yield found
    finally:
        for _, writer in found:
            writer.transport.abort()


async def closed(connection: Connection) -> bool:
    """Whether the other side has closed it, by now or within moments."""
    try:
        return await asyncio.wait_for(connection[0].read(1), 0.05) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def metric(ingress: IngressUnderTest, name: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{ingress.admin_port}/metrics", timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[-1])
    return 0.0


def dropped(door: Door, reason: str) -> float:
    return door.registry.get_sample_value("dingbridge_connections_dropped_total", {"reason": reason}) or 0.0


def held(door: Door) -> int:
    return int(door.server._unfinished.room.held_bytes)


async def test_idle_and_slow_connections_keep_nobody_out(processes: Processes, tmp_path: Path) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if IDLE > 500:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    nowhere = {"KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}"}
    ingress = IngressUnderTest(processes, tmp_path, nowhere)
    await asyncio.to_thread(ingress.start)
    assert ingress.process is not None
    pusher = Pusher(ingress.url)
    numbers = iter(range(10**9))
    stop = asyncio.Event()

    def endless() -> Iterator[tuple[int, bytes]]:
        while not stop.is_set():
            number = next(numbers)
            yield number, event(number)

    before = memory_bytes(ingress.process.pid)
    load = asyncio.ensure_future(pusher.push_all(endless(), concurrency=2))
    slow_head = b"POST /callback HTTP/1.1\r\nHost: x\r\nX-"
    slow_body = b"POST /callback HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{"
    async with (
        connected(ingress.port, IDLE) as idle,
        connected(ingress.port, SLOW, slow_head) as heads,
        connected(ingress.port, SLOW, slow_body) as bodies,
    ):
        enough = min(IDLE, 9_000)

        def open_now() -> float:
            return metric(ingress, "dingbridge_connections")

        await eventually(lambda: asyncio.to_thread(lambda: open_now() > enough), 60, f"{enough} are open")
        answered = len(pusher.succeeded)
        growth = memory_bytes(ingress.process.pid) - before
        # slow ones go on for as long as they are let
        tell = asyncio.ensure_future(_trickle([*heads, *bodies]))
        for reader, _ in bodies:
            assert (await read_reply(reader, 30)).status == 408
        for reader, _ in heads:
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await asyncio.wait_for(reader.readexactly(1), 30)
        tell.cancel()
        slow = 'dingbridge_connections_dropped_total{reason="slow_head"}'
        assert await asyncio.to_thread(metric, ingress, slow) == SLOW
        assert not await closed(idle[-1]), "one that is merely idle stays"
        await eventually(lambda: len(pusher.succeeded) > answered + 50, 60, "good pushes go on")
    stop.set()
    await load
    assert set(pusher.answers.values()) == {"success"}
    print(f"{IDLE} idle connections, memory grew by {growth:,} bytes")
    assert growth < 16 * 1024 * 1024 + IDLE * BYTES_PER_IDLE
    await eventually(lambda: asyncio.to_thread(lambda: open_now() < 10), 30, "all are gone")


async def _trickle(connections: list[Connection]) -> None:
    while True:
        for _, writer in connections:
            if not writer.transport.is_closing():
                writer.write(b"a")
        await asyncio.sleep(0.1)


async def test_at_the_limit_the_longest_idle_one_makes_room(tmp_path: Path) -> None:
    async with Door(tmp_path, max_connections=20) as door, connected(door.port, 30) as idle:
        await eventually(lambda: len(door.server._server.connections) == 20, 10, "no more than 20")
        assert await closed(idle[0])
        assert not await closed(idle[-1])
        # the good one is the first of the idle ones no longer, once it has pushed
        assert [(await door.push())[0] for _ in range(3)] == [200, 200, 200]
        async with connected(door.port, 10):
            assert (await door.push())[0] == 200
        assert dropped(door, "crowded") >= 20


async def test_where_all_are_busy_the_new_one_is_turned_away(tmp_path: Path) -> None:
    slow_body = b"POST /callback HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{"
    async with Door(tmp_path, max_connections=5) as door, connected(door.port, 5, slow_body) as busy:
        await eventually(lambda: sum(c.busy for c in door.server._server.connections) == 5, 10, "5 busy")
        async with connected(door.port, 1) as late:
            await eventually(lambda: closed(late[0]), 10, "the late one is closed")
        assert not any([await closed(c) for c in busy])


async def test_a_head_that_does_not_end_is_dropped_and_a_quiet_one_is_not(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingress.connections.HEAD_TIMEOUT_S", 0.1)
    good = raw_line(door)
    async with connected(door.port, 1, good[:40]) as slow, connected(door.port, 1) as quiet:
        await eventually(lambda: closed(slow[0]), 10, "the slow one is closed")
        # a second head on a connection that has served one is held to it, too
        reader, writer = quiet[0]
        writer.write(good)
        assert (await read_reply(reader, 10)).status == 200
        writer.write(good[:40])
        await eventually(lambda: closed(quiet[0]), 10, "closed")
    assert dropped(door, "slow_head") == 2
    reply = await exchange(door.port, good, 10)
    assert reply.status == 200


async def test_a_peer_that_never_reads_is_dropped(door: Door) -> None:
    # small buffers of the kernel, so that it does not take megabytes
    door.server._listener.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(peer, ("127.0.0.1", door.port))
        await loop.sock_sendall(peer, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3000)
        await eventually(lambda: dropped(door, "unread") == 1, 20, "dropped")
    assert (await door.push())[0] == 200


async def test_large_bodies_share_a_bound_and_keep_no_small_one_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingress.bodies.UNFINISHED_MAX_BYTES", 1 << 20)
    head = b"POST /callback HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    async with Door(tmp_path, max_bytes=1 << 20) as door:
        async with connected(door.port, 2, head + b"x" * 700_000) as large:
            status = [(await read_reply(reader, 0.2)).status for reader, _ in large]
            assert sorted(status) == [0, 503]
            assert door.counted("unavailable", "unfinished_bodies") == 1
            assert (await door.push())[0] == 200
        await eventually(lambda: held(door) == 0, 10, "what was given up does not count")
        assert (await door.push(b'{"EventType":"x","a":"' + b"y" * 600_000 + b'"}'))[0] == 200


async def test_many_small_bodies_that_do_not_end_share_the_bound_and_the_oldest_make_room(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door.server._unfinished.room, "limit", 100_000)
    monkeypatch.setattr("ingress.bodies.BODY_TIMEOUT_S", 60.0)
    begun = b"POST /callback HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n" + b"x" * 8000
    given_up = 30 - 100_000 // 8000
    good = raw_line(door)

    def counted() -> float:
        return door.counted("unavailable", "unfinished_bodies")

    async with connected(door.port, 30, begun) as old:
        await eventually(lambda: counted() == given_up, 10, "the rest fits")
        assert 90_000 < held(door) <= 100_000
        assert [(await read_reply(reader, 10)).status for reader, _ in old[:given_up]] == [503] * given_up
        assert not any([await closed(connection) for connection in old[given_up:]])
        # a good one in two packets, between which others come
        before = held(door)
        async with connected(door.port, 1, good[:-1]) as [(reader, writer)]:
            await eventually(lambda: held(door) > before, 10, "it has begun")
            async with connected(door.port, 5, begun):
                await eventually(lambda: counted() == given_up + 5, 10, "they have begun")
                writer.write(good[-1:])
                assert (await read_reply(reader, 10)).status == 200
    await eventually(lambda: held(door) == 0, 10, "all are gone")
    assert door.counted("unavailable", "fault") == 0


async def test_a_body_in_many_packets_is_not_taken_for_a_slow_head(door: Door) -> None:
    head, _, body = raw_line(door).partition(b"\r\n\r\n")
    async with connected(door.port, 1) as [(reader, _)]:
        await eventually(lambda: door.server._server.connections, 10, "accepted")
        [connection] = door.server._server.connections
        for _ in range(2):
            connection.data_received(head + b"\r\n\r\n")
            for place in range(20):  # a packet at each turn of the loop, wherever the server then is
                connection.data_received(body[place : place + 1])
                assert connection._head_timer is None, f"packet {place}"
                await asyncio.sleep(0)
            connection.data_received(body[20:])
            assert (await read_reply(reader, 10)).status == 200

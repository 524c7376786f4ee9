"""The load: signed callbacks over kept-alive connections, as fast as they are answered or at a steady rate.

Lean on purpose, since it shares two cores with what it measures: requests are made beforehand, answers are
parsed only as far as their length. ``python -m dev.benchmarks.load URL CONNECTIONS SECONDS RATE FIRST``
prints one JSON object; RATE 0 means as fast as possible. Latency is in ms; at a steady rate it counts from
the moment a request was due, so that a stall is not hidden by waiting for it (coordinated omission).
"""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from urllib.parse import urlencode, urlsplit

import uvloop

from dingbridge.dingtalk.crypto import Credentials, encrypt, sign
from dingbridge.settings import SAMPLE_CREDENTIALS

CREDENTIALS = Credentials(
    SAMPLE_CREDENTIALS["DINGTALK_TOKEN"],
    SAMPLE_CREDENTIALS["DINGTALK_AES_KEY"],
    (SAMPLE_CREDENTIALS["DINGTALK_OWNER_KEY"],),
)


def plaintext(number: int) -> bytes:
    """An approval event of about 0.7 KB, one of a kind; 500 keys."""
    event = {
        "EventType": "bpms_instance_change",
        "type": "finish",
        "result": "agree",
        "processInstanceId": f"pi-{number % 500:08d}-{'x' * 24}",
        "corpId": "dingcorpsample01",
        "createTime": 1_731_000_000_000 + number,
        "finishTime": 1_731_000_000_500 + number,
        "title": "韩梅梅提交的请假申请" * 6,
        "staffId": f"user{number % 997:05d}",
        "processCode": "PROC-LEAVE",
        "businessId": f"2024{number:016d}",
        "bizCategoryId": "",
        "url": f"https://aflow.dingtalk.com/dingtalk/mobile/homepage.htm?corpid=dingcorpsample01&n={number:0100d}",
    }
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def requests(path: str, host: str, first: int, texts: Callable[[int], bytes] = plaintext) -> Iterator[bytes]:
    """Raw HTTP requests with the callbacks ``first``, ``first + 1`` … ."""
    number = first
    while True:
        stamp = str(int(time.time() * 1000))
        encrypted = encrypt(CREDENTIALS.key, texts(number), CREDENTIALS.owner_keys[0])
        nonce = f"{number % 10**8:08d}"
        query = urlencode(
            {
                "signature": sign(CREDENTIALS.token, stamp, nonce, encrypted),
                "timestamp": stamp,
                "nonce": nonce,
            }
        )
        body = f'{{"encrypt":"{encrypted}"}}'.encode()
        head = (
            f"POST {path}?{query} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        yield head.encode() + body
        number += 1


class Load:
    """What all connections share: the requests, and what came of them."""

    def __init__(self, prepared: Iterator[bytes]) -> None:
        self.prepared = prepared
        self.statuses: Counter[str] = Counter()
        self.latencies: list[float] = []
        self.running = True

    def note(self, status: str, began: float) -> None:
        self.statuses[status] += 1
        self.latencies.append(time.perf_counter() - began)


class Connection(asyncio.Protocol):
    """One kept-alive connection with one request under way."""

    def __init__(self, load: Load, lost: "asyncio.Queue[Connection] | None" = None) -> None:
        self.load, self.idle = load, lost
        self.buffer = b""
        self.began: float | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        if self.idle is None:
            self.fire(time.perf_counter())
        else:
            self.idle.put_nowait(self)

    def fire(self, due: float) -> None:
        request = next(self.load.prepared, None)
        if request is None or not self.load.running or self.transport is None:
            self.load.running = False
            return
        self.began = due
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.buffer[:end].lower()
        at = head.find(b"content-length:")
        stop = head.find(b"\r\n", at)
        size = int(head[at + 15 : stop if stop > 0 else None])
        if len(self.buffer) < end + 4 + size:
            return
        status, self.buffer = self.buffer[9:12].decode(), self.buffer[end + 4 + size :]
        if self.began is not None:
            self.load.note(status, self.began)
            self.began = None
        if self.idle is None:
            self.fire(time.perf_counter())
        else:
            self.idle.put_nowait(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.began is not None:
            self.load.note("lost", self.began)


async def run(
    url: str,
    connections: int,
    seconds: float,
    rate: float,
    first: int,
    *,
    texts: Callable[[int], bytes] = plaintext,
    most: int = 500_000,
) -> dict[str, object]:
    """At most ``most`` callbacks of the ``texts`` by number. Returns answers by status, requests/s, p50, p99
    and p99.9 in ms, and how many callbacks were sent."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    count = int(min(seconds * (rate or 15_000) * 1.2 + connections * 2, most))
    source = requests(parts.path, f"{host}:{port}", first, texts)
    prepared = [next(source) for _ in range(count)]
    load = Load(iter(prepared))
    loop = asyncio.get_running_loop()
    idle: asyncio.Queue[Connection] | None = asyncio.Queue() if rate else None
    began = time.perf_counter()
    made = [
        (await loop.create_connection(lambda: Connection(load, idle), host, port))[1]
        for _ in range(connections)
    ]
    if idle is None:
        await until(lambda: not load.running, seconds)
    else:
        due = time.perf_counter()
        while (due := due + 1 / rate) < began + seconds:
            await asyncio.sleep(max(0, due - time.perf_counter()))
            (await idle.get()).fire(due)
    took = time.perf_counter() - began
    load.running = False
    await until(lambda: all(c.began is None for c in made), 5)
    ordered = sorted(load.latencies) or [0.0]
    return {
        "sent": sum(load.statuses.values()),
        "statuses": dict(load.statuses),
        "per_s": len(load.latencies) / took,
        **{
            f"{name}_ms": ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000
            for name, share in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999))
        },
        "seconds": took,
    }


async def until(condition: object, seconds: float) -> None:
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline and not condition():  # type: ignore[operator]  # noqa: ASYNC110
        await asyncio.sleep(0.01)


if __name__ == "__main__":
    url_, connections_, seconds_, rate_, first_ = sys.argv[1:6]
    print(json.dumps(uvloop.run(run(url_, int(connections_), float(seconds_), float(rate_), int(first_)))))

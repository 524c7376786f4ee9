"""Whatever bytes come to a real ingress: the right 4xx with a class name, never a 500, nothing kept, nothing
of them in the log, memory flat, and good pushes answered meanwhile.

5,000 generated requests; 100,000 with ``DINGBRIDGE_LONG=1``.
"""

import asyncio
import json
import os
import random
import time
import urllib.request
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ingress.folder import journal_files
from ingress.http import Refused
from ingress.journal_file import JournalFile
from tests.integration.test_ingress_http import Door, door, push
from tests.support.hostile import CLASSES, Line, Reply, exchange, memory_bytes, mutations, raw_push
from tests.support.ingress import IngressUnderTest
from tests.support.processes import Processes, free_port
from tests.support.pusher import Pusher, is_success, signed

__all__ = ["door"]

LONG = bool(os.environ.get("DINGBRIDGE_LONG"))
MUTATED, GENERATED = (20_000 if LONG else 4_000), 1_000
mutated_rounds = pytest.mark.parametrize("round_", range(4 if LONG else 1))
generated_rounds = pytest.mark.parametrize("round_", range(20 if LONG else 1))
"""Several, since a test that takes minutes is taken for one that hangs."""

WARM_UP = 500
MAX_BYTES = 64 * 1024
GROWTH_BYTES = 32 * 1024 * 1024
MARKER = "Do-Not-Log-Me"


def event(number: int) -> bytes:
    return json.dumps(
        {"EventType": "check_in", "eventId": f"e{number}", "CorpId": "c", "StaffId": "u"}
    ).encode()


class Besieged:
    """A real ingress without Kafka, a pusher whose good pushes go on all the time, and what is left after."""

    def __init__(self, processes: Processes, folder: Path) -> None:
        self.ingress = IngressUnderTest(
            processes,
            folder,
            {
                "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}",
                "CALLBACK_MAX_BYTES": str(MAX_BYTES),
                "TRUSTED_PROXIES": "127.0.0.1",
            },
        )
        self.pusher = Pusher(self.ingress.url)
        self._stop = asyncio.Event()

    async def __aenter__(self) -> "Besieged":
        await asyncio.to_thread(self.ingress.start)
        self._load = asyncio.ensure_future(self.pusher.push_all(self._numbers(), concurrency=2))
        return self

    def _numbers(self) -> Any:
        number = 0
        while not self._stop.is_set():
            yield number, event(number)
            number += 1

    async def __aexit__(self, kind: Any, *_: object) -> None:
        self._stop.set()
        await self._load
        if kind is None:
            self._look_back()

    @property
    def memory(self) -> int:
        assert self.ingress.process is not None
        return memory_bytes(self.ingress.process.pid)

    def _look_back(self) -> None:
        assert set(self.pusher.answers.values()) == {"success"}, "good pushes were answered meanwhile"
        kept = [row.body for row in self.kept()]
        assert len(kept) == len(set(kept))
        assert set(kept) <= {event(n) for n in self.pusher.answers} | {SEED}, "nothing else was kept"
        assert self.ingress.process is not None
        assert self.ingress.process.running
        text = self.ingress.process.log_text()
        lines = [json.loads(line) for line in text.splitlines()]  # one entry a line, whatever was sent
        events = Counter(line["event"] for line in lines)
        assert not events["callback.fault"], text
        assert "Traceback" not in text
        assert MARKER not in text
        assert "X-Injected" not in text
        assert max(map(len, text.splitlines())) < 2000
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ingress.admin_port}/metrics") as answer:
            metrics = answer.read().decode()
        assert 'reason="fault"' not in metrics
        assert metrics.count("dingbridge_callbacks_total{") < 40, "no series by what was sent"

    def kept(self) -> list[Any]:
        rows = []
        for path in journal_files(self.ingress.journal):
            file = JournalFile(path, read_only=True)
            after = 0
            while found := file.read(after, max_rows=5000, max_bytes=1 << 26):
                rows += found
                after = found[-1].seq
            file.close()
        return rows


SEED = event(10**9)


@mutated_rounds
async def test_mutated_pushes_over_real_sockets(processes: Processes, tmp_path: Path, round_: int) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    source = mutations(raw_push(SEED), random.Random(seed))
    outcomes: Counter[int] = Counter()

    async with Besieged(processes, tmp_path) as besieged:

        async def attack(count: int) -> None:
            for _ in range(count):
                request = next(source)
                reply = await exchange(besieged.ingress.port, request, silence_s=0.1)
                outcomes[reply.status] += 1
                if reply.status == 200:
                    assert is_success(reply.body), request
                elif reply.status:
                    check(reply, request)

        async def wave(count: int) -> None:
            await asyncio.gather(*(attack(count // 20) for _ in range(20)))

        await wave(WARM_UP)
        before = besieged.memory
        await wave(MUTATED)
        growth = besieged.memory - before
    print(f"answers by status (0: none) {dict(sorted(outcomes.items()))}, memory grew by {growth:,} bytes")
    assert growth < GROWTH_BYTES
    assert {400, 403, 404} <= outcomes.keys()


def check(reply: Reply, request: object) -> None:
    """A refusal: its class, and no more."""
    assert reply.status in CLASSES, request
    assert reply.body == CLASSES[reply.status], request
    assert "server" not in reply.headers
    assert set(reply.headers) <= {"content-type", "content-length", "date", "connection", "allow"}


# -- well-formed HTTP, hostile content: the right status for each

_text = st.text(max_size=40)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _text | st.just(MARKER),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(_text | st.just("encrypt"), inner, max_size=4)
    ),
    max_leaves=8,
)
_bodies = st.one_of(
    st.binary(max_size=200),
    _json.map(lambda value: json.dumps(value).encode()),
    _text.map(lambda text: json.dumps({"encrypt": text}).encode()),
    st.sampled_from(
        [
            signed(SEED)[1],
            b"[" * 50_000,
            b'{"a":' * 30_000,
            b'{"encrypt":"' + b"A" * 60_000 + b'"}',
            b"[" + b"[]," * 20_000 + b"[]]",
            b'{"encrypt":' + b"9" * 60_000 + b"}",
            b'{"encrypt":"a","encrypt":"b","encrypt":{}}',
            b'{"encrypt":"\\ud800"}',
            b'{"encrypt":"\xff"}',
            b'{"encrypt":1e999}',
            b"\x1f\x8b\x08\x00" + b"\0" * 100,
            b"x" * (MAX_BYTES + 1),
        ]
    ),
)
_value = st.one_of(
    st.binary(max_size=30).map(quote),
    st.sampled_from(
        ["", "%", "%zz", "%00", "%0d%0aX-Injected:%201", "9" * 400, MARKER, "%ff%fe", "+", "%F0%9F"]
    ),
)
_parameter = st.tuples(
    st.sampled_from(
        ["signature", "msg_signature", "timestamp", "timeStamp", "nonce", "%6eonce", "a[]", MARKER]
    ),
    _value,
)
UNSIGNED = "signature=" + "0" * 40 + "&timestamp={now}&nonce=n1234567"
_query = st.one_of(
    st.lists(_parameter, max_size=6).map(lambda pairs: "&".join(f"{k}={v}" for k, v in pairs)),
    st.just(UNSIGNED),
)
_header = st.one_of(
    st.tuples(
        st.from_regex(r"\AX-[A-Za-z0-9-]{1,20}\Z"),
        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60),
    ),
    st.sampled_from(
        [
            ("Content-Encoding", "gzip"),
            ("Content-Encoding", "br, deflate"),
            ("Content-Type", "text/html; charset=utf-16"),
            ("Accept", "text/html"),
            ("Accept-Encoding", "gzip"),
            ("X-Forwarded-For", f"{MARKER}, 1.2.3.4"),
            ("X-Forwarded-For", '1.2.3.4"}, {"event":"X-Injected"'),
            ("Cookie", f"a={MARKER}"),
            ("Range", "bytes=0-1"),
            ("If-None-Match", "*"),
            ("Forwarded", "for=_hidden"),
        ]
    ),
)
_other_paths = st.one_of(
    st.sampled_from(
        ["/", "/metrics", "/callback/", "/callback/..", "/callback;x", "//callback", "/callback%00"]
    ),
    st.text(max_size=20).map(lambda text: "/x" + quote(text)),
)
_OURS = ["/callback", "/callback/default", "/%63allback"]
_paths = st.tuples(st.sampled_from(_OURS * 4 + [""]), _other_paths).map(lambda pair: pair[0] or pair[1])
_methods = st.sampled_from(
    ["POST"] * 40 + ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"]
)
_headers = st.lists(_header, max_size=5, unique_by=lambda header: header[0].lower())
_requests = st.tuples(_methods, _paths, _query, _headers, _bodies, st.booleans())


def framed(
    method: str, path: str, query: str, headers: list[tuple[str, str]], body: bytes, chunked: bool
) -> bytes:
    target = f"{path}?{query.replace('{now}', str(int(time.time() * 1000)))}"
    lines = [f"{method} {target} HTTP/1.1", "Host: bridge.example", *(f"{n}: {v}" for n, v in headers)]
    if not chunked:
        return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode("latin-1") + body
    middle = len(body) // 3
    parts = [part for part in (body[:middle], body[middle:]) if part]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return (
        "\r\n".join([*lines, "Transfer-Encoding: chunked", "", ""]).encode("latin-1") + chunks + b"0\r\n\r\n"
    )


def expected(method: str, path: str, query: str, body: bytes) -> set[int]:
    """What a request of this kind may be answered."""
    if path not in _OURS:
        return {404}
    if method != "POST":
        return {405}
    if len(body) > MAX_BYTES:
        return {413}
    try:
        envelope = json.loads(body)
    except (ValueError, RecursionError):
        return {400}
    if not isinstance(envelope, dict) or not isinstance(envelope.get("encrypt"), str):
        return {400}
    unsigned = query == UNSIGNED and len(envelope) == 1 and envelope["encrypt"].isascii()
    return {403} if unsigned and envelope["encrypt"] else {400, 403}


@generated_rounds
async def test_generated_requests_get_the_right_status(
    processes: Processes, tmp_path: Path, round_: int
) -> None:
    outcomes: Counter[int] = Counter()
    async with Besieged(processes, tmp_path) as besieged:
        line = Line(besieged.ingress.port)

        @settings(
            max_examples=GENERATED,
            database=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )
        @example(("POST", "/callback", "", [], b"x" * (MAX_BYTES + 1), False))
        @example(("POST", "/callback", UNSIGNED, [], b'{"encrypt":"A"}', True))
        @given(_requests)
        def attack(request: tuple[str, str, str, list[tuple[str, str]], bytes, bool]) -> None:
            method, path, query, _, body, _ = request
            reply = line.send(framed(*request), head_only=method == "HEAD")
            outcomes[reply.status] += 1
            if method == "HEAD":
                assert reply.status in (404, 405)
                return
            if reply.status == 0:
                assert len(body) > 10_000, "closed without an answer only on whoever goes on sending"
                return
            check(reply, request)
            assert reply.status in expected(method, path, query, body), request

        try:
            before = besieged.memory
            await asyncio.to_thread(attack)
            growth = besieged.memory - before
        finally:
            line.close()
    print(f"answers by status {dict(sorted(outcomes.items()))}, memory grew by {growth:,} bytes")
    assert growth < GROWTH_BYTES
    assert set(CLASSES) - {408} <= outcomes.keys()


# -- one by one


POST = "POST /callback HTTP/1.1"


def request(line: str = POST, *headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join([line, "Host: x", *headers, "", ""]).encode("latin-1") + body


@pytest.mark.parametrize(
    ("sent", "status"),
    {
        "TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        "HTTP/1.0": (b"POST /callback HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}", 400),
        "HTTP/9.9": (request("POST /callback HTTP/9.9"), 400),
        "bare line feeds": (b"POST /callback HTTP/1.1\nHost: x\nContent-Length: 2\n\n{}", 400),
        "no host": (b"POST /callback HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", 400),
        "long URL": (request("POST /callback?a=" + "a" * 20_000 + " HTTP/1.1"), 400),
        "long header": (request(POST, "X: " + "y" * 20_000), 400),
        "many headers": (request(POST, *(f"X{n}: y" for n in range(1000))), 400),
        "NUL in the path": (request("POST /call\0back HTTP/1.1"), 400),
        "NUL in a header": (request(POST, "X: a\0b"), 400),
        "negative length": (request(POST, "Content-Length: -1"), 400),
        "absurd length": (request(POST, "Content-Length: " + "9" * 30), 400),
        "two lengths": (
            request(POST, "Content-Length: 2", "Content-Length: 3", body=b"{}1"),
            400,
        ),
        "length and chunks": (
            request(
                POST,
                "Content-Length: 2",
                "Transfer-Encoding: chunked",
                body=b"0\r\n\r\n",
            ),
            400,
        ),
        "bad chunk size": (
            request(POST, "Transfer-Encoding: chunked", body=b"zz\r\n{}\r\n0\r\n\r\n"),
            400,
        ),
        "declared too large": (request(POST, "Content-Length: 70000"), 413),
        "folded header": (request(POST, "X: a", " b: c"), 400),
        "two content types": (request("POST / HTTP/1.1", "Content-Type: a/b", "Content-Type: a/b"), 400),
        "raw bytes in the query": (request("POST /callback?nonce=\xff\xfe HTTP/1.1"), 400),
        "bad authority": (request("POST http://[::1/callback HTTP/1.1"), 400),
        "CONNECT": (request("CONNECT a:1 HTTP/1.1"), 404),
        "upgrade": (
            request(
                POST,
                "Connection: upgrade",
                "Upgrade: websocket",
                "Content-Length: 2",
                body=b"{}",
            ),
            400,
        ),
        "GET": (request("GET /callback HTTP/1.1"), 405),
        "other path": (request("POST /metrics HTTP/1.1", "Content-Length: 0"), 404),
        "a bomb of values": (
            request(POST, "Content-Length: 60003", body=b"[" + b"[]," * 20_000 + b"[]"),
            400,
        ),
    }.values(),
    ids=lambda value: None if isinstance(value, int) else value[:30].decode("latin-1").split("\r")[0],
)
async def test_each_is_refused_by_class_and_names_no_software(door: Door, sent: bytes, status: int) -> None:
    reply = await exchange(door.port, sent, silence_s=10)
    assert reply.status == status
    check(reply, sent)
    assert door.kept() == []
    assert door.counted("unavailable", "fault") == 0
    assert (await door.push())[0] == 200


async def test_pipelined_requests_are_answered_in_turn(door: Door) -> None:
    good = raw_line(door)
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(request("GET / HTTP/1.1") + good + request("GET /callback HTTP/1.1") + good)
    replies = [(await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1] for _ in range(1)]
    rest = b""
    while rest.count(b"HTTP/1.1 ") < 3:
        rest += await asyncio.wait_for(reader.read(65536), 10)
    replies += [part.split(b" ")[0] for part in rest.split(b"HTTP/1.1 ")[1:]]
    assert replies == [b"404", b"200", b"405", b"200"]
    writer.close()
    assert len(door.kept()) == 1


def raw_line(door: Door) -> bytes:
    from urllib.parse import urlencode

    query, body = push()
    return request(f"POST /callback?{urlencode(query)} HTTP/1.1", f"Content-Length: {len(body)}", body=body)


async def test_a_success_names_no_software_either(door: Door) -> None:
    reply = await exchange(door.port, raw_line(door), silence_s=10)
    assert reply.status == 200
    assert "server" not in reply.headers


async def test_a_fault_of_ours_is_no_success_and_logged_without_what_was_sent(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    import structlog

    async def fail(entry: object) -> bool:
        raise ValueError(MARKER)

    monkeypatch.setattr(door.journal, "append", fail)
    with structlog.testing.capture_logs() as logs:
        reply = await exchange(door.port, raw_line(door), silence_s=10)
    assert (reply.status, reply.body) == (500, b'{"error":"unavailable"}')
    assert door.counted("unavailable", "fault") == 1
    [fault] = [line for line in logs if line["event"] == "callback.fault"]
    assert fault["error"] == "ValueError"
    assert fault["place"].startswith("test_hostile_requests.py:")
    assert MARKER not in str(logs)


async def test_a_chunked_body_that_came_with_its_head_is_held_to_the_limit(tmp_path: Path) -> None:
    body = b"x" * 2000
    chunked = request(POST, "Transfer-Encoding: chunked", body=b"7d0\r\n" + body + b"\r\n0\r\n\r\n")
    async with Door(tmp_path, max_bytes=1024) as door:
        assert (await exchange(door.port, chunked, silence_s=10)).status == 413


async def test_a_sender_that_hangs_up_in_the_middle_is_no_fault_of_ours(door: Door) -> None:
    class HungUp:
        """What aiohttp's stream does when the connection was lost before the request's task had begun."""

        def is_eof(self) -> bool:
            return False

        async def iter_any(self) -> Any:
            raise RuntimeError("Connection closed.")
            yield b""

    gone = SimpleNamespace(content_length=500, content=HungUp(), transport=None)
    with pytest.raises(Refused) as refused:
        await door.server._read(gone)
    assert refused.value.reason == "payload"
    still_there = SimpleNamespace(content_length=500, content=HungUp(), transport=object())
    with pytest.raises(RuntimeError):
        await door.server._read(still_there)

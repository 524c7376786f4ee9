"""Whatever bytes come to a real ingress: the right 4xx with a class name, never a 500, nothing kept, nothing
of them in the log, memory flat, and good pushes answered meanwhile.

1,900 generated requests; 100,000 with ``DINGBRIDGE_LONG=1``."""

import asyncio
import json
import random
import time
from collections import Counter
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.faults.besieged import MARKER, MAX_BYTES, SEED, Besieged, check
from tests.integration.test_ingress_http import Listener, listener, push
from tests.support.hostile import CLASSES, Line, exchange, mutations, raw_push
from tests.support.processes import Processes
from tests.support.pusher import is_success, signed
from tests.support.sizes import new_seed, sized

MUTATED, GENERATED = sized(1_500, 20_000), sized(400, 1_000)


mutated_rounds = pytest.mark.parametrize("round_", range(sized(1, 4)))


generated_rounds = pytest.mark.parametrize("round_", range(sized(1, 20)))
"""Several, since a test that takes minutes is taken for one that hangs."""


WARM_UP = 500


GROWTH_BYTES = 32 * 1024 * 1024


@mutated_rounds
async def test_mutated_pushes_over_real_sockets(processes: Processes, tmp_path: Path, round_: int) -> None:
    seed = new_seed()
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
                    assert reply.headers["server"] == "callback", "nor does a success name software"
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


# -- Hostile requests one by one: each is refused by its class, and a fault of ours is no success


__all__ = ["listener"]


HEAD = b"POST /callback HTTP/1.1\r\nHost: x\r\n"


def good_push() -> bytes:
    query, body = push()
    head = HEAD.replace(b" HTTP", f"?{urlencode(query)} HTTP".encode())
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


async def test_a_sender_that_asks_before_it_sends_the_body_is_told_to(listener: Listener) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    head, _, body = good_push().partition(b"\r\n\r\n")
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
        reply = await exchange(listener.port, good_push(), silence_s=10)
    assert (reply.status, reply.body) == (500, b'{"error":"unavailable"}')
    assert listener.counted("unavailable", "fault") == 1
    [fault] = [line for line in logs if line["event"] == "callback.fault"]
    assert fault["error"] == "ValueError"
    assert fault["place"].startswith("test_hostile_requests.py:")
    assert MARKER not in str(logs)

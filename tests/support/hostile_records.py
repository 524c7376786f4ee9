"""Kafka records as nobody of ours writes them, but as anybody with the right to write a topic can."""

import asyncio
import os
import sys
from ast import literal_eval
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
from aiokafka import AIOKafkaProducer

from dingbridge.events.envelope import Received, to_records
from dingbridge.replay.copying import FROM_HEADER
from dingbridge.replay.dead_letters import NOTE_HEADER
from dingbridge.settings import KafkaSettings
from dingbridge.worker.dead_letters import HEADER
from dingbridge.worker.delivery import REPLAY_HEADER

Headers = list[tuple[str, bytes | None]]


class OddName(str):
    """A header's name that is no UTF-8; aiokafka's Python writes what ``encode`` says."""

    def encode(self, *_: object) -> bytes:
        return b"\xff\xfename"


NO_UTF_8 = "no UTF-8"
UNDECODABLE: tuple[None, bytes, Headers] = (None, b"{}", [(NO_UTF_8, b"")])
"""Key, value and headers of a record that aiokafka cannot decode."""


async def send_batch(
    settings: KafkaSettings,
    topic: str,
    *records: tuple[bytes | None, bytes | None, Headers],
    partition: int = 0,
) -> None:
    """One batch, also such as ``send`` would refuse, from a process in which aiokafka is Python."""
    given = repr((settings.kafka_bootstrap_servers, topic, partition, records))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__, given),
        cwd=Path(__file__).parents[2],
        env={**os.environ, "AIOKAFKA_NO_EXTENSIONS": "1"},
    )
    assert await process.wait() == 0


async def _send(servers: str, topic: str, partition: int, records: Any) -> None:
    async with AIOKafkaProducer(bootstrap_servers=servers) as sender, asyncio.timeout(30):
        batch = sender.create_batch()
        for key, value, headers in records:
            names = [(OddName() if name == NO_UTF_8 else name, content) for name, content in headers]
            batch.append(timestamp=None, key=key, value=value, headers=names)
        await (await sender.send_batch(batch, topic, partition=partition))


ODD_VALUES: list[Any] = [
    None, True, 0, -1, 1e308, 10**15, "", "\0", "x" * 5_000, [], {}, ["a", 1], {"a": {"b": [None]}},
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999-14:00", "2026-11-29T10:00:00", "1970-01-01",
    "9" * 40, "-5", "1e9", "٣", "../../x", "%00%ff%ED%A0%80", "</script><b>", "a/b/c/d", "/dingtalk/%/x",
]  # fmt: skip
"""For an attribute of an envelope."""

ODD_BYTES: list[bytes | None] = [
    None, b"", b"\xff\xfe", b"\0", b"9" * 40, b"-1", b"\xd9\xa3", b"1e9", b"0001-01-01T00:00:00+14:00",
    b"9999-12-31T23:59:59.999-14:00", b"2026-11-29T10:00:00", b"x" * 100_000, b"</script><b>", b"a\nb\r\nc",
]  # fmt: skip
"""For a header, a key or a value."""

ODD_JSON: list[bytes | None] = [
    *ODD_BYTES, b"null", b"[]", b"{}", b"5", b'"x"', b"NaN", b'{"a":NaN}', b'{"a":1e999}', b'{"a":1,"a":2}',
    b'{"a":"\\ud800"}', b"[" * 5_000, b"[" * 900 + b"]" * 900, b'{"a":' * 900 + b"1" + b"}" * 900,
    b"1" * 5_000, b'{"specversion":"1.0"}', b'{"data":' + b"[" * 200 + b"]" * 200 + b"}",
]  # fmt: skip
"""For the value of any record."""


def event(subject: str = "u1", event_type: str = "user_modify_org") -> dict[str, Any]:
    """An envelope as the ingress writes it."""
    body = {"EventType": event_type, "eventId": f"e-{subject}", "CorpId": "ding1", "UserId": [subject]}
    received = Received(1, "j1", 1_700_000_000_000, "default", "http", orjson.dumps(body))
    found: dict[str, Any] = orjson.loads(to_records(received)[0].value)
    return found


def odd_events() -> Iterator[bytes]:
    """Each attribute with each odd value, or missing; data that is deep or odd."""
    whole = event()
    for name in whole:
        yield orjson.dumps({k: v for k, v in whole.items() if k != name})
        for value in ODD_VALUES:
            yield orjson.dumps({**whole, name: value})
    for value in ODD_VALUES:
        yield orjson.dumps({**whole, "data": {"userId": value, "eventId": value, "diffInfo": value}})
    for depth in (90, 150, 250):
        deep = b'{"a":' * depth + b"1" + b"}" * depth
        yield orjson.dumps({**whole, "data": orjson.Fragment(deep)})
    for number in (b"1e400", b"9" * 5_000, b"-0.0", b"1e-400", b"12345678901234567890123"):
        yield orjson.dumps({**whole, "data": {"userId": orjson.Fragment(number)}})


def letter_headers(**changed: bytes | None) -> Headers:
    """What the worker adds to a record that it gives up."""
    ours: dict[str, bytes | None] = {
        "dingbridge-type": b"user_modify_org",
        HEADER + "topic": b"t.user_modify_org",
        HEADER + "partition": b"0",
        HEADER + "offset": b"0",
        HEADER + "error": b"KeyError at billing:9 in handle",
        HEADER + "reason": b"no price",
        HEADER + "frames": b"billing.py:4 in prepare\nbilling.py:9 in handle",
        HEADER + "attempts": b"8",
        HEADER + "at": b"2026-11-25T04:00:00.000Z",
        REPLAY_HEADER: b"run",
    }
    return list((ours | changed).items())


def odd_letters() -> Iterator[tuple[bytes | None, Headers]]:
    """Value and headers: each header with each odd value; notes; other values; no headers at all."""
    value = orjson.dumps(event())
    for name, _ in letter_headers():
        yield from ((value, letter_headers(**{name: odd})) for odd in ODD_BYTES)
    yield value, [(name, odd) for name, _ in letter_headers() for odd in (b"1", b"2")]
    yield from ((odd, letter_headers()) for odd in ODD_JSON)
    yield from ((odd, []) for odd in ODD_JSON)
    yield from ((odd, [(NOTE_HEADER, b"run")]) for odd in ODD_JSON)
    yield b"[0,1,2,3,1000000,-1,9223372036854775808,1e9,true,null]", [(NOTE_HEADER, b"\xff")]


def odd_copies() -> Iterator[tuple[bytes | None, Headers]]:
    """Of an inbox topic."""
    value = orjson.dumps(event())
    for odd in [*ODD_BYTES, b"t/0/" + b"9" * 40, b"t/0/" + b"9" * 5_000, b"t/-1/1", b"///", b"t/0/0/0"]:
        yield value, [(REPLAY_HEADER, b"run"), (FROM_HEADER, odd)]
        yield value, [(REPLAY_HEADER, odd), (FROM_HEADER, b"t/0/0")]
    yield from ((odd, [(REPLAY_HEADER, b"run"), (FROM_HEADER, b"t/0/0")]) for odd in ODD_JSON)


if __name__ == "__main__":
    asyncio.run(_send(*literal_eval(sys.argv[1])))

"""What the documents show is so: records, types, keys and programs of README and guides."""

import asyncio
import json
import re
from collections import defaultdict
from datetime import datetime
from types import ModuleType
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from sqlalchemy import select

from dingbridge.events import Received, catalogue, content_hash, decode, to_dingtalk, to_records
from dingbridge.ingress.relay.batches import partition_of
from dingbridge.testing import MemoryRuntime
from tests.support.documents import ROOT, blocks, prose

ENGLISH = ROOT / "README.md"


def test_the_record_in_the_readme_is_what_its_callback_becomes():
    key, headers, value = blocks(ENGLISH, "text")[0][1].splitlines()
    event = decode(value.encode())
    received = Received(
        seq=int(event.sequence),
        journal=event.journal,
        received_ms=round(event.received_time.timestamp() * 1000),
        app=event.app,
        via=event.via,
        body=as_pushed(to_dingtalk(event), event.id),
    )
    [record] = to_records(received)
    assert record.value.decode() == value
    assert record.key.decode() == key
    assert ",".join(f"{name}={data.decode()}" for name, data in record.headers) == headers
    assert datetime.fromisoformat(event.envelope["time"]) < event.received_time


def as_pushed(payload: dict[str, Any], id_: str) -> bytes:
    """``data`` has the order of the push; where ``EventType`` stood, the id says, which is a
    hash of the bytes."""
    others = [name for name in payload if name != "EventType"]
    orders = [[*others[:at], "EventType", *others[at:]] for at in range(len(others) + 1)]
    bodies = [json.dumps({n: payload[n] for n in names}, separators=(",", ":")).encode() for names in orders]
    return next(body for body in bodies if id_.startswith(content_hash(body).hex()))


def test_the_guide_names_types_as_the_records_have_them():
    """Numbers, ids, and the fields for which the catalogue knows no one type."""
    guide = (ROOT / "docs" / "guide" / "reading-topics.md").read_text(encoding="utf-8")
    of_numbers = guide[guide.index("**Numbers are exact**") : guide.index("**Unknown EventTypes flow.**")]
    types, of_no_one_type = defaultdict(set), set()
    for event_type in catalogue:
        for spelling in catalogue.get(event_type).spellings.values():
            for field in spelling.fields.values():
                types[field.name].add((field.wire, field.mark))
                if field.wire == "any":
                    of_no_one_type.add((field.name, event_type))
    assert set(re.findall(r"`(\w+)` of `(\w+)` is", of_numbers)) == of_no_one_type
    assert ("int", "ms") in types[re.search(r"Times such as `(\w+)`", of_numbers)[1]]
    assert types[re.search(r"fraction, as `(\w+)`", of_numbers)[1]] == {("float", "")}
    an_id = re.search(r"An id is no number: `(\w+)` is text", of_numbers)[1]
    assert {mark for _, mark in types[an_id]} == {"id"}
    assert ("int", "id") in types[an_id], "also where DingTalk sends a number"


def test_the_guide_lists_the_types_that_nothing_identifies():
    """Each type in a form of which all documented fields together have no id, no time, and no item of its own
    identity: two ingress instances cannot give one push the same id."""

    def pairs(body: str, received_ms: int) -> list[tuple[str, str]]:
        received = Received(1, "j", received_ms, "default", "http", body.encode())
        return [(event.source, event.id) for event in (decode(r.value) for r in to_records(received))]

    without = set()
    for event_type in catalogue:
        spec = catalogue.get(event_type)
        for form, spelling in spec.spellings.items():
            payload = dict.fromkeys(spelling.fields, "1731000000123")
            if form == "old":
                del payload["eventId"]  # which any of them may have, and none is known to
            if spec.subject is not None and spec.subject.items is not None:
                item = {key: "u1" for key in (*spec.subject.fields, spec.subject.item_key) if key is not None}
                payload = {name: [item] for name in payload if name.lower() == spec.subject.items.lower()}
            body = json.dumps({"EventType": event_type, **payload})
            if pairs(body, 1731000000456) != pairs(body, 1731000099999):
                without.add(event_type)
    text = prose(ROOT / "docs/guide/reading-topics.md")
    paragraph = re.search(r"^\*\*Some have no identity\.\*\*.*?\n\n", text, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"`(\w+)`", paragraph[0])) & set(catalogue) == without


def test_keys_go_where_javas_producers_would_put_them():
    """``Utils.toPositive(Utils.murmur2(key)) % n``, as kafka-clients 4.4.0 computed it."""
    for key, of_six, of_many in (
        ("dingcorpsample01:0000610902664218", 0, 527807),
        ("dingcorp01:u001", 3, 279397),
        ("dingcorp01:101", 4, 767677),
        ("dingcorp01:pi-1", 0, 77039),
        ("dingcorp01", 3, 646053),
        ("-", 0, 99082),
        ("企业:张三", 0, 23893),
    ):
        for count, expected in ((6, of_six), (1_000_003, of_many)):
            assert partition_of(key.encode(), count) == expected, key


def test_the_consumer_in_the_guide_does_what_its_test_says():
    """The class and its test run as they stand there."""
    guide = ROOT / "docs" / "guide" / "writing-a-consumer.md"
    consumer, _, its_test = (code for _, code in blocks(guide, "python"))
    module = ModuleType("my_billing")
    exec(compile(consumer + "\n" + its_test, str(guide), "exec"), module.__dict__)
    asyncio.run(module.test_an_agreed_approval_becomes_a_bill())


async def test_the_call_in_the_guide_has_one_key_whenever_it_is_made():
    """At a second attempt, and in a replay; the billing system is down at first."""
    guide = ROOT / "docs" / "guide" / "writing-a-consumer.md"
    module = ModuleType("my_invoices")
    exec(compile(blocks(guide, "python")[1][1], str(guide), "exec"), module.__dict__)
    statuses, keys = [503, 200, 200, 400], []

    async def post(request):
        keys.append(request.headers["Idempotency-Key"])
        return web.json_response({"number": "2026-1"}, status=statuses[len(keys) - 1])

    app = web.Application()
    app.router.add_post("/invoices", post)
    callback = b'{"EventType":"bpms_instance_change","type":"start","processInstanceId":"p","corpId":"c1"}'
    [one] = to_records(Received(1, "journal", 1731000100500, "default", "http", callback))
    [other] = to_records(
        Received(2, "journal", 1731000100500, "default", "http", callback.replace(b'"p"', b'"q"'))
    )
    async with TestServer(app) as server, MemoryRuntime(module.Invoices()) as runtime:
        runtime.consumer.address = server.make_url("/invoices")
        assert [(await runtime.deliver(one)).kind for _ in range(3)] == ["unavailable", "done", "seen"]
        assert (await runtime.deliver(one, replay_id="run-1")).kind == "done"
        assert (await runtime.deliver(other)).kind == "reject"
        assert [tuple(row) for row in await runtime.rows(select(module.invoices))] == [("p", "2026-1")]
    assert keys[0] == keys[1] == keys[2] != keys[3]

"""The test kit: one test, in memory and (tests/newcomer/test_new_consumer.py) with ``--kafka``."""

import sys

import orjson
import pytest
from sqlalchemy import Column, MetaData, String, Table, select

from dingbridge import Consumer, Reject, Retry, on
from dingbridge.errors import BridgeError
from dingbridge.events.control import RESYNC_REQUESTED, resync_requested
from dingbridge.testing import MemoryRuntime, recorded
from dingbridge.testing.__main__ import main

tables = MetaData()


seen = Table("seen", tables, Column("id", String, primary_key=True), Column("greeting", String))


HIRED = {"EventType": "user_add_org", "TimeStamp": "1731000000000", "UserId": ["u1", "u2"], "CorpId": "c1"}


LEFT = {"EventType": "user_leave_org", "TimeStamp": "1731000000001", "UserId": ["u1"], "CorpId": "c1"}


class Greeter(Consumer):
    name = "greeter"
    topics = ("user_add_org", "user_leave_org")
    metadata = tables

    async def prepare(self, event, ctx):
        return await ctx.dingtalk.greeting(event.subject)

    async def handle(self, event, tx, prepared):
        if event.event_type == "user_leave_org":
            raise Retry(after=60) if event.subject == "u2" else Reject("nobody greets them")
        await tx.upsert(seen, {"id": event.id, "greeting": prepared}, ["id"])


class DingTalk:
    async def greeting(self, user):
        return f"hello {user}"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "1-hired.json").write_bytes(orjson.dumps(HIRED))
    (tmp_path / "2-left.json").write_bytes(orjson.dumps([LEFT, LEFT | {"UserId": ["u2"]}]))
    (tmp_path / "notes.txt").write_text("no event")
    return tmp_path


class Copying(Greeter):
    name = "copying"

    @on(RESYNC_REQUESTED, prepare=None)
    async def compare(self, event, tx, prepared):
        await tx.upsert(seen, {"id": event.id, "greeting": "compared"}, ["id"])


async def test_a_resync_request_is_delivered_to_who_reads_them(running):
    request = resync_requested(
        id="r1", app="default", corp_id="c1", now_ms=2, since_ms=1, part="all", reason="lost"
    )
    async with running(Copying(), dingtalk=DingTalk()) as runtime:
        assert (await runtime.deliver(request.value)).kind == "done"
        assert [row.id for row in await runtime.rows(select(seen))] == ["r1"]


async def test_every_outcome_is_the_same_in_memory_and_on_kafka(running, folder):
    first, second, left, later = recorded(folder)
    async with running(Greeter(), dingtalk=DingTalk()) as runtime:
        assert (await runtime.deliver(first)).kind == "done"
        assert (await runtime.deliver(first)).kind == "seen"
        assert (await runtime.deliver(first, replay_id="r1")).kind == "done"
        assert (await runtime.deliver(second.value)).kind == "done"
        assert (await runtime.deliver(left)).kind == "reject"
        assert (await runtime.deliver(orjson.loads(later.value))).kind == "retry"
        assert (await runtime.deliver(b"no event")).kind == "not_an_event"
        rows = await runtime.rows(select(seen).order_by(seen.c.id))
        assert [row.greeting for row in rows] == ["hello u1", "hello u2"]


async def test_without_the_flag_nothing_but_memory_is_used(running, pytestconfig):
    if not pytestconfig.getoption("--kafka"):
        assert isinstance(running(Greeter()), MemoryRuntime)
        return
    async with running(Greeter()) as runtime:
        with pytest.raises(BridgeError, match="its topics are user_add_org, user_leave_org"):
            await runtime.deliver(orjson.dumps(envelope("org_dept_create")))


def envelope(event_type):
    [record] = recorded_one(
        {"EventType": event_type, "TimeStamp": "1731000000000", "DeptId": [1], "CorpId": "c1"}
    )
    return orjson.loads(record.value)


def recorded_one(callback):
    from dingbridge.events import Received, to_records
    from dingbridge.testing.recordings import RECEIVED_MS

    return to_records(Received(1, "recorded", RECEIVED_MS, "default", "http", orjson.dumps(callback)))


def test_recorded_events_come_in_the_order_of_their_files(folder):
    assert [record.event_type for record in recorded(folder)] == ["user_add_org"] * 2 + ["user_leave_org"] * 2
    assert recorded(folder) == recorded(folder)
    assert recorded(folder / "1-hired.json") == recorded(folder)[:2]


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "is no JSON"), ("[1]", "not-an-object"), ("{}", "no-event-type")],
)
def test_what_is_no_callback_is_refused_with_its_file(tmp_path, text, words):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match=words) as refused:
        recorded(tmp_path)
    assert "x.json" in str(refused.value)


def test_an_empty_folder_is_said(tmp_path):
    with pytest.raises(ValueError, match="there is no recorded event"):
        recorded(tmp_path)


# -- ``python -m dingbridge.testing`` publishes invented events to nobody else's topics


@pytest.mark.parametrize(
    ("arguments", "prefix", "words"),
    [
        ([], "try.", "usage:"),
        (["events"], None, "TOPIC_PREFIX is not set"),
        (["events"], "dingtalk.", "TOPIC_PREFIX is not set"),
        (["nowhere"], "try.", "nowhere"),
    ],
    ids=["no-path", "no-prefix", "the-default-prefix", "no-events"],
)
def test_mistakes_are_said_and_nothing_is_published(tmp_path, monkeypatch, capsys, arguments, prefix, words):
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / "a.json").write_text(
        '{"EventType": "user_add_org", "UserId": ["u1"], "CorpId": "c"}'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.delenv("TOPIC_PREFIX", raising=False)
    if prefix:
        monkeypatch.setenv("TOPIC_PREFIX", prefix)
        monkeypatch.setenv("CONTROL_PREFIX", "ctl-x.")
    monkeypatch.setattr(sys, "argv", ["dingbridge.testing", *arguments])
    assert main() == 2
    assert words in "".join(capsys.readouterr())

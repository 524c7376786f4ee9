"""The relay as a task of the ingress, and a journal that is published without one."""

import asyncio
import shutil

import apsw
import pytest
from aiokafka.errors import TopicAuthorizationFailedError
from typer.testing import CliRunner

from dingbridge.errors import BridgeError
from dingbridge.ingress.admin.cli import app
from dingbridge.ingress.admin.publish import publish
from dingbridge.ingress.errors import JournalDamaged, JournalLocked
from dingbridge.ingress.journal.file import JournalFile
from dingbridge.ingress.journal.folder import current
from dingbridge.ingress.journal.locks import journal_lock
from dingbridge.ingress.relay import relay as module
from dingbridge.ingress.relay.publisher import Publisher
from dingbridge.ingress.relay.relay import Relay
from dingbridge.settings import SAMPLE_CREDENTIALS
from dingbridge.settings.apps import companies
from dingbridge.tasks import end
from tests.support.waiting import POLL_S, eventually
from tests.unit.ingress.relay.fakes import body, settings


@pytest.fixture
async def relay(room, kafka):
    """With ``begin``, which runs it in a task until the end of the test."""
    made = Relay(settings(), lambda: companies(settings()), room.journal, room.status)
    tasks = []
    made.begin = lambda: tasks.append(asyncio.create_task(made.run()))
    yield made
    await made.stop()
    await end(*tasks)


async def test_a_relay_that_raises_at_each_start_begins_again_and_the_journal_goes_on_keeping(
    room, kafka, relay, monkeypatch
):
    def raises(*_):
        raise KeyError("张三")

    monkeypatch.setattr(module, "_PAUSE_S", (0.01, 0.04))
    pauses, sleep = [], asyncio.sleep

    async def sleeps(seconds):
        if seconds < POLL_S:
            pauses.append(seconds)
        await sleep(seconds)

    with monkeypatch.context() as patch:
        patch.setattr(Publisher, "run", raises)
        patch.setattr(module.asyncio, "sleep", sleeps)
        relay.begin()
        await eventually(lambda: len(pauses) > 4, what="it begins again and again")
        await room.keep(body(0))
        state = relay.status.as_json()
        assert state["state"] == "restarting"
        assert "KeyError" in state["words"]
        assert "张三" not in state["words"]
    assert pauses[:4] == [0.01, 0.02, 0.04, 0.04]
    assert room.registry.get_sample_value("dingbridge_relay_restarts_total") >= 4
    await eventually(lambda: kafka.numbers() == [0], what="it publishes when it can")
    await eventually(lambda: relay.status.state == "up", what="it says so")
    await room.keep(body(1))
    await eventually(lambda: kafka.numbers() == [0, 1], what="also what is new")


async def test_a_cancellation_that_nobody_asked_for_does_not_end_it(room, kafka, relay, monkeypatch):
    """aiokafka passes on those of its own tasks."""

    async def cancelled(self):
        raise asyncio.CancelledError

    monkeypatch.setattr(module, "_PAUSE_S", (0.01, 0.01))
    with monkeypatch.context() as patch:
        patch.setattr(Publisher, "run", cancelled)
        relay.begin()
        await eventually(lambda: relay.status.state == "restarting", what="it begins again")
    await room.keep(body(0))
    await eventually(lambda: kafka.numbers() == [0], what="it publishes when it can")


async def test_a_damaged_journal_ends_it(room, kafka, relay):
    await room.keep(*(body(n) for n in range(5)))
    room.change("DELETE FROM callbacks WHERE seq = 3")
    with pytest.raises(JournalDamaged, match="missing"):
        await relay.run()


# -- Without an ingress


async def test_published_to_its_end_without_an_ingress_and_the_next_finds_nothing_to_do(room, kafka):
    await room.keep(*(body(n) for n in range(2000)))
    await room.close()
    assert await publish(settings(), room.root) == 0
    assert await publish(settings(), room.root) == 0
    assert kafka.numbers() == list(range(2000))


async def test_what_stays_parked_is_counted_and_tried_by_the_next(room, kafka):
    await room.park(5, "too_large")
    await room.keep(*(body(n) for n in range(6, 301)))
    room.change("UPDATE callbacks SET body = body || ' ' WHERE seq = 300")
    await room.close()
    kafka.refuses = lambda *_: TopicAuthorizationFailedError()
    assert await publish(settings(), room.root) == 300
    kafka.refuses = lambda *_: None
    assert await publish(settings(), room.root) == 0, "without what is damaged, which nobody can publish"
    assert sorted(kafka.numbers()) == list(range(1, 300))


async def test_a_folder_that_is_used_or_empty_or_has_others_to_drain_is_refused(room, kafka, tmp_path):
    await room.keep(body(0))
    with journal_lock(room.root), pytest.raises(JournalLocked, match="stop it"):
        await publish(settings(), room.root)
    with pytest.raises(BridgeError, match="there is no journal in"):
        await publish(settings(), tmp_path / "none")
    await room.close()
    for name in ("by-hand", "damaged-20260101T000000Z"):
        (room.root / "current").rename(room.root / name)
        await room.open()
        await room.close()
        with pytest.raises(BridgeError, match=f"{name} is not drained yet"):
            await publish(settings(), room.root)
        shutil.rmtree(room.root / name)
    assert not kafka.taken


async def test_a_damaged_journal_is_never_taken_for_a_published_one(room, kafka):
    await room.keep(body(0))
    await room.close()
    file = current(room.root)
    file.write_bytes(b"no database" * 1_000)
    with pytest.raises(JournalDamaged):
        await publish(settings(), room.root)


async def test_a_journal_that_takes_no_acknowledgement_any_more_ends_it(room, kafka, monkeypatch):
    await room.keep(body(0))
    await room.close()

    def damaged(*_):
        raise apsw.CorruptError("damaged")

    monkeypatch.setattr(JournalFile, "commit", damaged)
    with pytest.raises(JournalDamaged):
        await asyncio.wait_for(publish(settings(), room.root), 10)


@pytest.mark.parametrize(("parked", "code"), [(0, 0), (3, 1)])
def test_the_commands_exit_code_says_whether_something_stays_parked(tmp_path, monkeypatch, parked, code):
    async def published(settings, root):
        assert root == tmp_path
        return parked

    monkeypatch.setattr("dingbridge.ingress.admin.cli.publish_folder", published)
    environment = SAMPLE_CREDENTIALS | {"DINGTALK_API_BASE": "http://127.0.0.1:1"}
    result = CliRunner().invoke(app, ["publish", str(tmp_path)], env=environment)
    assert (result.exit_code, result.output) == (code, f"parked: {parked}\n")

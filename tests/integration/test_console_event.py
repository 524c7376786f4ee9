"""The page of one event tells the truth: of each outcome, of its arrival, and of what is private."""

import html
import re
import secrets
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson
import pytest

from dingbridge import Context, Event, Reject, open_database
from dingbridge.console import watch as watch_module
from dingbridge.console.access.users import Role
from dingbridge.console.index import feed as feed_module
from dingbridge.console.life.facts import facts_of, facts_of_each
from dingbridge.console.life.outcome import outcome_of
from dingbridge.consumers.forward.deliveries import Delivery
from dingbridge.consumers.outbound.contacts.rows import as_json
from dingbridge.consumers.outbound.forms import ChangeData
from dingbridge.consumers.outbound.ledger import Intention, Ledger
from dingbridge.consumers.outbound.messages import change_record
from dingbridge.consumers.outbound.tables import metadata, outbound_entity
from dingbridge.dingtalk.crypto import CallbackCrypto, Credentials, SignatureParameters
from dingbridge.events.envelope import Received, Record, to_records
from dingbridge.ingress.journal.rows import NewCallback
from dingbridge.ingress.journal.startup import open_current
from dingbridge.kafka.topic_policy import event_topic
from dingbridge.settings import SAMPLE_CREDENTIALS, ConsumerSettings
from dingbridge.simulator.kafka.ports import free_port
from dingbridge.testing.recordings import recorded
from dingbridge.worker.consumer import Consumer
from dingbridge.worker.context import Position
from tests.integration.console_support import Form, console_at, page, result, submit, words
from tests.integration.worker_support import (
    TYPE,
    EffectConsumer,
    consumer_settings,
    event_record,
    installed,
    named,
    publish,
    rows,
    serving,
)
from tests.support.waiting import eventually
from tests.unit.console.support import Browser

SECRET = "韩梅梅 <b>secret</b>"


class Particular(EffectConsumer):
    """Rejects events of ``refused``, and never finishes those of ``stuck``."""

    max_attempts = None
    retry_first_s = retry_max_s = 600

    async def prepare(self, event: Event, ctx: Context) -> None:
        if event.subject == "refused":
            raise Reject("private words")
        if event.subject == "stuck":
            raise ValueError("private words")


class Site:
    """A console, and one consumer that reads."""

    def __init__(self, who: Browser, settings: ConsumerSettings, consumer: type[Consumer]) -> None:
        self.who, self.settings, self.consumer = who, settings, consumer

    async def of(self, event_id: str, status: int = 200) -> str:
        """The text of an event's page, without its tags."""
        return words(await self.html(event_id, status))

    async def html(self, event_id: str, status: int = 200) -> str:
        """As soon as the index knows the event, unless ``status`` is that of one it never knows."""
        query = {"source": "/dingtalk/dingcorp1/default", "id": f"{TYPE}:{event_id}"}

        async def known() -> bool:
            return (await self.who.client.get("/event", params=query)).status != 404

        if status != 404:
            await eventually(known, what=f"{event_id} is in the index")
        return await page(self.who, "/event", query, status)

    async def eventually(self, event_id: str, text: str) -> str:
        """The page, as soon as it says ``text``."""

        async def says() -> str | None:
            found = await self.of(event_id)
            return found if text in found else None

        return await eventually(says, what=f"the page of {event_id} says {text!r}")

    async def level(self) -> None:
        await eventually(lambda: self.who.console.feed.state.behind == 0)


@asynccontextmanager
async def site(
    folder: Path,
    env: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    role: Role = Role.OPERATOR,
    consumer: type[Consumer] | None = None,
) -> AsyncIterator[Site]:
    monkeypatch.setattr(feed_module, "REFRESH_S", 0.2)
    port, url = free_port(), f"sqlite:///{folder / 'effects.db'}"
    consumer = consumer or named(Particular, name=f"t-{secrets.token_hex(4)}")
    name = consumer.name
    if name == "outbound":
        url = f"sqlite:///{folder / 'outbound.db'}"
    settings = consumer_settings(env, url, admin_port=port)
    monkeypatch.setattr(watch_module, "known_consumers", lambda: {name: consumer})
    env = env | installed(folder, name) | {"CONSOLE_DATABASES": f"{name}={url}"}
    env["CONSOLE_LISTENERS"] = f"{name}=http://127.0.0.1:{port}"
    env["INGRESS_PORT"], env["CALLBACK_PATH"] = "18080", "/ding"
    async with console_at(folder, env, monkeypatch, role) as who:
        await who.console.feed.start()
        try:
            yield Site(who, settings, consumer)
        finally:
            await who.console.feed.stop()


async def test_each_outcome_is_told_as_it_is(
    kafka_env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site(tmp_path, kafka_env, monkeypatch) as here:
        records = [event_record(subject, subject) for subject in ("good", "refused", "stuck")]
        await publish(here.settings, [*records, event_record("good", "good")])
        await here.level()
        await here.eventually("good/good", "waits in Kafka")

        async with serving(here.consumer(), here.settings):
            handled = await here.eventually("good/good", "handled 20")
            assert "All records of this event" in handled, "it came twice"
            dead = await here.eventually("refused/refused", "attempts: 1")
            assert "dead letter 20" in dead
            assert "Reject" in dead
            assert "has given it up" in dead
            assert "Whose turn: yours." in dead
            stuck = await here.eventually("stuck/stuck", "is tried again")
            assert "attempts: 1" in stuck
            assert "ValueError at tests.integration.test_console_event" in stuck
            assert "next attempt" in stuck
            assert f"Whose turn: {here.consumer.name}'s." in stuck
            assert "private words" not in dead + stuck
            await all_at_once(here)
            letter = Form(await here.html("refused/refused"), "/event/replay").hidden
            answer = await here.who.client.post("/event/replay", data=letter, allow_redirects=False)
            back = words(await result(here.who, answer))
            assert f"dingbridge dlq replay {here.consumer.name} --letter " in back
            settled = await here.eventually("refused/refused", "sent back by the replay")
            assert "settled since" in settled, "no letter waits for what was sent from its page"
            before = len(await rows(here.settings.database_url_for(here.consumer.name)))

            tabs = [Form(await here.html("good/good"), "/event/replay").hidden for _ in range(2)]
            place = dict(tabs[0])["at"]
            answers = [
                await here.who.client.post("/event/replay", data=tab, allow_redirects=False)
                for tab in tabs * 2
            ]
            [told] = {words(await result(here.who, answer)) for answer in answers}
            assert f"dingbridge replay {here.consumer.name} --record {place} --yes" in told, (
                "once, by two tabs"
            )
            again = await here.eventually("good/good", ": handled 20")
            assert f"--record {place} --again --yes" in again, "the next one is another run"
            assert len(await rows(here.settings.database_url_for(here.consumer.name))) == before + 1
            outdated = [(name, "another-id-of-a-form" if name == "act" else value) for name, value in tabs[0]]
            outdated = [(name, "open 0" if name == "seen" else value) for name, value in outdated]
            assert "look first" in await submit(here.who, "/event/replay", outdated, 409)

        await publish(here.settings, [event_record("late", "good")])
        await here.level()
        waits = await here.eventually("late/good", "waits in Kafka")
        assert "it is the next one" in waits
        assert "handled 20" in await here.of("good/good")
        await here.who.console.feed.stop()
        stopped = await here.of("refused/refused") + await here.of("good/good")
        assert "dead letter 20" in stopped, "what the index has read stays true"
        assert "handled 20" in stopped


async def all_at_once(here: Site) -> None:
    """What is asked of many records together is what is asked of each."""
    console = here.who.console
    events = (await console.search.find("")).events
    together = await facts_of_each(console, events)
    assert len(together) == len(events) == 4
    for event in events:
        assert together[event.place] == await facts_of(console, [event])
    states = {e.subject: outcome_of(e.place, together[e.place][0]).state for e in events}
    assert states == {"good": "handled", "refused": "dead", "stuck": "retrying"}


async def test_its_arrival_and_its_three_forms(
    kafka_env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = orjson.dumps(
        {"EventType": TYPE, "eventId": "e1", "CorpId": "dingcorp1", "UserId": ["u1"], "Name": SECRET}
    )
    journal_folder = tmp_path / "journal"
    journal_folder.mkdir()
    with closing(open_current(journal_folder)) as journal:
        journal.keep([NewCallback(1_764_000_000_000, "default", "http", body, b"key")])
        journal_id = journal.id

    def record(seq: int, journal: str, text: bytes = body) -> Record:
        return to_records(Received(seq, journal, 1_764_000_000_000, "default", "http", text))[0]

    gone = record(7, journal_id, body.replace(b"e1", b"e2"))
    elsewhere = record(7, "another", body.replace(b"e1", b"e3"))
    async with site(tmp_path, kafka_env, monkeypatch, Role.READER) as here:
        await publish(here.settings, [record(1, journal_id), gone, elsewhere])
        await here.level()
        raw = await here.html("e1/u1")
        told = words(raw)
        assert "<b>secret" not in raw, "it stays text"
        assert f'"Name":"{SECRET}"' in told, "as it came"
        assert '"userId": [ "u1" ]' in told, "normalised"
        assert f'"Name": "{SECRET}"' in told, "in DingTalk's spelling"
        assert "by DingTalk's push over HTTP" in told
        assert "dingcorp1:u1" in told
        assert f"kcat -C -q -e -b {here.settings.kafka_bootstrap_servers}" in told
        assert "still in the journal" in told
        assert "No journal that this console reads has the callback" in await here.of("e2/u1")
        assert "CONSOLE_JOURNALS" in await here.of("e3/u1")
        assert "no consumer" not in told
        refused = await here.who.post("/event/replay", {"csrf": await here.who.csrf()})
        assert refused.status == 403, "a reader does not act"
        await here.of("none/u1", 404)


async def test_the_copies_work_and_a_viewer_sees_no_value(
    kafka_env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """curl's line is a callback that an ingress with the sample credentials accepts; the fixture is read."""
    diff = {
        "prev": {"name": "secret 李雷", "email": ""},
        "curr": {"name": SECRET, "email": ""},
        "userid": "u1",
    }
    body = {"EventType": TYPE, "eventId": "e1", "CorpId": "dingcorp1", "UserId": ["u1"], "diffInfo": [diff]}
    record = to_records(Received(1, "j", 1_764_000_000_000, "default", "http", orjson.dumps(body)))[0]
    refused = Delivery(
        "forward-x",
        "/dingtalk/dingcorp1/default",
        f"{TYPE}:e1/u1",
        Position(f"{kafka_env['TOPIC_PREFIX']}{TYPE}", 0, 0),
        "",
        1,
        datetime(2026, 11, 27, tzinfo=UTC),
        "refused",
        422,
        37,
        answer=SECRET.encode(),
    )
    async with site(tmp_path, kafka_env, monkeypatch, Role.READER) as here:
        await publish(here.settings, [record])
        await publish(here.settings, [refused.record("k")], f"{here.settings.control_prefix}deliveries")
        await here.level()
        raw = await here.html("e1/u1")
        told = await here.eventually("e1/u1", "forward-x")
        assert f"name secret 李雷 {SECRET}" in told, "what changed"
        assert "email –" not in told
        assert f"refused HTTP 422 , 37 ms It answered: {SECRET}" in told
        fixture = tmp_path / "event.json"
        fixture.write_text(block(raw, "fixture"))
        assert recorded(fixture)[0].id == record.id

        _, _, url, *_, data = shlex.split(block(raw, "curl"))
        assert url.startswith("http://127.0.0.1:18080/ding?"), "to the ingress of these settings"
        sample = Credentials(
            SAMPLE_CREDENTIALS["DINGTALK_TOKEN"],
            SAMPLE_CREDENTIALS["DINGTALK_AES_KEY"],
            (SAMPLE_CREDENTIALS["DINGTALK_OWNER_KEY"],),
        )
        parameters = SignatureParameters.from_query(dict(parse_qsl(urlsplit(url).query)))
        sent = CallbackCrypto([sample]).decrypt_callback(parameters, orjson.loads(data)["encrypt"])
        assert orjson.loads(sent.plaintext) == body

        here.who.console.users.set_password("reader", "another long password", Role.VIEWER)
        await here.who.log_in(Role.VIEWER)
        masked = await here.html("e1/u1")
        assert "Values are masked" in masked
        assert "secret" not in masked
        assert "refused HTTP 422 , 37 ms Only the role reader sees the answer." in words(masked)
        assert 'id="fixture"' not in masked
        assert 'id="curl"' not in masked
        assert here.settings.kafka_bootstrap_servers not in masked
        assert "u1" in masked


async def test_an_event_beyond_the_index_has_its_page_by_its_place(
    kafka_env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site(tmp_path, kafka_env, monkeypatch) as here:
        await publish(here.settings, [event_record("e1", "u1")])
        await here.level()
        here.who.console.index.max_bytes = 1
        here.who.console.index.shrink()
        found = await page(here.who, "/find", {"q": "dingcorp1:u1"})
        links: list[Any] = re.findall(r'href="(/event\?[^"]*)"', found)
        [link] = links
        told = words(await page(here.who, html.unescape(link)))
        assert "waits in Kafka" in told
        assert f"{event_topic(here.settings, TYPE)}:" in told


def block(text: str, name: str) -> str:
    found = re.search(rf'<pre id="{name}"[^>]*>(.*?)</pre>', text, re.DOTALL)
    assert found is not None
    return html.unescape(found[1])


async def test_an_echo_and_a_persons_change_are_told_apart(
    kafka_env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By outbound's own tables, and by what it told in its changes."""
    url = f"sqlite:///{tmp_path / 'outbound.db'}"
    sent = 1_764_000_000_000
    database = open_database(url)
    await database.create_tables(metadata)
    async with database.transaction() as tx:
        for own_id in ("echo", "change", "open", "calm"):
            wrote_ms = sent + 1 if own_id == "calm" else sent - 1
            await tx.execute(outbound_entity.insert().values(entity(own_id, wrote_ms)))
    await database.close()

    class Named(Particular):
        name = "outbound"

    async with site(tmp_path, kafka_env, monkeypatch, consumer=Named) as here:
        names = ("echo", "change", "open", "calm", "none")
        await publish(here.settings, [to_records(received(f"u-{name}", sent))[0] for name in names])
        change = ChangeData(
            corp_id="dingcorp1", kind="user", id="change", verdict="reported", dingtalk_id="u-change"
        )
        told = change_record(change, app=None, turn=1, now_ms=sent).record()
        await publish(here.settings, [told], f"{here.settings.control_prefix}changes")
        assert "not decided yet" in await here.eventually("u-echo/u-echo", "outbound :")
        async with serving(here.consumer(), here.settings):
            await here.eventually("u-echo/u-echo", "own change: no change was reported after it")
            reported = await here.eventually("u-change/u-change", "a person changed this in DingTalk")
            assert "only reported" in reported
            await here.eventually("u-open/u-open", "not decided yet")
            await here.eventually("u-calm/u-calm", "nothing had been written before it")
            await here.eventually("u-none/u-none", "neither echo nor change")


def received(user: str, at_ms: int) -> Received:
    body = {"EventType": TYPE, "eventId": user, "CorpId": "dingcorp1", "UserId": [user]}
    return Received(1, "j", at_ms, "default", "http", orjson.dumps(body))


def entity(own_id: str, wrote_ms: int) -> dict[str, Any]:
    """A row of outbound's ledger: the OA's own write was done at ``wrote_ms``."""
    intention = Intention("update", 1, {}, {}, wrote_ms, outcome="done")
    ledger = as_json(Ledger(owned_id=f"u-{own_id}", intention=intention))
    return {
        "corp_id": "dingcorp1",
        "kind": "user",
        "own_id": own_id,
        "ding_id": f"u-{own_id}",
        "owned_id": f"u-{own_id}",
        "version": 1,
        "absent": False,
        "desired": "{}",
        "since_ms": 0,
        "answers": "{}",
        "flagged": own_id == "open",
        "ledger": ledger,
        "present": True,
        "removal_approved": False,
    }

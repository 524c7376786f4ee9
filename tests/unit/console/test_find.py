"""Find as a page, and an event's: what each role is shown, what is audited, where it did not look."""

import html
import re
import shlex
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson
import pytest
from aiokafka import TopicPartition

from dingbridge.console.access.users import Role
from dingbridge.console.index.records import Copy, Letter, Settlement
from dingbridge.console.index.search import Beyond, Search
from dingbridge.console.sources.journals import JournalAnswer
from dingbridge.consumers.forward.consumer import consumer_of
from dingbridge.dingtalk.crypto import CallbackCrypto, Credentials, SignatureParameters
from dingbridge.errors import KafkaUnavailable
from dingbridge.events import extract_facts
from dingbridge.events.envelope import Received, to_records
from dingbridge.ingress.journal.drain import DrainState
from dingbridge.ingress.journal.folder import open_current
from dingbridge.ingress.journal.inspect import JournalStatus
from dingbridge.ingress.journal.rows import NewCallback, ParkedGroup
from dingbridge.settings import SAMPLE_CREDENTIALS
from dingbridge.ssrf import AddressGuard
from dingbridge.testing.recordings import recorded
from dingbridge.worker.context import Position
from tests.support.company import fill
from tests.unit.console.index_support import entries, event_record, kafka_record
from tests.unit.console.support import Browser, browser, settings_in
from tests.unit.forward.support import system

PREFIX = {"topic_prefix": "t.", "control_prefix": "ctl."}


HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
async def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Browser]:
    """A viewer of a console whose index holds two events, and whose journal a callback that waits."""
    settings = settings_in(tmp_path, **PREFIX)
    settings.journal_path.mkdir()
    body = orjson.dumps(
        {"EventType": "user_leave_org", "CorpId": "ding1", "UserId": ["u-waits"], "note": "salary 4711"}
    )
    with closing(open_current(settings.journal_path)) as journal:
        journal.commit([NewCallback(1_700_000_000_000, "default", "http", body, extract_facts(body), b"key")])
    async with browser(settings) as someone:
        records = [
            event_record("user_add_org", "e1", "u-1", 0),
            event_record("user_add_org", "e2", HOSTILE, 1),
        ]
        someone.console.index.add(entries(*records), {})
        await someone.log_in(Role.VIEWER)
        yield someone


async def page(person: Browser, text: str, **more: str) -> str:
    answer = await person.get("/find", params={"q": text, **more})
    assert answer.status == 200
    return await answer.text()


async def test_where_kafka_is_is_not_a_viewers_to_know(person: Browser) -> None:
    address = person.console.kafka.kafka_bootstrap_servers
    person.console.feed._problem = KafkaUnavailable(f"Kafka at {address} does not answer")
    for role, shown in ((Role.VIEWER, False), (Role.READER, True)):
        await person.log_in(role)
        for path in ("/find", "/tail", "/dead-letters"):
            html = await (await person.get(path)).text()
            assert (address in html) is shown, path
            assert "KafkaUnavailable" in html or shown, path


async def test_what_waits_in_a_journal_is_counted(person: Browser) -> None:
    html = await page(person, "u-waits")
    assert "No record was found." in html
    assert "callbacks that are not in Kafka yet, and were not searched: 1." in html
    assert "dingbridge journal list" in html


async def test_what_is_parked_or_put_aside_is_no_nothing(
    person: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    parked = tuple(ParkedGroup(topic, "rights", 2, 0) for topic in ("t.a", "t.b"))
    aside = {"2026": DrainState(), "2027": DrainState(), "2028": DrainState(done=True)}

    async def status() -> list[JournalAnswer]:
        return [JournalAnswer(Path("journal"), JournalStatus("j", 0, 0, parked, aside, 0, 0))]

    monkeypatch.setattr(person.console.journals, "status", status)
    html = await page(person, "u-waits")
    assert "and were not searched: 0." in html
    assert "Nor these: parked callbacks: 4; journals put aside that are not drained yet: 2." in html
    assert "dingbridge journal list" in html


async def test_an_index_that_is_searched_too_long_is_told(
    person: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Search, "_in_index", lambda *_: ([], True))
    html = await page(person, "u-1")
    assert "Add an id or a shorter time." in html
    assert "Beyond the index nothing was searched:" in html


@pytest.mark.parametrize(
    ("became", "words"),
    [
        ("whole", "The callback is still in the journal."),
        ("damaged", "The callback is in the journal, and the disk has damaged it."),
        ("removed", "No journal that this console reads has the callback"),
        ("elsewhere", "CONSOLE_JOURNALS"),
    ],
)
async def test_an_events_page_says_what_became_of_its_callback(
    person: Browser, monkeypatch: pytest.MonkeyPatch, became: str, words: str
) -> None:
    with closing(open_current(person.console.settings.journal_path)) as journal:
        name = journal.id
        if became == "damaged":
            journal.db.execute("UPDATE callbacks SET body = x'ff'")
        elif became == "removed":
            journal.db.execute("DELETE FROM callbacks")
        elif became == "elsewhere":
            name = "another"
    body = orjson.dumps({"EventType": "user_leave_org", "CorpId": "ding1", "UserId": ["u-waits"]})
    made = to_records(Received(1, name, 1_700_000_000_000, "default", "http", body))[0]

    async def found(*_: Any) -> Any:
        return kafka_record("t.user_leave_org", 0, 0, made.value, key=made.key)

    monkeypatch.setattr("dingbridge.console.life.event.record_at", found)
    answer = await person.get("/event", params={"at": "t.user_leave_org:0:0"})
    assert answer.status == 200
    told = await answer.text()
    assert words in told
    assert ("in the journal" in told) is (became in ("whole", "damaged"))
    assert ('id="came"' in told) is (became == "whole")


async def test_the_copies_work_and_a_viewer_sees_no_value(
    person: Browser, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """curl's line is a callback that an ingress with the sample credentials accepts; the fixture is read."""
    diff = {"prev": {"name": "secret 李雷"}, "curr": {"name": HOSTILE}, "userid": "u-1"}
    body = {"EventType": "user_modify_org", "eventId": "e1", "CorpId": "ding1", "UserId": ["u-1"]}
    body["diffInfo"] = [diff]  # type: ignore[assignment]
    record = to_records(Received(1, "j", 1_764_000_000_000, "default", "http", orjson.dumps(body)))[0]
    place = Position("t.user_modify_org", 0, 0)
    standing = kafka_record(place.topic, 0, 0, record.value, key=record.key)
    person.console.index.add(entries(standing), {})

    async def found(*_: Any) -> Any:
        return standing

    monkeypatch.setattr("dingbridge.console.life.event.record_at", found)
    texts = {}
    for role in (Role.READER, Role.VIEWER):
        await person.log_in(role)
        texts[role] = await (await person.get("/event", params={"at": f"{place.topic}:0:0"})).text()
    shown, masked = texts.values()
    kafka = person.console.kafka.kafka_bootstrap_servers
    for text, there in ((shown, True), (masked, False)):
        for private in ("secret 李雷", 'id="fixture"', 'id="curl"', kafka):
            assert (private in text) is there, private
        assert "u-1" in text
        assert HOSTILE not in text

    (fixture := tmp_path / "event.json").write_text(block(shown, "fixture"))
    assert recorded(fixture)[0].id == record.id
    _, _, url, *_, data = shlex.split(block(shown, "curl"))
    sample = SAMPLE_CREDENTIALS
    credentials = Credentials(
        sample["DINGTALK_TOKEN"], sample["DINGTALK_AES_KEY"], (sample["DINGTALK_OWNER_KEY"],)
    )
    parameters = SignatureParameters.from_query(dict(parse_qsl(urlsplit(url).query)))
    sent = CallbackCrypto([credentials]).decrypt_callback(parameters, orjson.loads(data)["encrypt"])
    assert orjson.loads(sent.plaintext) == body


def block(text: str, name: str) -> str:
    found = re.search(rf'<pre id="{name}"[^>]*>(.*?)</pre>', text, re.DOTALL)
    assert found is not None
    return html.unescape(found[1])


async def test_many_words_are_refused(person: Browser) -> None:
    words = " ".join(f"w{n}" for n in range(16))
    assert "w15" in await page(person, words)
    assert (await person.get("/find", params={"q": words + " w16"})).status == 400


async def test_an_index_that_cannot_be_read_is_said_with_what_to_do(person: Browser) -> None:
    await person.log_in(Role.READER)
    person.console.index.path.rename(person.console.index.path.with_suffix(".gone"))
    for path in ("/find?q=u-1", "/tail/events", "/catalogue", "/event?source=s&id=i"):
        answer = await person.get(path)
        assert answer.status == 503, path
        assert "stop the console and delete the file" in await answer.text(), path


ENDS = {
    "no_key": Beyond(),
    "read": Beyond(("ding1:u",), 3, 4711),
    "stopped": Beyond(("ding1:u",), 3, 4711, stopped=True),
    "kafka": Beyond(("ding1:u",), problem=KafkaUnavailable("x")),
}


async def test_each_end_of_the_search_has_its_words_in_both_languages(
    person: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, found in ENDS.items():

        async def beyond(*_: Any, found: Beyond = found) -> Any:
            return [], found

        monkeypatch.setattr(Search, "_beyond", beyond)
        words = person.console.render.words[f"find.beyond_{key}"]
        for language in ("en", "zh"):
            begin = words[language].split("{")[0]
            assert begin in await page(person, "u-1", lang=language)


# -- Find by a name: what each role is shown, what is in the audit, and where nothing can be looked up


SOURCE, ID = "/dingtalk/ding1/default", "user_modify_org:e1/u-1"


CONSUMERS = ("address-sync", "approval", "outbound")


@pytest.fixture
async def somebody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Browser]:
    """Nobody is logged in. The index has one event about ``u-1``."""
    async with browser(settings_in(tmp_path, **PREFIX)) as someone:
        someone.console.index.add(entries(event_record("user_modify_org", "e1", "u-1", 0)), {})
        yield someone


async def tables(somebody: Browser) -> None:
    for name in CONSUMERS:
        await fill(somebody.console.settings.database_url_of(name))


async def test_the_company_is_named_where_there_are_two(somebody: Browser) -> None:
    await tables(somebody)
    await fill(somebody.console.settings.database_url_of("address-sync"), corp_id="ding2")
    other = event_record("user_modify_org", "e2", "u-1", 1)
    other.value = other.value.replace(b"ding1", b"ding2")
    somebody.console.index.add(entries(other), {})
    await somebody.log_in(Role.READER)
    html = await page(somebody, "A-17")
    for corp in ("ding1", "ding2"):
        assert f'href="/find?q=u-1+{corp}"' in html
    html = await page(somebody, "u-1")
    assert html.count("ding2</code>") == 2, "of the person, and of the event"
    assert "1 records" in await page(somebody, "u-1 ding2")


async def test_a_viewer_learns_no_name_from_find(somebody: Browser) -> None:
    await tables(somebody)
    await somebody.log_in(Role.VIEWER)
    for text in ("张三", "8000", "A-17", "u-1", "提交的请假", "202611270001", "QJ 1"):
        html = await page(somebody, text)
        assert "张三" not in html.replace('value="张三"', ""), text
        assert "people and titles are for the role reader" in html
    assert 'href="/find?q=pi-1">202611270001</a>' in await page(somebody, "202611270001")
    assert 'href="/find?q=7">采购部</a>' in await page(somebody, "采购部")
    assert [entry.act for entry in await somebody.console.audit.read()] == ["login"]


async def test_each_look_up_of_a_person_is_in_the_audit(somebody: Browser) -> None:
    await tables(somebody)
    await somebody.log_in(Role.READER)
    await page(somebody, "张三")
    await page(somebody, "nobody")
    await page(somebody, "user_modify_org 2026-11-27")
    nobody, found, login = await somebody.console.audit.read()
    assert login.act == "login"
    assert (found.act, found.user, found.role, found.count) == ("looked_up", "reader", "reader", 3)
    assert (found.kinds, found.found) == (["approval", "person"], ["u-1", "u-2"])
    assert (nobody.count, nobody.found) == (0, [])
    text = somebody.console.audit.path.read_text()
    assert "张三" not in text
    assert "nobody" not in text
    html = await (await somebody.get("/audit", params={"lang": "en"})).text()
    assert "people looked up" in html
    assert "<code>u-2</code>" in html


async def test_nobody_is_shown_who_is_not_in_the_audit(
    somebody: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tables(somebody)
    await somebody.log_in(Role.READER)
    somebody.console.audit.path.unlink()
    somebody.console.audit.path.mkdir()
    answer = await somebody.get("/find", params={"q": "8000"})
    assert answer.status == 503
    assert "张三" not in await answer.text()


async def test_times_are_read_in_the_persons_zone(somebody: Browser) -> None:
    await somebody.log_in(Role.VIEWER)
    html = await page(somebody, "2026-11-27T18:00..19:00")
    assert "a time without a zone is in Asia/Shanghai" in html
    assert 'datetime="2026-11-27T10:00:00.000Z"' in html
    somebody.client.session.cookie_jar.update_cookies({"timezone": "America/New_York"})
    html = await page(somebody, "2026-11-27T18:00..19:00")
    assert 'datetime="2026-11-27T23:00:00.000Z"' in html


async def test_each_event_found_has_what_its_consumers_made_of_it(
    somebody: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Position("t.user_modify_org", 0, 0)
    now = datetime(2026, 11, 27, tzinfo=UTC)
    letter = Letter("forward-b", place, Position("ctl.dlq.forward-b", 0, 4), "Reject", 1, now)
    copied = Letter("forward-c", place, Position("ctl.dlq.forward-c", 0, 0), "Reject", 1, now)
    copy = Copy("forward-c", place, "r1", Position("ctl.inbox.forward-c", 0, 0), now)
    settled = Settlement("forward-c", "ctl.dlq.forward-c", 0, (0,), "r1", now)
    somebody.console.index.add([letter, copied, settled, copy], {})
    read = {TopicPartition("ctl.inbox.forward-c", 0): 1}

    async def committed(_: Any, names: list[str]) -> Any:
        return {name: read for name in names}

    monkeypatch.setattr("dingbridge.console.life.facts.committed_offsets", committed)
    somebody.console.watch.consumers |= {"forward-c": consumer_of("c", system(), AddressGuard())}
    await somebody.log_in(Role.VIEWER)
    for language, dead, done in (
        ("en", "dead letter</span>: ", "done</span>: "),
        ("zh", "死信</span>：", "已完成</span>："),
    ):
        html = await page(somebody, "u-1", lang=language)
        assert f'<span class="state bad">{dead}<code class="short">forward-b</code>' in html
        assert f'<span class="state good">{done}<code class="short">forward-c</code>' in html

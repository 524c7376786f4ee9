"""Find as a page: what it shows of events, of journals, and of where it did not look."""

from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from dingbridge.console.access.users import Role
from dingbridge.console.index.search import Beyond, Search
from dingbridge.console.sources.journals import JournalAnswer
from dingbridge.errors import KafkaUnavailable
from dingbridge.events.envelope import Received, to_records
from dingbridge.ingress.journal.checkpoint import ParkedGroup
from dingbridge.ingress.journal.inspect import JournalStatus
from dingbridge.ingress.journal.rows import ImportState, NewCallback
from dingbridge.ingress.journal.startup import open_current
from tests.unit.console.index_support import entries, event_record, kafka_record
from tests.unit.console.support import Browser, browser, settings_in, use_quick_hasher

PREFIX = {"topic_prefix": "t.", "control_prefix": "ctl."}
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
async def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Browser]:
    """A viewer of a console whose index holds two events, and whose journal a callback that waits."""
    use_quick_hasher(monkeypatch)
    settings = settings_in(tmp_path, **PREFIX)
    settings.journal_path.mkdir()
    body = orjson.dumps(
        {"EventType": "user_leave_org", "CorpId": "ding1", "UserId": ["u-waits"], "note": "salary 4711"}
    )
    with closing(open_current(settings.journal_path)) as journal:
        journal.keep([NewCallback(1_700_000_000_000, "default", "http", body, b"key")])
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


async def test_an_event_is_found_and_leads_to_its_page(person: Browser) -> None:
    html = await page(person, "u-1")
    assert "1 records" in html
    assert "t.user_add_org:0:0" in html
    assert (
        'href="/event?source=/dingtalk/ding1/default&amp;id=user_add_org:e1/u-1&amp;at=t.user_add_org:0:0"'
        in html
    )
    assert "Beyond the index nothing was searched:" in html
    assert "KafkaUnavailable" in html, "what kind of trouble"
    address = person.console.kafka.kafka_bootstrap_servers
    assert address not in html
    await person.log_in(Role.READER)
    html = await page(person, "u-1")
    assert address in html
    assert "KAFKA_BOOTSTRAP_SERVERS" in html, "what is to be done about it"


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
    aside = {"2026": ImportState(), "2027": ImportState(), "2028": ImportState(done_ms=1)}

    async def status() -> list[JournalAnswer]:
        return [JournalAnswer(Path("journal"), JournalStatus("j", 0, 0, parked, aside, 0, 0))]

    monkeypatch.setattr(person.console.journals, "status", status)
    html = await page(person, "u-waits")
    assert "and were not searched: 0." in html
    assert "Nor these: parked records: 4; damaged journals that are not imported yet: 2." in html
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
    body = orjson.dumps({"EventType": "user_leave_org", "CorpId": "ding1", "UserId": ["u-waits"]})
    made = to_records(Received(1, name, 1_700_000_000_000, "default", "http", body))[0]

    async def found(*_: Any) -> Any:
        return kafka_record("t.user_leave_org", 0, 0, made.value, key=made.key)

    monkeypatch.setattr("dingbridge.console.life.event.record_at", found)
    answer = await person.get("/event", params={"at": "t.user_leave_org:0:0"})
    assert answer.status == 200
    told = await answer.text()
    assert words in told
    assert ("in the journal" in told) is (became != "removed")
    assert ('id="came"' in told) is (became == "whole")


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


async def test_what_a_person_types_and_what_events_hold_stay_text(person: Browser) -> None:
    for text in (HOSTILE, "user_add_org", "\ud83d", "'\" OR 1=1 --", "a" * 5000, "%"):
        html = await page(person, text)
        assert "<img" not in html
    assert "&lt;img" in await page(person, "user_add_org")


@pytest.mark.parametrize(
    ("found", "key"),
    [
        (Beyond(), "no_key"),
        (Beyond(("ding1:u",), 3, 4711), "read"),
        (Beyond(("ding1:u",), 3, 4711, stopped=True), "stopped"),
        (Beyond(("ding1:u",), problem=KafkaUnavailable("x")), "kafka"),
    ],
)
async def test_each_end_of_the_search_has_its_words_in_both_languages(
    person: Browser, monkeypatch: pytest.MonkeyPatch, found: Beyond, key: str
) -> None:
    async def beyond(*_: Any) -> Any:
        return [], found

    monkeypatch.setattr(Search, "_beyond", beyond)
    words = person.console.render.words[f"find.beyond_{key}"]
    for language in ("en", "zh"):
        begin = words[language].split("{")[0]
        assert begin in await page(person, "u-1", lang=language)

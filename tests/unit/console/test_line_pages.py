"""Now and Consumers as pages, for each trouble that there is, in both languages and for each role."""

import re
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from pydantic import SecretStr

from dingbridge.console import line
from dingbridge.console.app import Console, open_console
from dingbridge.console.line.part import Part, State, Trouble
from dingbridge.console.line.waiting import OUTBOUND, Waiting, of_consumer
from dingbridge.console.line.window import Reading, Window
from dingbridge.console.render import load_words
from dingbridge.console.server import application
from dingbridge.console.settings import ConsoleSettings
from dingbridge.console.watch import View
from dingbridge.doctor.findings import found
from dingbridge.errors import BridgeError, KafkaUnavailable
from dingbridge.kafka.group_lag import Group, TopicLag
from tests.support.waiting import eventually
from tests.unit.console.support import BY_PROXY, PROXY_SECRET

SOURCES = [path.read_text("utf-8") for path in Path(line.__file__).parent.glob("*.py")]
FOUND = {code for text in SOURCES for code in re.findall(r'Trouble\(\s*State\.\w+, "(\w+)"', text)}
STATES = {"conflict": 1, "refused": 1, "removal": 1, "update": 1, "adopted": 1}
OF_OUTBOUND = {t.code for t in of_consumer(OUTBOUND, Waiting(outbound=STATES), Window(()))}
CODES = sorted(FOUND | OF_OUTBOUND)
NOT_SPOKEN_OF = {"unknown", "not_configured", "lag_unknown"}
"""By the sentence: nothing tells, so nothing is to be done."""
VALUES = {"count": 3, "seconds": 61, "megabytes": 95, "app": "default"}
WELL = "Nothing waits for a person, and all parts that can be seen work."
HELD = {
    "total": 2,
    "paused": [
        {"dependency": "<i>a</i>", "waits_for": "<b>system a</b>", "since": "2026-01-01T00:00:00Z"}
        | {"failures": 2, "records": 3, "next_attempt_at": None}
    ],
    "records": [
        {"topic": "t", "partition": 0, "offset": 7, "key": "abc123", "event_id": "x:<i>", "event_type": "x"}
        | {"attempts": 1, "since": "2026-01-01T00:00:00Z", "next_attempt_at": "2026-01-01T00:00:09Z"}
        | {"state": "retrying", "outcome": "retry", "error": "ValueError at a:1 in b"}
    ],
}


@pytest.fixture
async def console(tmp_path: Path) -> Console:
    opened = open_console(
        ConsoleSettings(
            data_dir=tmp_path,
            console_listeners=["ingress=http://127.0.0.1:1", "elsewhere=http://127.0.0.1:1"],
            console_proxy_user_header="X-User",
            console_proxy_role_header="X-Role",
            console_proxy_secret=SecretStr(PROXY_SECRET),
            trusted_proxies=["127.0.0.0/8"],
        )
    )
    opened.doctor.at = time.time()  # it has looked just now, and found nothing
    return opened


@pytest.fixture
async def client(console: Console) -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(application(console))) as running:
        yield running


async def text(client: TestClient[Any, Any], path: str, role: str, lang: str) -> str:
    headers = {**BY_PROXY, "X-User": "somebody", "X-Role": role, "Accept-Language": lang}
    async with client.get(path, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.text()


def view_of(code: str, state: State = State.DEGRADED) -> View:
    trouble = Trouble(state, code, VALUES, "<b>system a</b>", 1767225600.0)
    parts = [Part("journal"), Part("systems", "billing", [trouble], 1.5, 12.0, float("inf"))]
    readings = [Reading("billing", "http://127.0.0.1:1", 1767225610.0, in_flight=HELD)]
    groups = {"billing": Group(1, "Stable", {"t": TopicLag(4, 9.0)})}
    return View(1767225610.0, parts, readings, groups)


@pytest.mark.parametrize("lang", ["en", "zh"])
async def test_the_sentence_names_the_part_since_when_and_what_to_do_next(
    console: Console, client: TestClient[Any, Any], lang: str
) -> None:
    words = load_words()
    told = [code for code in CODES if f"now.do_{code}" in words]
    assert {"waits", "retries", "kafka_down", "unreachable", "no_member"} <= set(told)
    assert set(CODES) - set(told) == NOT_SPOKEN_OF
    for code in told:
        console.watch.show(view_of(code))
        page = await text(client, "/", "reader", lang)
        found = re.search(r'<p class="problem" id="sentence">(.*)</p>', page)
        assert found is not None
        plain = unescape(found[1])
        values = {**VALUES, "consumer": "billing"}
        assert words["now.part_systems"][lang].format(**values) in plain
        assert ">2026-01-01 08:00:00<" in found[1]
        assert words[f"now.what_{code}"][lang].format(**values) in plain
        assert words[f"now.do_{code}"][lang].format(**values) in plain
        assert "&lt;b&gt;system a&lt;/b&gt;" in found[1]


async def test_what_a_process_says_in_its_own_words_is_for_readers(
    console: Console, client: TestClient[Any, Any]
) -> None:
    console.watch.show(view_of("waits", State.STOPPED))
    for path in ("/", "/consumers"):
        assert "system a" in await text(client, path, "reader", "en")
        assert "system a" not in await text(client, path, "viewer", "en")
    page = await text(client, "/consumers", "viewer", "en")
    assert "abc123" in page
    assert "x:&lt;i&gt;" not in page
    assert "x:&lt;i&gt;" in await text(client, "/consumers", "reader", "en")


async def test_nobody_sees_green_while_the_doctor_knows_of_an_error(
    console: Console, client: TestClient[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    console.watch.show(View(1767225610.0, [Part("journal")]))
    for role in ("viewer", "reader"):
        assert 'class="state good"' in await sentence(client, role)
    fault = found("doctor.fault", check="clock", error="E", place="p")
    monkeypatch.setattr(console.doctor, "_found", (fault,))
    for role in ("viewer", "reader"):
        assert 'class="state good"' not in await sentence(client, role)
    assert "errors: 1" in await sentence(client, "viewer")
    assert "doctor.fault" in await sentence(client, "reader")


async def sentence(client: TestClient[Any, Any], role: str) -> str:
    told = re.search(r'<p class="\w+" id="sentence">.*</p>', await text(client, "/", role, "en"))
    assert told is not None
    return told[0]


async def test_chinese_sentences_have_chinese_punctuation(
    console: Console, client: TestClient[Any, Any]
) -> None:
    for code in set(CODES) - NOT_SPOKEN_OF:
        console.watch.show(view_of(code))
        for path in ("/", "/consumers"):
            page = await text(client, path, "viewer", "zh")
            plain = re.sub(r"\s*<[^>]*>\s*", "", page.partition("<main")[2])
            assert re.search(r"(?:[\u4e00-\u9fff]|UTC)[,.:;]", plain) is None, plain


async def test_before_the_first_reading_the_page_says_so(client: TestClient[Any, Any]) -> None:
    assert "No reading yet" in await text(client, "/", "viewer", "en")


async def test_all_is_well_is_said_in_words(console: Console, client: TestClient[Any, Any]) -> None:
    console.watch.show(View(1767225610.0, [Part("journal"), Part("kafka")]))
    page = await text(client, "/", "viewer", "en")
    assert WELL in page
    for waiting in (Waiting(unread=None), Waiting(unread=1_000_000)):
        console.watch.show(View(1767225610.0, [Part("journal")], waiting=waiting))
        page = await text(client, "/", "viewer", "en")
        assert WELL not in page, "who cannot count them does not say that none waits"
        assert "dead letters" in page


async def test_the_sentence_leads_to_where_one_acts_and_all_that_waits_is_listed(
    console: Console, client: TestClient[Any, Any]
) -> None:
    letters = Trouble(State.DEGRADED, "dead_letters", {"count": 376}, waits=376)
    conflict = Trouble(State.DEGRADED, "outbound_conflict", {"count": 2}, waits=2)
    retries = Trouble(State.DEGRADED, "retries", {"count": 1})  # goes on by itself, so it is told last
    parts = [
        Part("consumer", "approval"),
        Part("systems", "approval", [retries]),
        Part("consumer", "billing", [letters]),
        Part("consumer", "outbound", [conflict]),
    ]
    console.watch.show(View(1767225610.0, parts))
    page = await text(client, "/", "viewer", "en")
    sentence = re.search(r'id="sentence">(.*?)</p>', page, re.DOTALL)
    assert sentence is not None
    assert '<a href="/dead-letters#of-billing">376 dead letter(s) wait.</a>' in sentence[1]
    assert '<a href="/outbound?state=conflict">' in page.partition("</p>")[2]
    drawn = re.findall(r"<desc[^>]*>(.*?)</desc>", page)
    told = "billing: degraded, waiting here: 376. outbound: degraded, waiting here: 2. "
    assert drawn == ["approval: ok. Systems of approval: degraded. " + told] * 2


async def test_a_consumer_that_is_not_installed_here_has_its_lag_and_kafka_s_silence_is_told(
    monkeypatch: pytest.MonkeyPatch, console: Console, client: TestClient[Any, Any]
) -> None:
    """What Kafka would say of the groups that it is asked for stands in for it."""
    silent: list[BridgeError] = []

    async def groups(settings: object, names: list[str]) -> dict[str, Group]:
        if silent:
            raise silent[0]
        return {name: Group(1, "Stable", {"t": TopicLag(4, 3600.0)}) for name in {"elsewhere"} & set(names)}

    monkeypatch.setattr("dingbridge.console.watch.look_at_groups", groups)
    monkeypatch.setattr("dingbridge.console.watch.EACH_S", 0.05)
    monkeypatch.setattr("dingbridge.console.watch.GROUPS_EACH_S", 0.05)
    await console.listeners.start()
    await console.watch.start()

    async def says(path: str, words: str) -> bool:
        return words in await text(client, path, "reader", "en")

    try:
        await eventually(lambda: says("/consumers", 'class="number">60 min</td>'))
        silent.append(KafkaUnavailable("Kafka is away"))
        await eventually(lambda: says("/", "Kafka is away"))
        await eventually(lambda: says("/consumers", "Kafka is away"))
    finally:
        await console.watch.stop()
        await console.listeners.stop()
    console.watch.show(replace(console.watch.view(), parts=[Part("journal")]))
    assert not await says("/", WELL)


@pytest.mark.parametrize("code", ["unknown", "not_configured", "lag_unknown", "never_read"])
async def test_what_is_not_known_is_a_grey_sentence_with_its_reason(
    console: Console, client: TestClient[Any, Any], code: str
) -> None:
    for lang, well in (("en", "all parts that can be seen work"), ("zh", "能看到的各部分都正常")):
        parts = [Part("journal"), Part("consumer", "billing", [Trouble(State.UNKNOWN, code, VALUES)])]
        console.watch.show(View(1767225610.0, parts))
        page = await text(client, "/", "viewer", lang)
        assert well not in page
        assert 'id="sentence"><span class="state unknown">' in page
        reason = load_words()[f"now.what_{code}"][lang].format(**VALUES, consumer="billing")
        assert reason in unescape(page.partition('id="sentence"')[2].partition("<svg")[0])
    for part in (Part("consumer", "b", [Trouble(State.STOPPED, "no_member", VALUES)]), Part("kafka")):
        console.watch.show(View(1767225610.0, [Part("journal"), part]))
        assert 'id="sentence"><span class="state unknown">' not in await text(client, "/", "viewer", "en")


async def test_the_consumers_that_run_here_may_be_named(tmp_path: Path) -> None:
    """One that is installed and not to run here keeps no page from green; a name that nobody has is shown."""
    named = ["approval", "approvall"]
    opened = open_console(ConsoleSettings(data_dir=tmp_path, console_consumers=named))
    assert set(opened.watch.consumers) == {"approval"}
    await opened.listeners.start()
    try:
        await opened.watch._look()
    finally:
        await opened.listeners.stop()
    assert [p.consumer for p in opened.watch.view().parts if p.kind == "consumer"] == named

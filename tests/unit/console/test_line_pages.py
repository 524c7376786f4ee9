"""Now and Consumers as pages, for each trouble that there is, in both languages and for each role."""

import re
import time
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from console.app import Console, open_console
from console.line import model
from console.line.model import Part, State, Trouble, worst
from console.line.window import Reading
from console.render import load_words
from console.server import application
from console.settings import ConsoleSettings
from console.sources.groups import Group, TopicLag
from console.watch import View

CODES = sorted(set(re.findall(r'Trouble\(\s*State\.\w+, "(\w+)"', Path(model.__file__).read_text("utf-8"))))
VALUES = {"count": 3, "seconds": 61, "url": "http://127.0.0.1:1", "app": "default"}
HELD = {
    "total": 2,
    "paused": [
        {"topic": "t", "partition": 0, "waits_for": "<b>system a</b>", "since": "2026-01-01T00:00:00Z"}
        | {"failures": 2, "next_attempt_at": None}
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
            console_proxy_user_header="X-User",
            console_proxy_role_header="X-Role",
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
    headers = {"X-User": "somebody", "X-Role": role, "Accept-Language": lang}
    async with client.get(path, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.text()


def view_of(code: str, state: State = State.DEGRADED) -> View:
    trouble = Trouble(state, code, VALUES, "<b>system a</b>", 1767225600.0)
    parts = [Part("journal"), Part("systems", "billing", trouble, 1.5, 12.0, float("inf"))]
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
    assert set(CODES) - set(told) == {"unknown", "not_configured"}  # the sentence never speaks of these
    for code in told:
        console.watch.show(view_of(code))
        page = await text(client, "/", "reader", lang)
        found = re.search(r'<p class="problem" id="sentence">(.*)</p>', page)
        assert found is not None
        plain = unescape(found[1])
        values = {**VALUES, "consumer": "billing"}
        assert words["now.part_systems"][lang].format(**values) in plain
        assert "2026-01-01 00:00:00 UTC" in found[1]
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


async def test_chinese_sentences_have_chinese_punctuation(
    console: Console, client: TestClient[Any, Any]
) -> None:
    for code in set(CODES) - {"unknown", "not_configured"}:
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
    assert "All parts that can be seen work" in page
    assert worst([]) is None

"""Find by a name: what each role is shown, what is in the audit, and where nothing can be looked up."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest

from dingbridge.console.access.users import Role
from dingbridge.console.index.records import Copy, Letter, Settlement
from dingbridge.console.life.brief import MARKS
from dingbridge.console.life.outcome import State
from dingbridge.console.render import load_words
from dingbridge.consumers.forward.deliveries import Delivery
from dingbridge.worker.context import Position
from tests.support.company import fill
from tests.unit.console.index_support import entries, event_record
from tests.unit.console.support import Browser, browser, settings_in, use_quick_hasher

PREFIX = {"topic_prefix": "t.", "control_prefix": "ctl."}
SOURCE, ID = "/dingtalk/ding1/default", "user_modify_org:e1/u-1"
CONSUMERS = ("address-sync", "approval", "outbound")


@pytest.fixture
async def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Browser]:
    """Nobody is logged in. The index has one event about ``u-1``."""
    use_quick_hasher(monkeypatch)
    async with browser(settings_in(tmp_path, **PREFIX)) as someone:
        someone.console.index.add(entries(event_record("user_modify_org", "e1", "u-1", 0)), {})
        yield someone


async def tables(person: Browser) -> None:
    for name in CONSUMERS:
        await fill(person.console.settings.database_url_of(name))


async def page(person: Browser, text: str, **more: str) -> str:
    answer = await person.get("/find", params={"q": text, "lang": "en", **more})
    assert answer.status == 200
    return await answer.text()


async def test_a_name_leads_to_the_persons_events(person: Browser) -> None:
    await tables(person)
    await person.log_in(Role.READER)
    html = await page(person, "张三 user_modify_org 2026-11-27")
    assert 'href="/find?q=u-1+user_modify_org+2026-11-27">张三</a>' in html
    assert "采购部, 采购一组" in html
    assert "No event has these words themselves" in html
    html = await page(person, "u-1")
    assert "t.user_modify_org:0:0" in html
    assert "张三" in html
    assert 'href="/find?q=u-1"' not in html, "one is there already"


async def test_the_company_is_named_where_there_are_two(person: Browser) -> None:
    await tables(person)
    await fill(person.console.settings.database_url_of("address-sync"), corp_id="ding2")
    other = event_record("user_modify_org", "e2", "u-1", 1)
    other.value = other.value.replace(b"ding1", b"ding2")
    person.console.index.add(entries(other), {})
    await person.log_in(Role.READER)
    html = await page(person, "A-17")
    for corp in ("ding1", "ding2"):
        assert f'href="/find?q=u-1+{corp}"' in html
    html = await page(person, "u-1")
    assert html.count("ding2</code>") == 2, "of the person, and of the event"
    assert "1 records" in await page(person, "u-1 ding2")


async def test_a_viewer_learns_no_name_from_find(person: Browser) -> None:
    await tables(person)
    await person.log_in(Role.VIEWER)
    for text in ("张三", "8000", "A-17", "u-1", "提交的请假", "202611270001", "QJ 1"):
        html = await page(person, text)
        assert "张三" not in html.replace('value="张三"', ""), text
        assert "people and titles are for the role reader" in html
    assert 'href="/find?q=pi-1">202611270001</a>' in await page(person, "202611270001")
    assert 'href="/find?q=7">采购部</a>' in await page(person, "采购部")
    assert [entry.act for entry in await person.console.audit.read()] == ["login"]


async def test_each_look_up_of_a_person_is_in_the_audit(person: Browser) -> None:
    await tables(person)
    await person.log_in(Role.READER)
    await page(person, "张三")
    await page(person, "nobody")
    await page(person, "user_modify_org 2026-11-27")
    nobody, found, login = await person.console.audit.read()
    assert login.act == "login"
    assert (found.act, found.user, found.role, found.count) == ("looked_up", "reader", "reader", 3)
    assert (found.kinds, found.found) == (["approval", "person"], ["u-1", "u-2"])
    assert (nobody.count, nobody.found) == (0, [])
    text = person.console.audit.path.read_text()
    assert "张三" not in text
    assert "nobody" not in text
    html = await (await person.get("/audit", params={"lang": "en"})).text()
    assert "people looked up" in html
    assert "<code>u-2</code>" in html


async def test_nobody_is_shown_who_is_not_in_the_audit(
    person: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tables(person)
    await person.log_in(Role.READER)
    person.console.audit.path.unlink()
    person.console.audit.path.mkdir()
    answer = await person.get("/find", params={"q": "8000"})
    assert answer.status == 503
    assert "张三" not in await answer.text()


async def test_what_cannot_be_looked_up_is_told(person: Browser) -> None:
    await person.log_in(Role.READER)
    html = await page(person, "张三")
    for name in CONSUMERS:
        assert f"<code>{name}</code>: not looked up: it has no tables here" in html
    assert "No record was found." in html


async def test_times_are_read_in_the_persons_zone(person: Browser) -> None:
    await person.log_in(Role.VIEWER)
    html = await page(person, "2026-11-27T18:00..19:00")
    assert "a time without a zone is in Asia/Shanghai" in html
    assert 'datetime="2026-11-27T10:00:00.000Z"' in html
    person.client.session.cookie_jar.update_cookies({"timezone": "America/New_York"})
    html = await page(person, "2026-11-27T18:00..19:00")
    assert 'datetime="2026-11-27T23:00:00.000Z"' in html


async def test_each_event_found_has_what_its_consumers_made_of_it(person: Browser) -> None:
    place = Position("t.user_modify_org", 0, 0)
    now = datetime(2026, 11, 27, tzinfo=UTC)
    letter = Letter("forward-b", place, Position("ctl.dlq.forward-b", 0, 4), "Reject", 1, now)
    copied = Letter("forward-c", place, Position("ctl.dlq.forward-c", 0, 0), "Reject", 1, now)
    copy = Copy("forward-c", place, "r1", Position("ctl.inbox.forward-c", 0, 0), now)
    taken = Delivery(
        "forward-c", SOURCE, ID, copy.place, "r1", 1, now, "taken", 200, 5, "", None, "user_modify_org"
    )
    settled = Settlement("forward-c", "ctl.dlq.forward-c", 0, (0,), "r1", now)
    person.console.index.add([letter, copied, settled, copy, taken], {})
    await person.log_in(Role.VIEWER)
    for language, dead, handled in (
        ("en", "dead letter</span>: ", "handled</span>: "),
        ("zh", "死信</span>：", "已处理</span>："),
    ):
        html = await page(person, "u-1", lang=language)
        assert f'<span class="state bad">{dead}<code class="short">forward-b</code>' in html
        assert f'<span class="state good">{handled}<code class="short">forward-c</code>' in html


def test_each_state_has_its_mark_and_its_words() -> None:
    words = load_words()
    assert set(MARKS) == set(get_args(State))
    for state in MARKS:
        assert words[f"find.outcome_{state}"]["zh"]

"""What the console tells of an event: each outcome as it is, and whose change it was."""

import html
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import select

from dingbridge import Context, Event, Reject, open_database
from dingbridge.console import watch as watch_module
from dingbridge.console.access.users import Role
from dingbridge.console.index import feed as feed_module
from dingbridge.console.life.facts import facts_of, facts_of_each
from dingbridge.console.life.outbound import reported_of
from dingbridge.console.life.outcome import Outcome, outcome_of
from dingbridge.consumers.outbound.contacts.rows import as_json
from dingbridge.consumers.outbound.forms import ChangeData
from dingbridge.consumers.outbound.ledger import Intention, Ledger
from dingbridge.consumers.outbound.messages import change_record
from dingbridge.consumers.outbound.tables import metadata, outbound_entity
from dingbridge.events.envelope import Received, to_records
from dingbridge.kafka.topic_policy import event_topic
from dingbridge.settings import ConsumerSettings
from dingbridge.simulator.kafka.ports import free_port
from dingbridge.worker.consumer import Consumer
from tests.integration.console_support import (
    Fields,
    Form,
    audited,
    confirmed,
    console_at,
    done,
    page,
    result,
    submit,
    words,
)
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
from tests.support.sizes import on_one_database
from tests.support.waiting import eventually
from tests.unit.console.support import Browser
from tests.unit.outbound.ledger_rows import filled, row

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

    async def outcomes(self) -> dict[str | None, Outcome]:
        """Of each event, by its subject."""
        console = self.who.console
        events = (await console.search.find("")).events
        together = await facts_of_each(console, events)
        return {event.subject: outcome_of(event.place, together[event.place][0]) for event in events}

    async def become(self, **states: str) -> dict[str | None, Outcome]:
        """As soon as each event's outcome is in its state."""

        async def there() -> dict[str | None, Outcome] | None:
            found = await self.outcomes()
            return found if {name: one.state for name, one in found.items()} == states else None

        return await eventually(there, what=f"the outcomes {states}")

    async def form(self, event_id: str) -> Fields:
        """What the button on an event's page sends that replays it."""
        query = {"source": "/dingtalk/dingcorp1/default", "id": f"{TYPE}:{event_id}"}
        return Form(await page(self.who, "/event", query), "/event/replay").hidden

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


async def test_each_outcome_is_told_as_it_is_and_an_event_is_sent_back_once(
    kafka_env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site(tmp_path, kafka_env, monkeypatch) as here:
        await publish(here.settings, [event_record(name, name) for name in ("good", "refused", "stuck")])
        await here.level()
        await here.become(good="waiting", refused="waiting", stuck="waiting")
        url = here.settings.database_url_for(here.consumer.name)

        async with serving(here.consumer(), here.settings):
            told = await here.become(good="handled", refused="dead", stuck="retrying")
            while told["refused"].letter is None:  # until the index has read it
                told = await here.become(good="handled", refused="dead", stuck="retrying")
            assert (told["refused"].attempts, told["stuck"].attempts) == (1, 1)
            assert [str(told[name].error).partition(" at ")[0] for name in ("refused", "stuck")] == [
                "dingbridge.worker.outcomes.Reject",
                "ValueError",
            ]
            assert told["stuck"].again_at

            console = here.who.console
            events = (await console.search.find("")).events

            async def agree() -> bool:  # a record may be tried again between two looks
                apart = {one.place: await facts_of(console, [one]) for one in events}
                return await facts_of_each(console, events) == apart

            await eventually(agree, what="the facts of all events together are those of each")

            assert await sent_back(here, await here.form("refused/refused")) == 303
            await here.become(good="handled", refused="dead_settled", stuck="retrying")

            before = len(await rows(url))
            tabs = [await here.form("good/good") for _ in range(2)]
            assert {await sent_back(here, tab) for tab in tabs * 2} == {303}
            await eventually(lambda: applied(url, before + 1), what="once, by two tabs")
            outdated = dict(tabs[0]) | {"act": "another-id-of-a-form", "seen": "open 0"}
            await submit(here.who, "/event/replay", [*outdated.items()], 409)
            assert len(await rows(url)) == before + 1

        await publish(here.settings, [event_record("late", "late")])
        await here.level()
        states = {"good": "handled", "refused": "dead_settled", "stuck": "waiting"}
        assert (await here.become(**states, late="waiting"))["late"].before is not None
        await here.who.console.feed.stop()
        await here.become(**states, late="waiting")

        # beyond the index, a page is found by its place
        here.who.console.index.max_bytes = 1
        here.who.console.index.shrink()
        found = await page(here.who, "/find", {"q": "dingcorp1:late"})
        [link] = re.findall(r'href="(/event\?[^"]*)"', found)
        assert f"{event_topic(here.settings, TYPE)}:" in words(await page(here.who, html.unescape(link)))


async def sent_back(here: Site, form: Fields) -> int:
    answer = await here.who.client.post("/event/replay", data=form, allow_redirects=False)
    await result(here.who, answer)
    return answer.status


async def applied(url: str, count: int) -> bool:
    return len(await rows(url)) == count


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

        async def verdicts(handled: bool) -> dict[str | None, str]:
            events = (await here.who.console.search.find(TYPE)).events
            found = {e.subject: await reported_of(here.who.console, e, handled=handled) for e in events}
            return {name: one.verdict for name, one in found.items() if one is not None}

        await here.level()
        assert set((await verdicts(handled=False)).values()) == {"open"}
        assert await verdicts(handled=True) == {
            "u-echo": "echo",
            "u-change": "change",
            "u-open": "open",
            "u-calm": "nothing",
            "u-none": "not_ours",
        }


def received(user: str, at_ms: int) -> Received:
    body = {"EventType": TYPE, "eventId": user, "CorpId": "dingcorp1", "UserId": [user]}
    return Received(1, "j", at_ms, "default", "http", orjson.dumps(body))


def entity(own_id: str, wrote_ms: int) -> dict[str, Any]:
    """A row of outbound's ledger: the OA's own write was done at ``wrote_ms``."""
    intention = Intention("update", 1, {}, {}, wrote_ms, outcome="done")
    ledger = as_json(Ledger(owned_id=f"u-{own_id}", intention=intention))
    ours = {"corp_id": "dingcorp1", "ding_id": f"u-{own_id}", "owned_id": f"u-{own_id}"}
    return row(own_id, None, None, absent=False, flagged=own_id == "open", ledger=ledger, **ours)


# -- Outbound's page: what waits is shown, and an operator's word reaches the rows that were counted


WORDS = "ask 韩梅梅 first"


ROWS = [
    row("1"),
    row("2", corp_id="c2"),
    row("3", kind="department"),
    row("4"),
    row("adopted", reason="adopted"),
    row("refused", "refused", None, words=WORDS),
    row("grace", reason="grace"),
]


_e = outbound_entity.c


async def approved(url):
    database = open_database(url)
    found = await database.reader().execute(select(_e.own_id).where(_e.removal_approved))
    await database.close()
    return sorted(one.own_id for one in found)


@pytest.fixture
async def env(database_url):
    await filled(database_url, ROWS)
    return {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "DATABASE_URL": database_url}


@on_one_database
async def test_what_is_ticked_is_approved_and_then_the_rest(env, database_url, tmp_path, monkeypatch):
    async with console_at(tmp_path, env, monkeypatch, Role.OPERATOR) as who:
        shown = await page(who, "/outbound")
        assert "Removals that wait: 4" in shown
        form = Form(shown, "/outbound/count")
        ticked = [box for box in form.boxes if '"2"' in box[1] or '"3"' in box[1]]
        mixed = [*form.hidden, *ticked, ("which", "selected")]
        assert "one company and one kind at a time" in await submit(who, "/outbound/count", mixed, 400)
        ticked = [box for box in form.boxes if '"1"' in box[1] or '"4"' in box[1]]
        asking = await confirmed(who, "/outbound/count", [*form.hidden, *ticked, ("which", "selected")])
        assert "--kind user --" in words(asking)
        assert await approved(database_url) == [], "counting changes nothing"
        assert "<strong>2</strong>" in await done(who, asking)
        assert await approved(database_url) == ["1", "4"]

        rest = await confirmed(who, "/outbound/count", [*form.hidden, ("which", "all")])
        assert "<strong>2 will be removed" in rest
        await done(who, rest)
        assert await approved(database_url) == ["1", "2", "3", "4"]
        acts = [e["count"] for e in audited(who) if e["act"] == "command" and "dry" not in e["command"]]
        assert acts == [2, 2]
        await who.log_in(Role.VIEWER)
        shown = await page(who, "/outbound", {"state": "refused"})
        assert ("Refused: 1" in shown, WORDS in shown) == (True, False), "counts without words"


async def test_without_a_database_or_tables_it_says_what_to_do(tmp_path, monkeypatch):
    env = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    async with console_at(tmp_path, env, monkeypatch, Role.READER) as who:
        assert "set CONSOLE_DATABASES" in await page(who, "/outbound")
    (tmp_path / "outbound.db").touch()
    async with console_at(tmp_path, env, monkeypatch, Role.OPERATOR) as who:
        shown = await page(who, "/outbound")
        assert "no tables yet" in shown
        assert "dingbridge consume outbound" in shown

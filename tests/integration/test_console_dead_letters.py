"""Dead letters sent back from the console's page: those that were counted, each once, and no others."""

import asyncio
import re
import secrets
from contextlib import closing
from datetime import UTC, datetime

import pytest

from dingbridge.console.access.users import Role
from dingbridge.ingress.journal.checkpoint import Checkpoint, Parked
from dingbridge.ingress.journal.directory import current
from dingbridge.ingress.journal.startup import open_current
from tests.integration.console_support import Form, audited, confirmed, console_at, done, page, submit, words
from tests.integration.replay_support import bury, inbox, letter_headers, number, numbered
from tests.integration.worker_support import EffectConsumer, consumer_settings, named, rows, serving
from tests.support.sizes import sized
from tests.support.waiting import eventually

ERROR = "KeyError at billing:9 in handle"
OTHER = "ValueError at billing:1 in handle"
SECRET = "words that a handler said of 韩梅梅"
COUNT = sized(200, 1_000)


@pytest.fixture
def name():
    return f"t-{secrets.token_hex(4)}"


@pytest.fixture
def settings(kafka_env, tmp_path):
    return consumer_settings(kafka_env, f"sqlite:///{tmp_path / 'effects.db'}")


def now():
    return datetime.now(UTC).isoformat(timespec="milliseconds")


async def test_a_thousand_letters_are_sent_back_as_counted_and_each_is_applied_once(
    kafka_env, settings, name, tmp_path, monkeypatch
):
    records = numbered(COUNT + 5)
    wanted, late = records[:COUNT], records[COUNT:]
    others = [
        (record, letter_headers(n, OTHER)) for n, record in enumerate(numbered(3, event_type="user_add_org"))
    ]
    await bury(settings, name, [*((r, letter_headers(n, ERROR)) for n, r in enumerate(wanted)), *others])
    async with console_at(tmp_path, kafka_env, monkeypatch, Role.OPERATOR) as who:
        listed = await page(who, "/dead-letters")
        assert f"{COUNT + 3:,} wait" in listed
        assert f'class="number">{COUNT:,}</td>' in listed
        group = {"consumer": name, "error_is": ERROR, "events": "user_modify_org"}
        letters = await page(who, "/dead-letters/letters", group)
        form = Form(letters, "/dead-letters/count")
        assert len(form.boxes) == 100, "a page of them"
        assert "page=2" in letters

        chosen = [*form.hidden, ("which", "all"), ("act", "replay")]
        without = [field for field in chosen if field[0] != "csrf"]
        assert "csrf" in await submit(who, "/dead-letters/count", without, 403), "it runs a command"
        asking = await confirmed(who, "/dead-letters/count", chosen)
        assert f"{COUNT:,} dead letter(s) will be sent to {name}" in asking
        assert await inbox(settings, name) == [], "counting sends nothing"

        # others arrive between the count and the act
        await bury(
            settings, name, [(r, letter_headers(COUNT + n, ERROR, at=now())) for n, r in enumerate(late)]
        )
        told = await done(who, asking)
        assert f"<strong>{COUNT:,}</strong>" in told, "as many as were counted"
        left = Form(await page(who, "/dead-letters/letters", group), "/dead-letters/count")
        assert len(left.boxes) == 5, "those that came later wait"
        copies = await inbox(settings, name)
        assert sorted(map(number, copies)) == list(range(COUNT)), "each once, and no other"

        # the same form once more, by a reload or from another tab, leads to the same result
        assert await done(who, asking) == told
        assert len(await inbox(settings, name)) == COUNT

        acts = [e for e in audited(who) if "--yes" in e.get("command", "")]
        [before, after] = acts
        assert (before["act"], before["user"], before["count"]) == ("command", "operator", COUNT)
        assert (after["act"], after["exit_code"]) == ("command_ended", 0)
        assert before["command"].startswith(f"dingbridge dlq replay {name} ")

    consumer = named(EffectConsumer, name=name)()
    async with serving(consumer, settings):

        async def applied():
            return len(await rows(settings.database_url_for(name))) >= COUNT

        await eventually(applied, 240, "all are applied")
    found = [event for event, _ in await rows(settings.database_url_for(name))]
    assert sorted(found) == sorted(f"e{n}" for n in range(COUNT)), "each once"


async def test_letters_that_are_ticked_are_sent_or_given_up_and_no_others(
    kafka_env, settings, name, tmp_path, monkeypatch
):
    letters = [(r, letter_headers(n, ERROR, reason=SECRET)) for n, r in enumerate(numbered(6))]
    await bury(settings, name, letters)
    async with console_at(tmp_path, kafka_env, monkeypatch, Role.OPERATOR) as who:
        listed = await page(who, "/dead-letters/letters", {"consumer": name})
        assert SECRET in listed
        form = Form(listed, "/dead-letters/count")

        async def asked(verb, *ticked):
            chosen = [*form.hidden, *(form.boxes[n] for n in ticked), ("which", "selected"), ("act", verb)]
            asking = await confirmed(who, "/dead-letters/count", chosen)
            assert all(f"--letter {form.boxes[n][1]}" in words(asking) for n in ticked), (
                "the command is shown"
            )
            return asking

        two_tabs = [await asked("replay", 1, 4) for _ in range(2)]
        told = await asyncio.gather(*(done(who, asking) for asking in two_tabs * 2))
        assert sorted("<strong>2</strong>" in one for one in told) == [False, False, True, True]
        assert sum("Fewer than were counted" in one for one in told) == 2, "the other tab is told"
        assert sorted(map(number, await inbox(settings, name))) == [1, 4]
        asking = await asked("skip", 0)
        assert "<strong>1</strong>" in await done(who, asking)
        left = Form(await page(who, "/dead-letters/letters", {"consumer": name}), "/dead-letters/count")
        assert left.boxes == [form.boxes[n] for n in (2, 3, 5)]

        nobody = [*form.hidden, ("which", "selected"), ("act", "replay")]
        assert "tick some" in await submit(who, "/dead-letters/count", nobody, 400)
        uncounted = [("csrf", await who.csrf()), ("consumer", name), ("act", "replay"), ("count", "3")]
        assert "no longer known" in await submit(who, "/confirm/none-of-ours-at-all", uncounted, 404)
        assert len(await inbox(settings, name)) == 2


async def test_a_redrive_that_fails_is_headed_by_that(kafka_env, settings, name, tmp_path, monkeypatch):
    await bury(settings, name, [(r, letter_headers(n)) for n, r in enumerate(numbered(2))])
    async with console_at(tmp_path, kafka_env, monkeypatch, Role.OPERATOR) as who:
        listed = await page(who, "/dead-letters/letters", {"consumer": name})
        chosen = [*Form(listed, "/dead-letters/count").hidden, ("which", "all"), ("act", "replay")]
        asking = await confirmed(who, "/dead-letters/count", chosen)
        with monkeypatch.context() as broken:
            broken.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
            told = await done(who, asking)
        assert "<h1>Sending back failed</h1>" in told
        assert "Sent back" not in told
        assert await inbox(settings, name) == []


async def test_a_viewer_sees_counts_and_may_do_nothing(kafka_env, settings, name, tmp_path, monkeypatch):
    await bury(settings, name, [(r, letter_headers(n, reason=SECRET)) for n, r in enumerate(numbered(2))])
    async with console_at(tmp_path, kafka_env, monkeypatch, Role.VIEWER) as who:
        assert "2 wait" in await page(who, "/dead-letters")
        listed = await page(who, "/dead-letters/letters", {"consumer": name})
        assert OTHER in listed
        assert SECRET not in listed
        assert 'type="checkbox"' not in listed
        fields = [("csrf", await who.csrf()), ("consumer", name), ("act", "replay"), ("which", "all")]
        assert "role" in await submit(who, "/dead-letters/count", fields, 403)
        assert await inbox(settings, name) == []
        assert await page(who, "/dead-letters/letters", {"consumer": "t-nobody"}, 404)
        assert await page(who, "/dead-letters/letters", {"consumer": name, "since": "x"}, 400)


async def test_what_is_parked_is_counted_by_reason_also_while_kafka_is_away(kafka_env, tmp_path, monkeypatch):
    root = tmp_path / "journal"
    root.mkdir()
    file = open_current(root)
    with closing(Checkpoint(current(root).path, file.id)) as checkpoint:
        checkpoint.commit(0, [Parked(1, n, "dingtalk.x", "rights", 1_764_000_000_000) for n in range(7)])
    file.close()
    env = {**kafka_env, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    async with console_at(tmp_path, env, monkeypatch, Role.OPERATOR) as who:
        listed = await page(who, "/dead-letters")
        assert "127.0.0.1:1" in listed, "Kafka is away, and the journal is here"
        assert re.search(r">7</td><th [^>]*>rights</th>", listed)
        assert "dingbridge journal retry" in listed

"""``dingbridge dlq``: dead letters listed, looked at, sent back once and in order; also when it is killed."""

import asyncio
import json
import secrets

import pytest

from dingbridge.errors import TopicError
from dingbridge.replay.dead_letter_queue import LetterBox
from dingbridge.replay.dead_letters import LetterFilter
from dingbridge.settings import ConsumerSettings
from dingbridge.worker.executor import hash_key
from tests.integration.replay_support import (
    bury,
    headers_of,
    inbox,
    killed,
    letter_headers,
    number,
    numbered,
)
from tests.integration.worker_support import (
    EffectConsumer,
    consumer_settings,
    event_record,
    named,
    publish,
    rows,
    serving,
)
from tests.support.waiting import eventually

ALL = LetterFilter()


@pytest.fixture
def name() -> str:
    return f"t-{secrets.token_hex(4)}"


@pytest.fixture
def settings(kafka_env, tmp_path) -> ConsumerSettings:
    return consumer_settings(kafka_env, f"sqlite:///{tmp_path / 'none.db'}")


@pytest.fixture
def dlq(processes, kafka_env, name):
    """Runs ``dingbridge dlq <verb> <consumer> …``."""

    async def run(verb, *arguments, code=0, more=None):
        env = kafka_env | (more or {})
        result = await asyncio.to_thread(processes.run, "dlq", verb, name, *arguments, env=env)
        assert result.returncode == code, result.stderr
        assert "Traceback" not in result.stderr
        return result

    return run


async def test_letters_are_listed_by_filter_and_shown_masked(settings, name, dlq):
    records = [*numbered(4), event_record("e4", "张三", "user_add_org")]
    await bury(
        settings,
        name,
        [
            (record, letter_headers(n, "KeyError at billing:9 in prepare") if n == 3 else letter_headers(n))
            for n, record in enumerate(records)
        ],
    )

    listed = [json.loads(line) for line in (await dlq("list", "--json")).stdout.splitlines()]
    assert [letter["first"]["offset"] for letter in listed] == ["0", "1", "2", "3", "4"]
    assert listed[0]["type"] == "user_modify_org"
    assert listed[0]["error"] == "ValueError at billing:1 in handle"
    assert listed[0]["attempts"] == 4
    assert listed[0]["at"] == "2026-11-25T04:00:00.000Z"
    assert listed[0]["key"] == f"#{hash_key(b'dingcorp1:u0')}"

    async def offsets(*filters):
        lines = (await dlq("list", "--json", *filters)).stdout.splitlines()
        return [int(json.loads(line)["first"]["offset"]) for line in lines]

    assert await offsets("--type", "user_add_org,user_leave_org") == [4]
    assert await offsets("--key", "dingcorp1:u1", "--key", listed[2]["key"]) == [1, 2]
    assert await offsets("--error", "KeyError") == [3]
    span = ("--since", "2026-11-25T04:00:01Z", "--until", "2026-11-25T12:00:03+08:00", "--limit", "5")
    assert await offsets(*span) == [1, 2]

    table = (await dlq("list", "--limit", "2")).stdout.splitlines()
    assert table[0].split("\t")[:3] == ["place", "type", "key"]
    assert len(table) == 3
    assert "张三" not in (await dlq("list")).stdout
    assert "dingcorp1:张三" in (await dlq("list", "--reveal")).stdout

    shown = (await dlq("show", listed[4]["place"])).stdout
    assert "user_add_org" in shown
    assert "somewhere/0/4" in shown
    assert "dingcorp1:张三" not in shown.split("{", 1)[0]
    assert '"type": "com.dingtalk.user_add_org"' in shown
    assert '"subject": "***' in shown
    revealed = (await dlq("show", listed[4]["place"], "--reveal")).stdout
    assert json.loads(revealed[revealed.index("\n{") :])["data"]["userId"] == ["张三"]
    refused = await dlq("show", "0/999", code=1)
    assert "dlq list" in refused.stderr


async def test_what_goes_back_is_the_record_as_it_was_under_one_replay_id(settings, name, dlq):
    earlier = [("dingbridge-replay-id", b"earlier"), ("dingbridge-replay-from", b"x/0/1")]
    letters = [(record, letter_headers(n) + earlier) for n, record in enumerate(numbered(12, users=3))]
    await bury(settings, name, letters)

    counted = (await dlq("replay", "--dry-run", "--type", "user_modify_org")).stdout
    assert "to send    12" in counted
    assert await inbox(settings, name) == []

    sent = await dlq("replay", "--yes")
    assert "sent       12" in sent.stdout
    assert "(100 %)" in sent.stderr, "plain lines in a pipe"
    copies = await inbox(settings, name)
    assert sorted(map(number, copies)) == list(range(12))
    by_number = {number(copy): copy for copy in copies}
    for n, (record, headers) in enumerate(letters):
        copy = by_number[n]
        assert (copy.key, copy.value) == (record.key, record.value)
        assert (
            headers_of(copy).items()
            >= dict(
                (k, v.decode())
                for k, v in [*record.headers, *headers]
                if not k.startswith("dingbridge-replay")
            ).items()
        )
        assert headers_of(copy)["dingbridge-dlq-offset"] == str(n), "the first place"
    [replay_id] = {headers_of(copy)["dingbridge-replay-id"] for copy in copies}
    assert replay_id in sent.stdout
    for user in range(3):
        of_user = [number(copy) for copy in copies if copy.key == f"dingcorp1:u{user}".encode()]
        assert of_user == sorted(of_user), "in order for each key"

    # what was replayed is not offered again, unless it is asked for
    again = await dlq("replay", "--yes")
    assert "left out   12" in again.stdout
    assert "to send    0" in again.stdout
    assert (await dlq("list")).stdout.splitlines()[1:] == []
    [settled_by] = {line.split("\t")[-1] for line in (await dlq("list", "--all")).stdout.splitlines()[1:]}
    assert settled_by == replay_id
    await dlq("replay", "--yes", "--again", "--key", "dingcorp1:u0", "--limit", "2")
    copies = await inbox(settings, name)
    assert len(copies) == 14
    assert len({headers_of(copy)["dingbridge-replay-id"] for copy in copies}) == 2


async def test_a_letter_that_is_skipped_is_not_offered_again(settings, name, dlq):
    await bury(settings, name, [(r, letter_headers(n)) for n, r in enumerate(numbered(2, users=1))])
    places = [line.split("\t")[0] for line in (await dlq("list")).stdout.splitlines()[1:]]
    await dlq("skip", places[0], "--yes")
    assert "settled already" in (await dlq("skip", places[0], "--yes", code=1)).stderr
    await dlq("replay", "--yes")
    assert [number(copy) for copy in await inbox(settings, name)] == [1]


@pytest.mark.parametrize("batches", [1, 2, 5], ids=["before-the-note", "after-the-note", "later"])
async def test_a_replay_that_is_killed_goes_on_without_doubling(
    settings, name, dlq, kafka_env, processes, batches
):
    total = 220
    await bury(settings, name, [(r, letter_headers(n)) for n, r in enumerate(numbered(total))])
    await killed(processes, kafka_env, batches, "dlq", "replay", name, "--yes")
    copied = len(await inbox(settings, name))
    assert 0 < copied < total

    sent = json.loads((await dlq("replay", "--yes", "--json")).stdout)
    assert sent["to_send"] == sent["sent"] == total - copied
    copies = await inbox(settings, name)
    assert sorted(map(number, copies)) == list(range(total))
    for user in range(5):
        of_user = [number(copy) for copy in copies if copy.key == f"dingcorp1:u{user}".encode()]
        assert of_user == sorted(of_user), "in order for each key, over both runs"
    ids = {headers_of(copy)["dingbridge-replay-id"] for copy in copies}
    assert sent["replay_id"] in ids
    if batches % 2:  # what was copied and not noted says so itself
        assert sent["resumed"]
        assert len(ids) == 1
    assert json.loads((await dlq("replay", "--json")).stdout)["to_send"] == 0


async def test_a_run_goes_on_under_its_id_when_it_is_named(settings, name, dlq, kafka_env, processes):
    await bury(settings, name, [(r, letter_headers(n)) for n, r in enumerate(numbered(120))])
    await dlq("replay", "--yes")
    await killed(processes, kafka_env, 3, "dlq", "replay", name, "--yes", "--again")
    half = len(await inbox(settings, name)) - 120
    assert 0 < half < 120
    run = headers_of((await inbox(settings, name))[-1])["dingbridge-replay-id"]
    resumed = json.loads((await dlq("replay", "--yes", "--json", "--again", "--resume", run)).stdout)
    assert (resumed["replay_id"], resumed["copied_before"], resumed["sent"]) == (run, half, 120 - half)
    copies = await inbox(settings, name)
    assert len(copies) == 240
    of_run = [copy for copy in copies if headers_of(copy)["dingbridge-replay-id"] == run]
    assert sorted(map(number, of_run)) == list(range(120))


async def test_a_consumer_applies_what_is_sent_back_and_a_second_failure_names_the_first_place(
    kafka_env, kafka_settings, database_url, processes
):
    class Fussy(EffectConsumer):
        broken = True
        hopeless = "bad2"

        async def handle(self, event, tx, prepared):
            await super().handle(event, tx, prepared)
            if event.id.startswith("bad") and (self.broken or event.id.startswith(self.hopeless)):
                raise ValueError("as asked")

    consumer = named(Fussy, max_attempts=1)()
    settings = consumer_settings(kafka_env, database_url)

    async def waiting():
        try:
            async with LetterBox(settings, consumer.name) as box:
                return [letter async for letter, by in box.letters(ALL) if by is None]
        except TopicError:
            return []

    async def buried(count):
        letters = await waiting()
        return letters if len(letters) == count else None

    async with serving(consumer, settings):
        events = ["good1", "bad1", "bad2", "good2"]
        await publish(kafka_settings, [event_record(event, event) for event in events])
        letters = await eventually(lambda: buried(2), 120, "both in the dead letters")
        first = {letter.first for letter in letters}
        consumer.broken = False
        env = kafka_env | {"DATABASE_URL": database_url}
        result = await asyncio.to_thread(processes.run, "dlq", "replay", consumer.name, "--yes", env=env)
        assert result.returncode == 0, result.stderr

        async def applied():
            return sorted(event for event, _ in await rows(database_url)) == ["bad1", "good1", "good2"]

        await eventually(applied, 120, "the mended one is applied, once")
        [letter] = await eventually(lambda: buried(1), 120, "the other in the dead letters again")
        assert letter.first in first
        assert letter.replay_id is not None

        # that run made this letter itself, and may be gone on with
        consumer.hopeless = "none"
        again = ("dlq", "replay", consumer.name, "--yes", "--resume", letter.replay_id)
        result = await asyncio.to_thread(processes.run, *again, env=env)
        assert result.returncode == 0, result.stderr

        async def all_applied():
            applied = sorted(event for event, _ in await rows(database_url))
            return applied == ["bad1", "bad2", "good1", "good2"]

        await eventually(all_applied, 120, "all are applied, once")


class Blocking(EffectConsumer):
    """Fails at the events that are named in ``bad``, and blocks their keys."""

    on_dead_letter = "block"
    max_attempts = 1
    bad = frozenset()

    async def handle(self, event, tx, prepared):
        await super().handle(event, tx, prepared)
        if event.id.split("/")[0].rpartition(":")[2] in self.bad:
            raise ValueError("as asked")


@pytest.fixture
async def blocked_key(kafka_env, kafka_settings, database_url, dlq, name):
    """A running consumer whose key u0 is blocked by its first event; 12 of its events are dead letters, and
    those of two other keys are applied."""
    consumer = named(Blocking, name=name, bad={"e0"})()
    env = {"DATABASE_URL": database_url}

    async def letters(*arguments):
        result = await dlq("list", "--json", *arguments, more=env)
        return [json.loads(line) for line in result.stdout.splitlines()]

    async def stands_still():
        async with LetterBox(settings, name) as box:
            buried = [letter async for letter, _ in box.letters(ALL)]
        return len(await rows(database_url)) == 24 and len(buried) == 12

    settings = consumer_settings(kafka_env, database_url)
    async with serving(consumer, settings) as service:
        await publish(kafka_settings, numbered(36, users=3))
        await eventually(
            lambda: service.worker.state()[0], 120, "the worker is ready, and its topics are there"
        )
        await eventually(stands_still, 120, "one key is blocked, the others go on")
        yield consumer, env, letters


def of_key(found, user="u0"):
    return [int(event.removeprefix("e")) for event, subject in found if subject == user]


@pytest.mark.parametrize("interrupted", [False, True], ids=["in-one-go", "killed"])
async def test_a_blocked_key_goes_back_in_order_and_is_free(
    blocked_key, interrupted, name, dlq, kafka_env, kafka_settings, database_url, processes
):
    consumer, env, letters = blocked_key
    found = await letters()
    assert [letter["error"].split()[0] for letter in found] == ["ValueError"] + ["blocked"] * 11
    [blocking_id] = {letter["blocking_id"] for letter in found}
    assert await letters("--blocking-id", blocking_id) == found
    assert await letters("--blocking-id", "another") == []

    consumer.bad = frozenset()
    if interrupted:
        await killed(processes, kafka_env | env, 1, "dlq", "replay", name, "--yes")
    # one filter names one of its letters: all of its key go with it
    sent = json.loads((await dlq("replay", "--yes", "--json", "--error", "ValueError", more=env)).stdout)
    assert (sent["freed"], sent["waiting"], sent["failed"]) == (1 if sent["sent"] else 0, [], [])
    await publish(kafka_settings, [event_record("e36", "u0")])
    in_order = [*range(0, 36, 3), 36]

    async def applied():
        return of_key(await rows(database_url)) == in_order

    await eventually(applied, 120, "in order, once, and the key's later events behind them")
    assert await letters() == []
    assert len(await letters("--all")) == 12
    assert [of_key(await rows(database_url), u) for u in ("u1", "u2")] == [
        list(range(n, 36, 3)) for n in (1, 2)
    ]


async def test_a_blocked_key_whose_letter_fails_again_stays_blocked_until_it_is_skipped(
    blocked_key, dlq, database_url
):
    consumer, env, letters = blocked_key
    consumer.bad = frozenset({"e6"})
    failed = await dlq("replay", "--yes", more=env, code=1)
    assert "a letter failed again (ValueError" in failed.stderr
    assert of_key(await rows(database_url)) == [0, 3]
    waiting = await letters()
    assert len(waiting) == 10
    await dlq("skip", waiting[0]["place"], "--yes", more=env)
    freed = await dlq("replay", "--yes", more=env)
    assert "freed      1 key(s) go on" in freed.stdout
    assert of_key(await rows(database_url)) == [0, 3, *range(9, 36, 3)]
    assert await letters() == []


async def test_without_the_consumers_database_a_blocked_key_is_listed_and_not_replayed(
    blocked_key, dlq, tmp_path
):
    elsewhere = {"DATABASE_URL": f"sqlite:///{tmp_path / 'elsewhere.db'}"}
    listed = await dlq("list", more=elsewhere)
    assert len(listed.stdout.splitlines()) == 13
    assert "is not known" in listed.stderr
    refused = await dlq("replay", "--yes", more=elsewhere, code=1)
    assert "set DATABASE_URL" in refused.stderr


async def test_mistakes_are_said_in_words(dlq, processes, kafka_env):
    assert "no dead letters" in (await dlq("list", code=1)).stderr
    assert "no place" in (await dlq("show", "17", code=2)).stderr
    assert "no time" in (await dlq("list", "--since", "yesterday", code=2)).stderr
    env = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    result = await asyncio.to_thread(processes.run, "dlq", "list", "approval", env=env)
    assert result.returncode == 1
    assert "does not answer" in result.stderr

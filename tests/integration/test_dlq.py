"""``dingbridge dlq``: dead letters listed, looked at, sent back once and in order; also when it is killed."""

import asyncio
import json
import secrets

import pytest

from dingbridge.errors import TopicError
from dingbridge.replay.dead_letter_queue import DeadLetterQueue
from dingbridge.replay.dead_letters import DeadLetterFilter
from dingbridge.settings import ConsumerSettings
from dingbridge.worker.delivery import hash_key
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
from tests.support.sizes import on_one_database
from tests.support.waiting import eventually

ALL = DeadLetterFilter()


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
    assert listed[0]["at"] == "2026-11-25T04:00:00Z"
    assert listed[0]["key"] == "dingcorp1:u0"
    assert listed[0]["key_hash"] == f"#{hash_key(b'dingcorp1:u0')}", "as in the log"

    async def offsets(*filters):
        lines = (await dlq("list", "--json", *filters)).stdout.splitlines()
        return [int(json.loads(line)["first"]["offset"]) for line in lines]

    assert await offsets("--events", "user_add_org,user_leave_org") == [4]
    assert await offsets("--key", "dingcorp1:u1", "--key", listed[2]["key_hash"]) == [1, 2]
    assert await offsets("--error", "KeyError") == [3]
    span = ("--since", "2026-11-25T04:00:01Z", "--until", "2026-11-25T12:00:03+08:00", "--limit", "5")
    assert await offsets(*span) == [1, 2]

    table = (await dlq("list", "--limit", "2")).stdout.splitlines()
    assert table[0].split("\t")[:3] == ["place", "type", "key"]
    assert len(table) == 3

    shown = (await dlq("show", listed[4]["place"])).stdout
    assert "user_add_org" in shown
    assert "somewhere/0/4" in shown
    assert '"type": "com.dingtalk.user_add_org"' in shown
    assert '"subject": "张三"' in shown, "ids are shown, here as beside it"
    assert "secret words" not in shown
    revealed = (await dlq("show", listed[4]["place"], "--reveal")).stdout
    assert json.loads(revealed[revealed.index("\n{") :])["data"]["userId"] == ["张三"]
    refused = await dlq("show", "0/999", code=1)
    assert "dlq list" in refused.stderr


async def test_what_goes_back_is_the_record_as_it_was_under_a_replay_id_of_its_own(settings, name, dlq):
    earlier = [("dingbridge-replay-id", b"earlier"), ("dingbridge-replay-from", b"x/0/1")]
    letters = [(record, letter_headers(n) + earlier) for n, record in enumerate(numbered(12, users=3))]
    await bury(settings, name, letters)

    counted = (await dlq("replay", "--dry-run", "--events", "user_modify_org")).stdout
    assert "to send    12" in counted
    await dlq("replay", code=2)
    assert await inbox(settings, name) == [], "without --yes, and nobody to be asked"

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
    ids = {headers_of(copy)["dingbridge-replay-id"] for copy in copies}
    assert len(ids) == 12
    run = next(line.split()[1] for line in sent.stdout.splitlines() if line.startswith("run "))
    for user in range(3):
        of_user = [number(copy) for copy in copies if copy.key == f"dingcorp1:u{user}".encode()]
        assert of_user == sorted(of_user), "in order for each key"

    # what was replayed is not offered again, unless it is asked for
    again = await dlq("replay", "--yes")
    assert "left out   12" in again.stdout
    assert "to send    0" in again.stdout
    assert (await dlq("list")).stdout.splitlines()[1:] == []
    [settled_by] = {line.split("\t")[-1] for line in (await dlq("list", "--all")).stdout.splitlines()[1:]}
    assert settled_by == run
    await dlq("replay", "--yes", "--again", "--key", "dingcorp1:u0", "--limit", "2")
    copies = await inbox(settings, name)
    assert len(copies) == 14
    assert len({headers_of(copy)["dingbridge-replay-id"] for copy in copies}) == 14


KEY_ERROR = "KeyError at billing:9 in handle"


async def test_letters_are_counted_by_reason_and_chosen_one_by_one_or_by_it(settings, name, dlq):
    def error(n):
        return KEY_ERROR if n < 3 else f"My{KEY_ERROR}" if n < 5 else "ValueError at billing:1 in handle"

    letters = [(r, letter_headers(n, error(n))) for n, r in enumerate(numbered(9))]
    await bury(settings, name, letters)

    async def reasons(*filters):
        lines = (await dlq("reasons", "--json", *filters)).stdout.splitlines()
        return [(group["count"], group["error"]) for group in map(json.loads, lines)]

    assert await reasons() == [(4, error(8)), (3, KEY_ERROR), (2, f"My{KEY_ERROR}")]
    assert await reasons("--error", KEY_ERROR) == [(3, KEY_ERROR), (2, f"My{KEY_ERROR}")], "a part of it"
    assert await reasons("--error-is", KEY_ERROR) == [(3, KEY_ERROR)], "the whole"
    table = (await dlq("reasons")).stdout.splitlines()
    assert table[1] == f"4\tuser_modify_org\t{error(8)}\t2026-11-25T04:00:05Z\t2026-11-25T04:00:08Z"

    # skipped by the whole error, counted before
    by_error = ("--error-is", f"My{KEY_ERROR}")
    assert json.loads((await dlq("skip", *by_error, "--dry-run", "--json")).stdout)["to_skip"] == 2
    assert len(await reasons()) == 3, "counting changes nothing"
    assert "say which" in (await dlq("skip", "--yes", code=2)).stderr
    assert json.loads((await dlq("skip", *by_error, "--yes", "--json")).stdout)["skipped"] == 2
    assert await reasons() == [(4, error(8)), (3, KEY_ERROR)]

    # sent back by place: those and no others; what is settled or not there is left out, and said
    place = {int(one["first"]["offset"]): one["place"] for one in map(json.loads, await listed(dlq))}
    named = [place[1], place[6].replace("/", ":"), place[3], "0/999"]
    chosen = [argument for one in named for argument in ("--letter", one)]
    counted = await dlq("replay", *chosen, "--dry-run", "--json")
    assert "1 of those that were named" in counted.stderr
    sent = json.loads((await dlq("replay", *chosen, "--yes", "--json")).stdout)
    assert (sent["to_send"], sent["sent"], sent["left_out"]) == (2, 2, 1)
    assert sorted(map(number, await inbox(settings, name))) == [1, 6]
    assert await reasons() == [(3, error(8)), (2, KEY_ERROR)]
    assert "as 0/17" in (await dlq("replay", "--letter", "17", code=2)).stderr


async def listed(dlq):
    return (await dlq("list", "--all", "--json")).stdout.splitlines()


@pytest.mark.parametrize("batches", [1, 2, 5], ids=["before-the-note", "after-the-note", "later"])
async def test_a_replay_that_is_killed_is_run_again_and_each_letter_has_one_replay_id(
    settings, name, dlq, kafka_env, processes, batches
):
    total = 44
    await bury(settings, name, [(r, letter_headers(n)) for n, r in enumerate(numbered(total))])
    await killed(processes, kafka_env, batches, "dlq", "replay", name, "--yes")
    copied = len(await inbox(settings, name))
    assert 0 < copied < total

    sent = json.loads((await dlq("replay", "--yes", "--json")).stdout)
    copies = await inbox(settings, name)
    assert sent["to_send"] == sent["sent"] == len(copies) - copied
    assert len(copies) - total == (10 if batches % 2 else 0), "what was copied and not noted goes once more"
    ids = {}
    for copy in copies:
        ids.setdefault(number(copy), set()).add(headers_of(copy)["dingbridge-replay-id"])
    assert sorted(ids) == list(range(total))
    assert {len(of_letter) for of_letter in ids.values()} == {1}
    for user in range(5):
        of_user = dict.fromkeys(number(c) for c in copies if c.key == f"dingcorp1:u{user}".encode())
        assert list(of_user) == sorted(of_user), "in order for each key, over both runs"
    assert json.loads((await dlq("replay", "--json")).stdout)["to_send"] == 0


async def test_what_was_settled_is_left_out_and_the_oldest_come_first(settings, name):
    await bury(settings, name, [(r, letter_headers(n)) for n, r in enumerate(numbered(60))])
    early = DeadLetterFilter(places=frozenset((p, o) for p in range(2) for o in range(3, 12)))
    async with DeadLetterQueue(settings, name) as queue:
        selected = await queue.select(early)
        numbers = [number_of(letter) async for letter in queue.waiting(early)]
        assert numbers == sorted(numbers)
        assert selected.count == len(numbers) > 10
        await queue.replay(selected, lambda _: None)
    async with DeadLetterQueue(settings, name) as queue:
        oldest = await queue.select(ALL, limit=5)
        assert (oldest.count, oldest.settled) == (5, selected.count)
        rest = [number_of(letter) async for letter in queue.waiting(ALL)]
        assert sorted([*numbers, *rest]) == list(range(60))
        assert sum(group.count for group in await queue.groups(ALL)) == len(rest)
        await queue.skip(oldest, lambda _: None)
        for partition, offset in early.places:
            _, by = await queue.find(partition, offset)
            assert by == selected.run
    async with DeadLetterQueue(settings, name) as queue:
        assert [number_of(letter) async for letter in queue.waiting(ALL)] == rest[5:]


def number_of(letter):
    return int(letter.first[2])


@on_one_database
async def test_a_consumer_applies_what_is_sent_back_and_a_second_failure_names_the_first_place(
    kafka_env, kafka_settings, database_url, processes
):
    class Fussy(EffectConsumer):
        broken = True
        hopeless = "bad2"

        async def handle(self, event, tx, prepared):
            await super().handle(event, tx, prepared)
            if ":bad" in event.id and (self.broken or f":{self.hopeless}" in event.id):
                raise ValueError("as asked")

    consumer = named(Fussy, max_attempts=1)()
    settings = consumer_settings(kafka_env, database_url)

    async def waiting():
        try:
            async with DeadLetterQueue(settings, consumer.name) as queue:
                return [letter async for letter in queue.waiting(ALL)]
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

        await eventually(applied, 120, "the fixed one is applied, once")
        [letter] = await eventually(lambda: buried(1), 120, "the other in the dead letters again")
        assert letter.first in first
        assert letter.replay_id is not None

        # the second letter has a replay id of its own
        consumer.hopeless = "none"
        again = ("dlq", "replay", consumer.name, "--yes")
        result = await asyncio.to_thread(processes.run, *again, env=env)
        assert result.returncode == 0, result.stderr

        async def all_applied():
            applied = sorted(event for event, _ in await rows(database_url))
            return applied == ["bad1", "bad2", "good1", "good2"]

        await eventually(all_applied, 120, "all are applied, once")

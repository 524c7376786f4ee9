"""``on_dead_letter = "block"``: what follows a dead letter, and how it comes back, without Kafka."""

import asyncio

import pytest

from dingbridge import Reject
from dingbridge.worker import blocked
from dingbridge.worker.blocked import BLOCKING_ID_HEADER, LETTER_HEADER, Blocked
from dingbridge.worker.delivery import REPLAY_HEADER
from tests.unit.worker.harness import P0, P1, Harness, Scripted, running, until
from tests.unit.worker.support import kafka_record, record


class Blocking(Scripted):
    on_dead_letter = "block"


async def rows(harness: Harness) -> list[Blocked]:
    return list(await blocked.blocked(harness.runtime.database.reader(), "recording"))


async def replay(harness: Harness, replay_id: str = "r1") -> None:
    """What ``dingbridge dlq replay`` does with the one blocked key."""
    (row,) = await rows(harness)
    async with harness.runtime.database.transaction() as tx:
        await blocked.begin_replay(tx, "recording", row.key, replay_id)
    letters = []
    for offset, (letter, _, _) in enumerate(harness.letters.sent):
        if harness.letters.blocking_ids[offset] == row.blocking_id and offset > (
            -1 if row.replayed_to is None else row.replayed_to
        ):
            headers = (
                (BLOCKING_ID_HEADER, row.blocking_id.encode()),
                (REPLAY_HEADER, replay_id.encode()),
                (LETTER_HEADER, str(offset).encode()),
                ("dingbridge-dlq-offset", str(letter.offset).encode()),
            )
            place = harness.offsets.get(P1, 0)
            harness.offsets[P1] = place + 1
            letters.append(kafka_record(*P1, place, key=letter.key, value=letter.value, headers=headers))
    harness.dispatcher.add(letters)
    await harness.idle()


async def test_the_events_of_a_key_follow_its_dead_letter_in_order_and_others_go_on() -> None:
    async with running(Blocking({"bad": [Reject("no")]})) as harness:
        harness.add(P0, ("bad", "u1"), ("next", "u1"), ("other", "u2"), ("last", "u1"))
        await harness.idle()
        assert await harness.effects() == ["other"]
        assert [letter.offset for letter, _, _ in harness.letters.sent] == [0, 1, 3]
        reasons = [error for _, error, _ in harness.letters.sent]
        assert reasons[0].startswith("dingbridge.worker.outcomes.Reject")
        assert reasons[1:] == ["blocked by t/0/0"] * 2
        (row,) = await rows(harness)
        assert set(harness.letters.blocking_ids) == {row.blocking_id}
        assert (row.letters, row.last_letter, row.place) == (3, 2, ("t", 0, 0))
        assert harness.lanes.committable() == {P0: 4}
        assert harness.count("events_total", topic="t", outcome="dead") == 1
        assert harness.count("events_total", topic="t", outcome="blocked") == 2
        assert harness.consumer.seen == ["bad", "other"], "those that follow are not even prepared"


async def test_a_replay_applies_the_letters_in_order_frees_the_key_and_it_goes_on() -> None:
    async with running(Blocking({"bad": [Reject("no")]})) as harness:
        harness.add(P0, ("bad", "u1"), ("next", "u1"))
        await harness.idle()
        await replay(harness)
        assert await harness.effects() == ["bad", "next"]
        assert await rows(harness) == []
        harness.add(P0, ("later", "u1"))
        await harness.idle()
        assert await harness.effects() == ["bad", "next", "later"]
        assert len(harness.letters.sent) == 2


async def test_a_letter_that_fails_again_ends_its_replay_and_stays_the_next_one() -> None:
    async with running(Blocking({"bad": [Reject("no"), Reject("still")], "next": []})) as harness:
        harness.add(P0, ("bad", "u1"), ("next", "u1"))
        await harness.idle()
        await replay(harness)
        assert await harness.effects() == [], "what is behind the one that failed is passed over"
        (row,) = await rows(harness)
        assert (row.replay_id, row.replayed_to, row.letters) == (None, None, 2)
        assert len(harness.letters.sent) == 2, "its letter is there already"
        await replay(harness, "r2")
        assert await harness.effects() == ["bad", "next"]
        assert await rows(harness) == []


async def test_events_that_come_during_a_replay_follow_too_and_none_overtakes() -> None:
    consumer = Blocking({"bad": [Reject("no")]})
    async with running(consumer) as harness:
        harness.add(P0, ("bad", "u1"))
        await harness.idle()
        consumer.hold["bad"] = asyncio.Event()
        consumer.seen.clear()
        replaying = asyncio.create_task(replay(harness))
        await until(lambda: "bad" in consumer.began)
        harness.add(P0, ("meanwhile", "u1"))  # waits in the key's lane, as its letter does
        consumer.hold["bad"].set()
        await replaying
        await harness.idle()
        assert await harness.effects() == ["bad", "meanwhile"]
        assert await rows(harness) == []


async def test_letters_of_a_block_that_is_over_are_passed_over() -> None:
    async with running(Blocking({"bad": [Reject("no")]})) as harness:
        harness.add(P0, ("bad", "u1"))
        await harness.idle()
        await replay(harness)
        made = record("bad", "u1")
        headers = (
            (BLOCKING_ID_HEADER, harness.letters.blocking_ids[0].encode()),
            (REPLAY_HEADER, b"r1"),
            (LETTER_HEADER, b"0"),
        )
        harness.dispatcher.add([kafka_record("t", 1, 9, key=made.key, value=made.value, headers=headers)])
        await harness.idle()
        assert await harness.effects() == ["bad"]


async def test_what_is_no_event_blocks_its_key_as_well() -> None:
    async with running(Blocking()) as harness:
        key = record("x", "u1").key
        harness.dispatcher.add([kafka_record("t", 0, 0, key=key, value=b"\x80")])
        harness.offsets[P0] = 1
        harness.add(P0, ("next", "u1"))
        await harness.idle()
        assert await harness.effects() == []
        (row,) = await rows(harness)
        assert (row.letters, row.reason.split(" ")[0]) == (2, "dingbridge.events.event.NotAnEvent")


async def test_records_without_a_key_cannot_block_and_go_on() -> None:
    async with running(Blocking({"bad": [Reject("no")]})) as harness:
        for offset, name in enumerate(("bad", "next")):
            harness.dispatcher.add([kafka_record("t", 0, offset, key=None, value=record(name).value)])
        await harness.idle()
        assert await harness.effects() == ["next"]
        assert await rows(harness) == []
        assert harness.letters.blocking_ids == [""]


@pytest.mark.parametrize("down", [1, 3])
async def test_a_letter_that_kafka_does_not_take_is_sent_later_and_nothing_overtakes_it(down: int) -> None:
    async with running(Blocking({"bad": [Reject("no")]})) as harness:
        harness.letters.down = down
        harness.add(P0, ("bad", "u1"), ("next", "u1"))
        await harness.idle()
        assert [letter.offset for letter, _, _ in harness.letters.sent] == [0, 1]
        assert len(set(harness.letters.blocking_ids)) == 1
        assert harness.consumer.seen == ["bad"]

"""What is parked is tried again: what was parked and no more, in order, without holding up what is well."""

import asyncio
from contextlib import closing

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    PolicyViolationError,
    TopicAuthorizationFailedError,
)

from dingbridge.ingress.journal.file import JournalFile
from dingbridge.ingress.journal.folder import current
from dingbridge.ingress.journal.rows import DAMAGED, Acknowledgement, Parked
from dingbridge.ingress.relay import publisher as publishing
from dingbridge.ingress.relay.batches import MAX_RECORDS
from dingbridge.ingress.relay.sender import InvalidRecordError
from tests.support.waiting import eventually
from tests.unit.ingress.filled import UNDERSTOOD, UNREADABLE_ROWS
from tests.unit.ingress.relay.fakes import APPROVAL, CHECK_IN, RESYNC, USERS, body, number_of


def forbidden(*topics):
    return lambda topic, value: TopicAuthorizationFailedError() if topic in topics else None


async def test_retry_sends_only_what_was_parked_for_that_topic(room, kafka):
    """Of a callback with several records, all of the topic: readers drop those that they have."""
    await room.keep(body(1, "user_add_org", UserId=["u0", "u1"]), body(2, "user_add_org"), body(3))
    parked = [Parked(1, USERS, "policy", 1), Parked(3, CHECK_IN, "rights", 1)]
    await room.journal.acknowledge(Acknowledgement(3, parked))
    kafka.refuses = forbidden(CHECK_IN)
    await room.publish(retry=True)
    assert [(e.data["number"], e.subject) for e in kafka.events(USERS)] == [(1, "u0"), (1, "u1")]
    assert room.parked() == [(3, CHECK_IN, "rights", 1)], "since it was first parked"


async def test_a_page_of_those_that_are_refused_again_hides_no_other(room, kafka, monkeypatch):
    monkeypatch.setattr(publishing, "BY_HAND_PAGE", 10)
    await room.park(35, "too_large")
    kafka.refuses = lambda _, value: PolicyViolationError() if number_of(value) <= 25 else None
    await room.publish(retry=True)
    assert kafka.numbers() == list(range(26, 36))
    kafka.refuses = lambda _, value: InvalidRecordError() if number_of(value) == 7 else None
    await room.publish(retry=True)
    assert sorted(kafka.numbers()) == [n for n in range(1, 36) if n != 7]
    assert room.why_parked() == {7: "invalid_record"}, "by its new reason"


async def test_what_was_refused_for_its_size_is_tried_by_hand_only(room, kafka, running):
    """Its topic takes all others meanwhile."""
    await room.park(1, "too_large")
    await room.keep(body(2))
    async with running() as publisher:
        await eventually(lambda: kafka.numbers() == [2], what="what is new")
        await room.park(1, "rights", APPROVAL)
        await room.publish()
        assert room.why_parked()[1] == "too_large"
        publisher.retry()
        await eventually(lambda: kafka.numbers() == [2, 1], what="by hand")


async def test_due_topics_share_one_set_and_publishing_goes_on_meanwhile(room, kafka, running, monkeypatch):
    """However many topics do not answer."""
    topics = [f"dingtalk.type_{n}" for n in range(10)]
    kafka.topics |= set(topics)
    kafka.silent = set(topics)
    for topic in topics:
        await room.park(2, "no_leader", topic)
    sets = []
    send = publishing.Sender.send

    async def sent(sender, records, within_s=None):
        sets.append({topic: len(of) for (topic, _), of in records.items()})
        return await send(sender, records, within_s)

    monkeypatch.setattr(publishing.Sender, "send", sent)
    async with running():
        await eventually(lambda: any(len(one) > 5 for one in sets), what="several topics, in one set")
        assert {count for one in sets for count in one.values()} == {1}, "the first of each"
        await room.keep(body(0))
        await eventually(lambda: kafka.numbers() == [0], what="what is new")
        kafka.silent = set(topics[1:])
        await eventually(lambda: len(kafka.taken.get(topics[0], ())) == 2, what="one that has come back")
        await eventually(lambda: len(room.parked()) == 18, what="the others stay")


async def test_new_callbacks_are_parked_behind_the_old_ones_until_none_is_left(room, kafka, monkeypatch):
    monkeypatch.setattr("dingbridge.ingress.relay.batches.PAGE", 10)
    await room.park(35, "rights")
    kafka.refuses = lambda _, value: TopicAuthorizationFailedError() if number_of(value) > 11 else None
    await room.publish(retry=True)
    assert kafka.numbers() == list(range(1, 12))
    await room.keep(body(36))
    await room.publish()
    assert room.why_parked() == dict.fromkeys(range(12, 37), "rights")
    kafka.refuses = forbidden()
    await room.publish(retry=True)
    assert kafka.numbers() == list(range(1, 37))
    assert not room.parked()


async def test_while_kafka_is_away_nothing_changes(room, kafka, running, monkeypatch):
    monkeypatch.setattr(publishing, "_BACKOFF_S", (0.2, 0.2))
    await room.park(3, "rights")
    before = room.parked()
    kafka.refuses = lambda *_: KafkaConnectionError()
    async with running():
        await eventually(lambda: room.status.state == "down", what="down")
        assert room.parked() == before
        kafka.refuses = forbidden()
        await eventually(lambda: kafka.numbers() == [1, 2, 3], what="published")


async def test_what_is_damaged_meanwhile_is_not_published_and_asks_for_a_resync(room, kafka):
    await room.park(3, "rights")
    room.change("UPDATE callbacks SET body = body || ' ' WHERE seq = 2")
    await room.publish(retry=True)
    assert kafka.numbers() == [1, 3]
    assert room.why_parked() == {2: DAMAGED}
    assert [event.id for event in kafka.events(RESYNC)] == [f"damaged/{room.journal.id}/2"]
    await room.publish(retry=True)
    assert (len(kafka.events(RESYNC)), room.why_parked()) == (1, {2: DAMAGED})


async def test_of_a_callback_of_which_another_version_made_other_records_all_are_sent(room, kafka):
    await room.keep(body(1))
    await room.journal.acknowledge(Acknowledgement(1, [Parked(1, APPROVAL, "rights", 1)]))
    await room.publish(retry=True)
    assert kafka.numbers() == [1]
    assert not room.parked()


async def test_what_is_new_goes_on_while_many_that_were_refused_for_themselves_wait(room, kafka, running):
    await room.park(200, "too_large")
    tried, keeping = set(), []

    def refuses(_, value):
        if (number := number_of(value)) > 200:
            return None
        if not keeping:
            keeping.append(asyncio.ensure_future(room.keep(body(201))))
        if 201 not in kafka.numbers():
            tried.add(number)
        return PolicyViolationError()

    kafka.refuses = refuses
    async with running() as publisher:
        publisher.retry()
        await eventually(lambda: kafka.numbers() == [201], what="what is new")
        assert len(tried) < 100
    assert len(room.parked()) == 200


async def test_a_page_of_parked_callbacks_with_many_records_takes_no_more_than_a_batch_set(room, kafka):
    users = [f"u{n}" for n in range(600)]
    await room.keep(*(body(n, "user_add_org", UserId=users) for n in range(40)))
    await room.journal.acknowledge(Acknowledgement(40, [Parked(n, USERS, "rights", 1) for n in range(1, 41)]))
    counts, send = [], publishing.Sender.send

    async def sent(sender, records, within_s=None):
        counts.append(sum(map(len, records.values())))
        return await send(sender, records, within_s)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publishing.Sender, "send", sent)
        await room.publish(retry=True)
    assert max(counts) <= 2 * MAX_RECORDS
    assert [number_of(value) for value in kafka.taken[USERS]] == [n for n in range(40) for _ in users]


@pytest.mark.parametrize("change", [*UNDERSTOOD.values(), *UNREADABLE_ROWS.values()])
async def test_a_parked_row_that_has_changed_ends_nothing_and_stays_while_it_is_not_understood(
    room, kafka, change
):
    await room.park(3, "rights")
    room.change(f"UPDATE parked SET {change} WHERE seq = 2")
    await room.keep(body(4))
    await room.publish(retry=True)
    assert kafka.numbers() == [1, *([2] if change.startswith("since") else []), 3, 4]
    with closing(JournalFile(current(room.root), read_only=True)) as file:
        left = [(one.reason, one.callbacks) for one in file.parked_groups()]
    if change in UNREADABLE_ROWS.values():
        assert left == [("unreadable", 1)]
    else:
        assert left == ([] if change.startswith("since") else [("damaged", 1)])


async def test_what_is_parked_for_a_reason_of_another_release_is_tried_by_hand(room, kafka, running):
    await room.park(2, "quota")
    await room.keep(body(3))
    async with running() as publisher:
        await eventually(lambda: kafka.numbers() == [3], what="what is new")
        publisher.retry()
        await eventually(lambda: kafka.numbers() == [3, 1, 2], what="by hand")
    assert room.parked() == []

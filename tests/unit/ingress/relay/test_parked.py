"""What is parked is tried again: all of it, in order, and without holding up what is well. Without Kafka."""

import asyncio
import json
from contextlib import asynccontextmanager, closing

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    TopicAuthorizationFailedError,
)
from dingbridge.ingress.journal.checkpoint import DAMAGED, Checkpoint
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from dingbridge.errors import TopicLeaderless
from dingbridge.events import decode
from dingbridge.events.control import RESYNC_REQUESTED
from dingbridge.ingress.relay import parked as parking
from dingbridge.ingress.relay import publisher as publishing
from dingbridge.ingress.relay.batches import partition_of
from tests.support.sizes import sized
from tests.support.waiting import eventually
from tests.unit.ingress.relay.fakes import APPROVAL, CHECK_IN, FakeKafka, FakeProducer, Folder, body


def number(value):
    return decode(value).data["number"]


@asynccontextmanager
async def opened(folder, **more):
    publisher = folder.publisher(**more)
    await publisher.parked.load()
    yield publisher
    publisher._journal.close()
    await publisher._checkpoint.call(Checkpoint.close)


async def test_however_many_are_refused_for_themselves_those_behind_them_are_sent(folder, kafka):
    folder.park(230, "too_large")
    kafka.refuses = lambda topic, value: MessageSizeTooLargeError() if number(value) <= 220 else None
    async with opened(folder) as publisher:
        assert await publisher.parked.retry() == 220
        assert kafka.numbers() == list(range(221, 231))
        kafka.refuses = lambda topic, value: None
        assert await publisher.parked.retry() == 0
    assert sorted(kafka.numbers()) == list(range(1, 231))
    assert folder.parked() == []


@pytest.mark.parametrize("how", ["silent", "leaderless", "refuses"])
async def test_a_topic_that_takes_nothing_holds_up_no_other(folder, kafka, monkeypatch, how):
    monkeypatch.setattr(parking, "_ANSWER_S", 0.05)
    folder.park(3, "no_leader", CHECK_IN)
    folder.park(3, "rights", APPROVAL)
    if how == "silent":
        kafka.silent.add(APPROVAL)
    elif how == "leaderless":
        kafka.cannot_make[APPROVAL] = TopicLeaderless("no leader")
    else:
        kafka.refuses = lambda topic, _: TopicAuthorizationFailedError() if topic == APPROVAL else None
    async with opened(folder) as publisher:
        assert await publisher.parked.retry() == 3
    assert kafka.numbers(CHECK_IN) == [1, 2, 3]
    assert {(p.topic, p.reason) for p in folder.parked()} == {(APPROVAL, "rights")}


async def test_of_topics_that_have_very_many_each_has_its_turn(folder, kafka):
    folder.park(450, "rights", APPROVAL)
    folder.park(3, "rights", CHECK_IN)
    order = []
    kafka.refuses = lambda topic, _: order.append(topic)
    async with opened(folder) as publisher:
        await publisher.parked.retry()
    assert order.index(CHECK_IN) == 100, "after a page of the other"


async def test_while_kafka_is_away_nothing_changes(folder, kafka):
    folder.park(3, "rights")
    async with opened(folder) as publisher:
        kafka.away = KafkaConnectionError()
        assert await publisher.parked.retry() == 3
    assert [p.seq for p in folder.parked()] == [1, 2, 3]


async def test_what_is_damaged_is_not_published_and_not_tried_again(folder, kafka):
    folder.park(3, "rights")
    folder.damage(2)
    async with opened(folder) as publisher:
        assert await publisher.parked.retry() == 0
    assert kafka.numbers() == [1, 3]
    assert [(p.seq, p.reason) for p in folder.parked()] == [(2, DAMAGED)]


async def test_of_a_callback_that_makes_fewer_records_than_when_it_was_parked_all_are_sent(folder, kafka):
    folder.park(1, "rights")
    checkpoint = folder.checkpoint()
    checkpoint.db.execute("DELETE FROM parked")
    checkpoint.commit(1, [parking.Parked(1, 7, CHECK_IN, "rights", 1)])
    checkpoint.close()
    async with opened(folder) as publisher:
        assert await publisher.parked.retry() == 0
    assert kafka.numbers() == [1]


async def test_a_request_that_is_parked_takes_no_event_with_it(folder, kafka):
    nameless = {"EventType": "org_dept_remove", "EventTime": 1_731_000_000_000, "CorpId": "c", "eventId": "e"}
    resync = "ctl-dingtalk.resync"
    folder.keep(json.dumps(nameless).encode())
    checkpoint = folder.checkpoint()
    checkpoint.commit(1, [parking.Parked(1, 1, resync, "rights", 1)])
    checkpoint.close()
    async with opened(folder) as publisher:
        assert await publisher.parked.retry() == 0
    assert [event.type for event in kafka.events(resync)] == [RESYNC_REQUESTED]
    assert kafka.taken.keys() == {resync}
    assert not folder.parked()


async def test_a_topic_is_unblocked_when_nothing_of_it_is_left(folder, kafka):
    folder.park(150, "rights")
    kafka.refuses = lambda topic, value: TopicAuthorizationFailedError() if number(value) > 100 else None
    async with opened(folder) as publisher:
        assert await publisher.parked.retry() == 50
        assert set(publisher.parked.blocked) == {CHECK_IN}
        folder.park(1, "rights")
        kafka.refuses = lambda topic, value: None
        await publisher.parked.turn()
        assert not publisher.parked.blocked
    assert kafka.numbers() == list(range(1, 152))


async def test_while_many_are_refused_one_by_one_what_is_new_goes_on(folder, kafka, monkeypatch):
    monkeypatch.setattr(parking, "_SMALL_PAGE", 1)
    folder.park(20, "too_large")
    kafka.refuses = lambda topic, value: MessageSizeTooLargeError() if number(value) <= 20 else None
    async with opened(folder) as publisher:
        tried = 0
        while True:
            await publisher.parked.turn()
            tried += 1
            if not publisher.parked._turns:
                break
    assert tried >= 20, "a turn each"
    assert len(folder.parked()) == 20


@given(
    seed=st.integers(0, 1 << 30),
    steps=st.lists(st.sampled_from(["push", "deny", "grant", "retry"]), max_size=30),
)
@hypothesis(max_examples=sized(12, 100, quick=5), deadline=None)
def test_order_holds_and_nothing_is_lost_however_rights_come_and_go(tmp_path_factory, seed, steps):
    path = tmp_path_factory.mktemp("journal") / "current"
    with pytest.MonkeyPatch.context() as monkeypatch:
        asyncio.run(_comes_and_goes(path, monkeypatch, seed, steps))


async def _comes_and_goes(path, monkeypatch, seed, steps):
    kafka, folder = FakeKafka(), Folder(path)
    kafka.install(monkeypatch)
    for name in ("_SET_EVERY_S", "_IDLE_S", "_CHECKPOINT_EVERY_S"):
        monkeypatch.setattr(publishing, name, 0.001)
    monkeypatch.setattr(publishing, "_BACKOFF_S", (0.001, 0.001))
    monkeypatch.setattr("dingbridge.ingress.relay.batches.MAX_RECORDS", 3)
    kafka.random.seed(seed)
    denied = False

    def refuses(topic, value):
        return TopicAuthorizationFailedError() if denied and topic == CHECK_IN else None

    kafka.refuses = refuses
    publisher = folder.publisher()
    running = asyncio.create_task(publisher.run())
    kept = 0

    async def push():
        nonlocal kept
        bodies = [body(kept + n, "check_in" if n % 3 else "bpms_instance_change") for n in range(5)]
        kept += len(bodies)
        folder.keep(*bodies)
        publisher.wake()

    for step in [*steps, "push", "grant", "push"]:
        if step == "push":
            await push()
        elif step == "retry":
            publisher.retry_parked()
        else:
            denied = step == "deny"
        for _ in range(kafka.random.randrange(20)):
            await asyncio.sleep(0.0005)

    async def all_there():
        publisher.retry_parked()
        return (
            len({*kafka.numbers(CHECK_IN), *kafka.numbers(APPROVAL)}) == kept and not publisher.parked.blocked
        )

    await eventually(all_there, 30, "all is published, and no topic is blocked")
    publisher.stop()
    await running
    assert folder.parked() == []
    for topic in (CHECK_IN, APPROVAL):
        numbers = kafka.numbers(topic)
        first = list(dict.fromkeys(numbers))
        assert first == sorted(first), "in order where each is first read; what is sent again is a run"
    folder.close()


@pytest.fixture
def six_partitions(kafka, monkeypatch):
    """A topic with so many."""

    async def partitions_for(self, topic):
        return set(range(6))

    monkeypatch.setattr(FakeProducer, "partitions_for", partitions_for)
    kafka.topics.add("dingtalk.user_add_org")
    return "dingtalk.user_add_org"


async def test_of_a_callback_whose_records_go_to_several_partitions_one_that_is_refused_keeps_it_parked(
    folder, kafka, six_partitions
):
    """Which of them it was parked for nobody can tell; it is forgotten when all of them are in Kafka."""

    topic = six_partitions
    event = {"EventType": "user_add_org", "CorpId": "c", "TimeStamp": 1_731_000_000_000, "eventId": "e"}
    folder.keep(json.dumps({**event, "UserId": [f"u{n}" for n in range(8)]}).encode())
    with closing(folder.checkpoint()) as checkpoint:
        checkpoint.commit(1, [parking.Parked(1, 9, topic, "too_large", 1)])
    for refused in (f"u{n}" for n in range(8)):
        kafka.refuses = lambda _, value, who=refused: (
            MessageSizeTooLargeError() if decode(value).subject == who else None
        )
        async with opened(folder) as publisher:
            assert await publisher.parked.retry() == 1, refused
    kafka.refuses = lambda topic, value: None
    async with opened(folder) as publisher:
        assert await publisher.parked.retry() == 0
    assert {event.subject for event in kafka.events(topic)} == {f"u{n}" for n in range(8)}


async def test_while_one_partition_takes_nothing_the_others_do_not_get_the_same_each_time(
    folder, kafka, six_partitions
):
    topic = six_partitions
    event = {"EventType": "user_add_org", "CorpId": "c", "TimeStamp": 1_731_000_000_000}
    folder.keep(*(json.dumps({**event, "eventId": str(n), "UserId": [f"u{n}"]}).encode() for n in range(30)))
    with closing(folder.checkpoint()) as checkpoint:
        checkpoint.commit(30, [parking.Parked(seq, 0, topic, "rights", 1) for seq in range(1, 31)])
    first_of = {partition_of(f"c:u{n}".encode(), 6): f"u{n}" for n in reversed(range(30))}
    silent = max(first_of.values(), key=lambda user: int(user[1:]))  # of the partition that comes last
    kafka.refuses = lambda _, value: KafkaTimeoutError() if decode(value).subject == silent else None
    async with opened(folder) as publisher:
        left = [await publisher.parked.retry() for _ in range(3)]
    taken = [event.subject for event in kafka.events(topic)]
    assert len(taken) == len(set(taken)) == 30 - left[0] > 10
    assert left == left[:1] * 3
    assert len(folder.parked()) == left[0]

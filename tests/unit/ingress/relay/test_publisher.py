"""The publisher, without Kafka: order holds, nothing is lost, and one topic or callback stops no other."""

import asyncio
import random

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    PolicyViolationError,
    TopicAuthorizationFailedError,
)
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from dingbridge.errors import TopicError
from dingbridge.events import decode
from dingbridge.ingress.errors import JournalDamaged, JournalUnavailable
from dingbridge.ingress.journal.rows import CONTROL, DAMAGED, FAULT, NO_TOPIC, ResyncRequest
from dingbridge.ingress.relay import publisher as publishing
from dingbridge.ingress.relay.records import RecordBuilder
from tests.support.sizes import sized
from tests.support.waiting import eventually
from tests.unit.ingress.relay.fakes import (
    APPROVAL,
    CHECK_IN,
    RESYNC,
    USERS,
    FakeKafka,
    Room,
    body,
    number_of,
)

KINDS = ["check_in", "bpms_instance_change"]
LIMIT = 4_000
"""Bytes: more than a record has here, and less than some of them have together."""


def forbidden(*topics):
    return lambda topic, value: TopicAuthorizationFailedError() if topic in topics else None


# -- Order, and what "acknowledged" means

STEPS = ["push", "deny", "grant", "retry", "kill", "away", "lose", "silence", "no leader", "heal"]


@given(seed=st.integers(0, 1 << 30), steps=st.lists(st.sampled_from(STEPS), max_size=30))
@hypothesis(max_examples=sized(15, 200, quick=8), deadline=None)
def test_order_holds_and_nothing_is_lost_whatever_kafka_does(tmp_path_factory, seed, steps):
    with pytest.MonkeyPatch.context() as monkeypatch:
        asyncio.run(Story(tmp_path_factory.mktemp("journal"), monkeypatch, seed).play(steps))


class Story:
    """Callbacks of three topics and some keys, of which every 13th is too large; and what Kafka does."""

    def __init__(self, root, monkeypatch, seed):
        self.random = random.Random(seed)
        self.kafka, self.room, self.kept = FakeKafka(), Room(root), 0
        self.kafka.install(monkeypatch)
        self.kafka.random, self.kafka.partitions, self.kafka.max_bytes = self.random, 3, LIMIT
        self.denied, self.losses = False, 0
        self.kafka.refuses, self.kafka.loses_answer = self.refuses, self.loses
        monkeypatch.setattr("dingbridge.ingress.relay.batches.MAX_RECORDS", 5)
        monkeypatch.setattr("dingbridge.ingress.relay.batches.PAGE", 4)

    def refuses(self, topic, value):
        return TopicAuthorizationFailedError() if self.denied and topic == CHECK_IN else None

    def loses(self):
        self.losses -= 1
        return self.losses >= 0

    async def play(self, steps):
        await self.room.open()
        self.start()
        for step in steps:
            await self.do(step)
            await asyncio.sleep(0.0005 * self.random.randrange(20))
        for step in ("push", "heal", "grant", "push"):
            await self.do(step)
        await eventually(self.all_there, 60, "all is published, and no topic is blocked")
        await self.end()
        await self.room.close()
        large = set(range(13, self.kept + 1, 13))
        assert set(self.room.why_parked()) == large
        published = set()
        for topic in (CHECK_IN, APPROVAL, USERS):
            published |= set(self.kafka.numbers(topic))
            by_key = {}
            for event in self.kafka.events(topic):
                by_key.setdefault(event.partitionkey, []).append(event.data["number"])
            for numbers in by_key.values():
                assert list(dict.fromkeys(numbers)) == sorted(set(numbers)), (
                    "in order where each is first read"
                )
        assert published == set(range(1, self.kept + 1)) - large

    def start(self):
        self.publisher = self.room.publisher()
        self.task = asyncio.create_task(self.publisher.run())

    async def end(self):
        self.publisher.stop()
        await self.task

    async def do(self, step):
        match step:
            case "push":
                numbers = range(self.kept + 1, self.kept + 8)
                self.kept = numbers[-1]
                await self.room.keep(*map(self.callback, numbers))
            case "deny" | "grant":
                self.denied = step == "deny"
            case "retry":
                self.publisher.retry()
            case "kill":
                self.task.cancel()
                await asyncio.gather(self.task, return_exceptions=True)
                self.start()
            case "away":
                self.kafka.away = KafkaConnectionError()
            case "lose":
                self.losses = 2
            case "silence":
                self.kafka.silent = {CHECK_IN}
            case "no leader":
                self.kafka.leaderless = {APPROVAL}
            case "heal":
                self.kafka.away, self.kafka.silent, self.kafka.leaderless = None, set(), set()

    def callback(self, number):
        users = self.random.sample(["u1", "u2", "u3", "u4"], 2)
        kind = self.random.choice([*KINDS, "user_add_org"])
        pad = "x" * LIMIT if number % 13 == 0 else ""
        return body(number, kind, UserId=users, StaffId=users[0], processInstanceId=users[0], pad=pad)

    def all_there(self):
        waits = self.room.acked() < self.kept
        return not waits and set(self.room.why_parked().values()) <= {"too_large"}


@pytest.mark.parametrize("slow_kafka", [True, False])
async def test_while_the_journal_takes_no_write_at_most_10000_are_sent_beyond_what_was_saved(
    room, kafka, monkeypatch, running, slow_kafka
):
    assert publishing.UNSAVED_MAX == 10_000
    monkeypatch.setattr(publishing, "UNSAVED_MAX", 100)
    monkeypatch.setattr("dingbridge.ingress.relay.batches.MAX_RECORDS", 10)
    monkeypatch.setattr(publishing, "MAX_RECORDS", 10)
    monkeypatch.setattr(publishing, "_SAVE_EVERY_S", 0.0 if slow_kafka else 3600.0)
    await room.keep(*(body(n) for n in range(300)))
    acknowledge, full = room.journal.acknowledge, asyncio.Event()

    async def refuses(acknowledgement):
        if full.is_set():
            return await acknowledge(acknowledgement)
        raise JournalUnavailable("disk", "full; free the disk")

    monkeypatch.setattr(room.journal, "acknowledge", refuses)
    async with running():
        await eventually(lambda: room.status.state == "down", what="it says so")
        assert "free the disk" in room.status.words
        assert kafka.numbers() == list(range(100))
        full.set()
        await eventually(lambda: kafka.numbers() == list(range(300)), what="it goes on by itself")


async def test_a_disk_that_takes_long_to_note_what_kafka_has_taken_holds_up_nothing(
    room, kafka, monkeypatch, running
):
    acknowledge, disk = room.journal.acknowledge, asyncio.Event()

    async def slowly(acknowledgement):
        await disk.wait()
        await acknowledge(acknowledgement)

    monkeypatch.setattr(room.journal, "acknowledge", slowly)
    async with running():
        try:
            for number in range(20):
                await room.keep(body(number))
                await eventually(lambda: len(kafka.numbers()) > number, 20, "published")  # noqa: B023
            assert room.acked() == 0
        finally:
            disk.set()
        await eventually(lambda: room.acked() == 20, what="noted")


async def test_after_a_few_callbacks_the_next_one_does_not_wait_for_many(room, kafka, monkeypatch, running):
    monkeypatch.setattr(publishing, "_SET_EVERY_S", 60.0)
    async with running():
        for number in range(5):
            await room.keep(body(number))
            await eventually(lambda: kafka.numbers()[-1:] == [number], 20, "published")  # noqa: B023


# -- Kafka as a whole


async def test_new_callbacks_cut_no_back_off_short_but_an_operator_does(room, kafka, monkeypatch, running):
    """Otherwise an outage is a log-in for each callback, a hundred a second, at a cluster in trouble."""
    monkeypatch.setattr(publishing, "_BACKOFF_S", (3600.0, 3600.0))
    kafka.away = KafkaConnectionError()
    async with running() as publisher:
        await eventually(lambda: room.status.state == "down", what="down")
        for number in range(50):
            await room.keep(body(number))
        assert kafka.producers == 1
        kafka.away = None
        publisher.retry()
        await eventually(lambda: kafka.numbers() == list(range(50)), what="published")
        kafka.away = KafkaConnectionError()
        await room.keep(body(50))
        await eventually(lambda: room.status.state == "down", what="down again, when it is to end")


async def test_an_idle_bridge_asks_the_producers_own_client_whether_kafka_is_there(
    room, kafka, monkeypatch, running
):
    monkeypatch.setattr(publishing, "_ASKED_EVERY_S", 0.01)
    async with running():
        await eventually(lambda: kafka.asked > 1 and room.status.state == "up", what="up")
        assert kafka.producers == 1
        kafka.away = KafkaConnectionError()
        await eventually(lambda: room.status.state == "down", what="down, with nothing to publish")
        kafka.away = None
        await eventually(lambda: room.status.state == "up", what="up again")


async def test_one_broker_that_is_gone_delays_no_callback_and_is_not_the_whole_of_kafka(
    room, kafka, monkeypatch, running
):
    """The client asks one broker after the other, and waits for each as long as for any request."""
    monkeypatch.setattr(publishing, "_ASKED_EVERY_S", 0.01)
    async with running():
        await eventually(lambda: kafka.asked, what="it asks")
        asked, kafka.answers = kafka.asked, asyncio.Event()
        await eventually(lambda: kafka.asked > asked, what="it asks the one that is gone")
        await room.keep(body(0))
        await eventually(lambda: kafka.numbers() == [0], what="published meanwhile")
        kafka.answers.set()
        assert (kafka.producers, room.status.state) == (1, "up")


async def test_where_no_broker_answers_kafka_is_away_and_nothing_is_parked(room, kafka, monkeypatch, running):
    monkeypatch.setattr(publishing, "_BACKOFF_S", (0.2, 0.2))
    monkeypatch.setattr("dingbridge.ingress.relay.sender._METADATA_WITHIN_S", 0.02)
    kafka.silent, kafka.answers = kafka.silent | kafka.topics, asyncio.Event()
    await room.keep(body(0), body(1, "bpms_instance_change"))
    async with running():
        await eventually(lambda: room.status.state == "down", what="down")
        assert not room.parked()
        kafka.silent.clear()
        kafka.answers.set()
        await eventually(lambda: (kafka.numbers(), kafka.numbers(APPROVAL)) == ([0], [1]), what="published")
    assert not room.parked()


async def test_a_cluster_that_answers_and_takes_nothing_is_parked_said_and_published_in_order_later(
    room, kafka, running
):
    """Too few replicas are in sync everywhere. One topic alone looks the same, and must hold up no other."""
    kafka.silent |= kafka.topics
    async with running():
        for number in range(20):
            await room.keep(body(number, KINDS[number % 2]))
        await eventually(lambda: len(room.why_parked()) == 20, what="parked")
        assert set(room.why_parked().values()) == {"no_leader"}
        assert room.status.state == "stalled"
        assert "too few replicas" in room.status.words
        kafka.silent.clear()
        await eventually(lambda: not room.parked(), what="published by itself")
        assert room.status.state == "up"
    assert kafka.numbers() == list(range(0, 20, 2))
    assert kafka.numbers(APPROVAL) == list(range(1, 20, 2))


# -- One topic


@pytest.mark.parametrize("how", ["silent", "leaderless", "forbidden", "cannot be made"])
async def test_a_topic_that_takes_nothing_is_parked_and_all_others_are_published_once(
    room, kafka, running, how
):
    """``silent``: too few replicas are in sync, say. aiokafka sends again without end, without a word."""
    if how == "forbidden":
        kafka.refuses = forbidden(APPROVAL)
    elif how == "cannot be made":
        kafka.topics.discard(APPROVAL)
        kafka.cannot_make[APPROVAL] = TopicError("refused")
    else:
        getattr(kafka, how).add(APPROVAL)
    await room.keep(*(body(n, KINDS[n % 2]) for n in range(100)))
    async with running():
        await eventually(lambda: room.acked() == 100, what="all is acknowledged or parked")
        assert kafka.numbers(CHECK_IN) == list(range(0, 100, 2))
        assert [seq - 1 for seq in room.why_parked()] == list(range(1, 100, 2))
        reasons = {"forbidden": "rights", "cannot be made": "topic_missing"}
        assert set(room.why_parked().values()) == {reasons.get(how, "no_leader")}
        kafka.silent.clear()
        kafka.leaderless.clear()
        kafka.cannot_make.clear()
        kafka.refuses = forbidden()
        await eventually(lambda: not room.parked(), what="the rest by itself")
    assert kafka.numbers(APPROVAL) == list(range(1, 100, 2))


async def test_a_set_of_a_topic_that_does_not_answer_holds_up_no_later_one(room, kafka, running, monkeypatch):
    """No other topic in it has shown that Kafka is there: the producer's client asks."""
    kafka.silent.add(APPROVAL)
    await room.keep(body(0, "bpms_instance_change"))
    async with running():
        await eventually(lambda: room.why_parked() == {1: "no_leader"}, 5, "parked")
        await room.keep(body(1))
        await eventually(lambda: kafka.numbers() == [1], what="published")


@pytest.mark.parametrize("from_the_start", [True, False])
async def test_one_topic_without_a_leader_all_others_within_a_second(room, kafka, from_the_start):
    """By the waits that the relay allows itself; Kafka's metadata shows which topic it is."""
    silent_s = 0.5
    kafka.leaderless = {APPROVAL} if from_the_start else set()
    await room.keep(body(0, "bpms_instance_change"), body(1))
    if not from_the_start:
        load = kafka.listed

        async def loses_its_leader(settings):
            found = await load(settings)
            kafka.leaderless = {APPROVAL}
            return found

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("dingbridge.ingress.relay.topics.listed_topics", loses_its_leader)
            await room.publish()
    else:
        await room.publish()
    assert kafka.numbers(CHECK_IN) == [1]
    assert room.why_parked() == {1: "no_leader"}
    assert silent_s + kafka.waited_s < 1


async def test_a_blocked_topic_is_tried_while_callbacks_of_others_keep_coming(
    room, kafka, monkeypatch, running
):
    monkeypatch.setattr(publishing, "_SET_EVERY_S", 0.02)
    kafka.refuses = forbidden(APPROVAL)
    async with running():
        flood = asyncio.ensure_future(_without_pause(room))
        await room.keep(body(0, "bpms_instance_change"))
        await eventually(room.parked, what="parked")
        kafka.refuses = forbidden()
        try:
            await eventually(lambda: kafka.numbers(APPROVAL) == [0], 10, "tried")
        finally:
            flood.cancel()
            await asyncio.gather(flood, return_exceptions=True)


async def _without_pause(room):
    while True:
        await room.keep(body(1))


async def test_a_backlog_of_a_blocked_topic_is_parked_in_sets_like_any_other(room, kafka, monkeypatch):
    """In one set it would take the memory of all that waits, and as long a commit."""
    monkeypatch.setattr("dingbridge.ingress.relay.batches.MAX_RECORDS", 10)
    kafka.refuses = forbidden(CHECK_IN)
    await room.keep(*(body(n) for n in range(200)))
    acknowledge, sizes = room.journal.acknowledge, []

    async def counts(acknowledgement):
        sizes.append(len(acknowledgement.parked))
        await acknowledge(acknowledgement)

    monkeypatch.setattr(room.journal, "acknowledge", counts)
    await room.publish()
    assert len(room.parked()) == 200
    assert max(sizes) <= 20


# -- One callback


@pytest.mark.parametrize("refused", range(3))
async def test_a_record_that_is_refused_for_itself_parks_its_callback(room, kafka, refused):
    """The callback's others are sent."""
    users = ["u0", "u1", "u2"]
    await room.keep(*(body(n, "user_add_org", UserId=users) for n in range(3)))

    def refuses(topic, value):
        is_it = (number_of(value), decode(value).subject) == (1, users[refused])
        return PolicyViolationError() if is_it else None

    kafka.refuses = refuses
    await room.publish()
    sent = [(event.data["number"], event.subject) for event in kafka.events(USERS)]
    assert set(sent) == {(n, user) for n in range(3) for user in users} - {(1, users[refused])}
    assert [one[:3] for one in room.parked()] == [(2, USERS, "policy")]


async def test_which_of_a_batch_are_too_large_is_found_and_the_others_go_on_in_order(room, kafka):
    kafka.max_bytes = LIMIT
    await room.keep(*(body(n, pad="x" * LIMIT * (n in {40, 41, 90})) for n in range(100)))
    await room.publish()
    assert kafka.numbers() == [n for n in range(100) if n not in {40, 41, 90}]
    assert room.why_parked() == dict.fromkeys((41, 42, 91), "too_large")


async def test_a_topic_that_takes_no_record_of_a_size_costs_the_others_a_few_tries(room, kafka, running):
    """Each new producer is a log-in, and each try a round trip for which all topics wait."""
    kafka.max_bytes, dice = LIMIT, random.Random(5)
    large = [bool(n % 2) for n in range(1_000)]
    many = [
        body(n, KINDS[is_large], pad="x" * dice.randrange(LIMIT, 2 * LIMIT) * is_large)
        for n, is_large in enumerate(large)
    ]
    async with running():
        await room.keep(*many[:600])
        await eventually(lambda: room.acked() == 600, 20, "all of it is acknowledged or parked")
        producers, tries = kafka.producers, len(kafka.batches)
        assert producers <= 3
        assert tries < 200
        await room.keep(*many[600:])
        await eventually(lambda: room.acked() == 1_000, 20, "and what comes later")
    assert kafka.producers == producers
    assert kafka.numbers() == [n for n in range(1_000) if not large[n]]
    assert room.why_parked() == {n + 1: "too_large" for n in range(1_000) if large[n]}


async def test_a_limit_that_was_raised_is_noticed_by_itself(room, kafka, running, monkeypatch):
    kafka.max_bytes = LIMIT
    large = [body(n, pad="x" * LIMIT) for n in range(4)]
    async with running():
        await room.keep(*large[:2])
        await eventually(lambda: len(room.parked()) == 2, what="parked")
        kafka.max_bytes = 1 << 30
        monkeypatch.setattr("dingbridge.ingress.relay.size_limits.TRIED_EVERY_S", 0.0)
        await room.keep(large[2])
        await eventually(lambda: room.acked() == 3, what="the next one")
        await room.keep(large[3])
        await eventually(lambda: room.acked() == 4, what="and the one behind it")
    assert len(room.parked()) < 4
    assert kafka.numbers()[-1] == 3


@pytest.mark.parametrize("every", [1, 50])
async def test_records_that_a_policy_refuses_need_no_producer_each(room, kafka, every):
    kafka.refuses = lambda _, value: None if number_of(value) % every else PolicyViolationError()
    await room.keep(*(body(n) for n in range(200)))
    await room.publish()
    assert kafka.producers <= 3
    assert kafka.numbers() == [n for n in range(200) if n % every]
    assert room.why_parked() == {n + 1: "policy" for n in range(0, 200, every)}


async def test_a_batch_with_one_refused_record_is_not_sent_record_by_record(room, kafka):
    kafka.refuses = lambda _, value: PolicyViolationError() if number_of(value) == 77 else None
    await room.keep(*(body(n) for n in range(256)))
    await room.publish()
    assert len(kafka.batches) < 2 * 2 * 8, "two for each halving, on the way down and up again"
    assert kafka.numbers() == [n for n in range(256) if n != 77]


async def test_a_fault_of_ours_parks_that_callback_alone_and_a_newer_version_sends_it(
    room, kafka, monkeypatch
):
    real = RecordBuilder.of

    def records(builder, row):
        return 1 / 0 if row.seq == 2 else real(builder, row)

    await room.keep(*(body(n) for n in range(3)))
    with monkeypatch.context() as faulty:
        faulty.setattr(RecordBuilder, "of", records)
        await room.publish(retry=True)
        assert kafka.numbers() == [0, 2]
        assert [one[:3] for one in room.parked()] == [(2, NO_TOPIC, FAULT)]
    await room.publish()
    assert kafka.numbers() == [0, 2], "only when an operator asks"
    await room.publish(retry=True)
    assert kafka.numbers() == [0, 2, 1]
    assert not room.parked()


async def test_a_damaged_callback_is_parked_and_one_resync_is_asked_in_its_place(room, kafka):
    await room.keep(*(body(n) for n in range(3)))
    room.change("UPDATE callbacks SET body = body || ' ' WHERE seq = 2")
    await room.publish()
    assert kafka.numbers() == [0, 2], "it is not published as if DingTalk had said it"
    assert [one[:3] for one in room.parked()] == [(2, NO_TOPIC, DAMAGED)]
    [event] = kafka.events(RESYNC)
    assert event.id == f"damaged/{room.journal.id}/2", "the same however often it is sent"
    await room.publish(retry=True)
    assert len(kafka.events(RESYNC)) == len(room.parked()) == 1


@pytest.mark.parametrize("gone", ["= 3", "IN (4, 5)", "> 0"])
async def test_a_missing_callback_is_damage_and_ends_it_where_it_is(room, kafka, gone):
    await room.keep(*(body(n) for n in range(1, 6)))
    room.change(f"DELETE FROM callbacks WHERE seq {gone}")
    with pytest.raises(JournalDamaged, match="callbacks are missing behind"):
        await room.publish()
    assert kafka.numbers() == list(range(1, room.acked() + 1))
    assert room.acked() < 5


# -- Resync requests


@pytest.mark.parametrize(
    "content",
    [
        b"no JSON",
        b"[]",
        b'{"a later version": "says it otherwise"}',
        b'{"id": "r", "reason": "w", "since_ms": "x"}',
    ],
)
async def test_a_resync_request_that_this_version_cannot_read_is_parked_and_ends_nothing(
    room, kafka, content
):
    await room.keep(body(0))
    await room.keep(content, via=CONTROL)
    await room.keep(body(2))
    await room.publish()
    assert kafka.numbers() == [0, 2]
    assert [one[:3] for one in room.parked()] == [(2, NO_TOPIC, FAULT)]


async def test_a_resync_request_goes_in_its_place_to_the_control_topic_for_each_app(room, kafka, tmp_path):
    apps = tmp_path / "apps.toml"
    keys = 'token = "other"\naes_key = "%s"\nowner_keys = ["dingother"]\ncorp_id = "c2"'
    apps.write_text(f"[apps.second]\n{keys % ('k' * 43)}\n")
    everybody = ResyncRequest("r1", "the journal was damaged")
    one = ResyncRequest("r2", "a page may be gone", app="second", since_ms=1_731_000_000_000)
    await room.keep(body(0), everybody, one, body(3))
    await room.publish(dingtalk_apps_file=apps)
    assert [(e.id, e.app) for e in kafka.events(RESYNC)] == [
        ("r1", "default"),
        ("r1", "second"),
        ("r2", "second"),
    ]
    assert kafka.events(RESYNC)[-1].data["since"] == 1_731_000_000_000
    assert kafka.numbers() == [0, 3]


async def test_a_control_topic_without_a_leader_is_parked_and_its_requests_are_sent_later(room, kafka):
    """Also that of a damaged callback, which is never published itself."""
    kafka.leaderless = {RESYNC}
    await room.keep(ResyncRequest("r1", "why"), body(2), body(3))
    room.change("UPDATE callbacks SET body = body || ' ' WHERE seq = 3")
    await room.publish()
    assert kafka.numbers() == [2]
    assert [one[:3] for one in room.parked()] == [
        (1, RESYNC, "no_leader"),
        (3, NO_TOPIC, DAMAGED),
        (3, RESYNC, "no_leader"),
    ]
    kafka.leaderless = set()
    await room.publish(retry=True)
    assert [event.id for event in kafka.events(RESYNC)] == ["r1", f"damaged/{room.journal.id}/3"]
    assert [one[:3] for one in room.parked()] == [(3, NO_TOPIC, DAMAGED)]

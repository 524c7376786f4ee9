"""The publisher, without Kafka: nothing falls between two batch sets, one record stops no other."""

import asyncio
import json
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    TopicAuthorizationFailedError,
)
from dingbridge.ingress.journal.checkpoint import DAMAGED, Checkpoint

from dingbridge.errors import KafkaUnavailable
from dingbridge.events import decode
from dingbridge.events.control import RESYNC_REQUESTED
from dingbridge.ingress.errors import JournalDamaged
from dingbridge.ingress.journal.rows import CONTROL, NewCallback, ResyncRequest
from dingbridge.ingress.relay import publisher as publishing
from tests.support.waiting import eventually
from tests.unit.ingress.relay.fakes import APPROVAL, CHECK_IN, body

RESYNC = "ctl-dingtalk.resync"


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    for name in ("_SET_EVERY_S", "_IDLE_S", "_CHECKPOINT_EVERY_S"):
        monkeypatch.setattr(publishing, name, 0.001)
    monkeypatch.setattr(publishing, "_BACKOFF_S", (0.001, 0.001))


@asynccontextmanager
async def running(publisher):
    task = asyncio.create_task(publisher.run())
    try:
        yield publisher
    finally:
        publisher.stop()
        await task


async def comes_to(folder, seq):
    def there():
        checkpoint = folder.checkpoint()
        try:
            return checkpoint.seq() >= seq
        finally:
            checkpoint.close()

    await eventually(there, 30, f"the checkpoint at {seq}")


@pytest.mark.parametrize("refused", range(4))
async def test_a_refused_record_of_a_callback_that_needs_several_sets_is_parked(
    folder, kafka, monkeypatch, refused
):
    monkeypatch.setattr("dingbridge.ingress.relay.batches.BATCH_BYTES", 1)
    users = [f"u{n}" for n in range(4)]
    event = {"EventType": "user_add_org", "CorpId": "c", "TimeStamp": "1731000000123", "UserId": users}
    folder.keep(*(json.dumps({**event, "TimeStamp": str(n)}).encode() for n in range(3)))

    def refuses(topic, value):
        found = decode(value)
        is_it = (found.sequence, found.subject) == (f"{2:020}", users[refused])
        return PolicyViolationError() if is_it else None

    kafka.refuses = refuses
    async with running(folder.publisher()):
        await comes_to(folder, 3)
    sent = [(int(e.sequence), e.subject) for e in kafka.events("dingtalk.user_add_org")]
    whole = [(seq, user) for seq in (1, 2, 3) for user in users]
    assert list(dict.fromkeys(sent)) == [what for what in whole if what != (2, users[refused])]
    assert [(p.seq, p.record, p.reason) for p in folder.parked()] == [(2, refused, "policy")]


async def test_which_of_a_batch_is_too_large_is_found_and_the_others_go_on_in_order(folder, kafka):
    folder.keep(*(body(n) for n in range(100)))
    large = {40, 41, 90}

    def refuses(topic, value):
        return MessageSizeTooLargeError() if decode(value).data["number"] in large else None

    kafka.refuses = refuses
    async with running(folder.publisher()):
        await comes_to(folder, 100)
    numbers = list(dict.fromkeys(kafka.numbers()))
    assert numbers == [n for n in range(100) if n not in large]
    assert [(p.seq - 1, p.reason) for p in folder.parked()] == [(n, "too_large") for n in sorted(large)]


async def test_what_is_parked_is_not_counted_at_every_set(folder, kafka, monkeypatch):
    """With a million of them that takes a second, in which nothing is published."""
    monkeypatch.setattr("dingbridge.ingress.relay.batches.MAX_RECORDS", 1)
    monkeypatch.setattr("dingbridge.ingress.relay.parked.RETRY_EVERY_S", (3600.0, 3600.0))
    folder.keep(*(body(n) for n in range(20)))
    kafka.refuses = lambda topic, value: TopicAuthorizationFailedError()
    counted = []
    real = Checkpoint.parked_groups
    monkeypatch.setattr(Checkpoint, "parked_groups", lambda self: counted.append(self) or real(self))
    publisher = folder.publisher()
    async with running(publisher):
        await comes_to(folder, 20)
    assert len(folder.parked()) == 20
    assert len(counted) <= 1, "when it connects"


async def test_a_topic_that_is_made_slowly_holds_up_its_own_records_only(folder, kafka, monkeypatch):
    monkeypatch.setattr("dingbridge.ingress.relay.batches._TOPIC_WITHIN_S", 0.01)
    monkeypatch.setattr("dingbridge.ingress.relay.parked._TOPIC_WITHIN_S", 0.01)
    monkeypatch.setattr("dingbridge.ingress.relay.parked.RETRY_EVERY_S", (0.01, 0.01))
    kafka.topics = {APPROVAL}
    made = kafka.being_made[CHECK_IN] = asyncio.Event()
    kinds = ["check_in", "bpms_instance_change"]
    folder.keep(*(body(n, kinds[n % 2]) for n in range(100)))
    publisher = folder.publisher()
    async with running(publisher):
        await comes_to(folder, 100)
        assert kafka.numbers(APPROVAL) == list(range(1, 100, 2)), "before the other topic is there"
        assert CHECK_IN not in kafka.taken
        made.set()
        await eventually(lambda: not publisher.parked.blocked, 30, "the rest by itself")
    assert kafka.numbers(CHECK_IN) == list(range(0, 100, 2))


@pytest.fixture
def soon_hopeless(monkeypatch):
    async def ailing(*_):
        return None

    monkeypatch.setattr("dingbridge.ingress.relay.delivery.ailing", ailing)
    monkeypatch.setattr("dingbridge.ingress.relay.delivery._STALLED_S", 0.01)
    monkeypatch.setattr("dingbridge.ingress.relay.delivery.hopeless_after_s", lambda settings: 0.02)
    monkeypatch.setattr("dingbridge.ingress.relay.parked._ANSWER_S", 0.05)
    monkeypatch.setattr("dingbridge.ingress.relay.parked.RETRY_EVERY_S", (0.01, 0.01))


@pytest.mark.usefixtures("soon_hopeless")
async def test_a_partition_that_does_not_answer_blocks_its_topic_and_what_others_took_counts(folder, kafka):
    """Too few replicas in sync, say: aiokafka sends again without end, and without a word."""
    kafka.silent.add(APPROVAL)
    kinds = ["check_in", "bpms_instance_change"]
    folder.keep(*(body(n, kinds[n % 2]) for n in range(100)))
    publisher = folder.publisher()
    async with running(publisher):
        await comes_to(folder, 100)
        assert kafka.numbers(CHECK_IN) == list(range(0, 100, 2)), "all of it, and once"
        assert {p.reason for p in folder.parked()} == {"no_leader"}
        assert [p.seq - 1 for p in folder.parked()] == list(range(1, 100, 2))
        kafka.silent.clear()
        await eventually(lambda: not publisher.parked.blocked, 30, "the rest by itself")
    assert kafka.numbers(APPROVAL) == list(range(1, 100, 2))


@pytest.mark.usefixtures("soon_hopeless")
async def test_where_no_partition_answers_kafka_is_away_and_nothing_is_parked(folder, kafka):
    kafka.silent |= kafka.topics
    folder.keep(body(0), body(1, "bpms_instance_change"))
    publisher = folder.publisher()
    async with running(publisher):
        await eventually(lambda: publisher._status.state == "down", 30, "down")
        assert not folder.parked()
        kafka.silent.clear()
        await comes_to(folder, 2)
    assert (kafka.numbers(CHECK_IN), kafka.numbers(APPROVAL)) == ([0], [1])
    assert not folder.parked()


async def test_up_means_that_kafka_answered_lately_also_on_an_idle_bridge(folder, kafka, monkeypatch):
    monkeypatch.setattr(publishing, "_ANSWERED_WITHIN_S", 0.01)
    publisher = folder.publisher()
    async with running(publisher):
        await eventually(lambda: publisher._status.state == "up", 30, "up")
        kafka.away = KafkaUnavailable("Kafka does not answer")
        await eventually(lambda: publisher._status.state == "down", 30, "down, with nothing to publish")
        assert publisher._status.words == "Kafka does not answer"
        kafka.away = None
        await eventually(lambda: publisher._status.state == "up", 30, "up again")


async def test_new_callbacks_cut_no_back_off_short_but_who_asks_for_a_retry_or_the_end_does(
    folder, kafka, monkeypatch
):
    """Else an outage is a log-in for each callback, a hundred a second, at a cluster that has trouble."""
    monkeypatch.setattr(publishing, "_BACKOFF_S", (3600.0, 3600.0))
    kafka.away = KafkaConnectionError()
    publisher = folder.publisher()
    async with running(publisher):
        await eventually(lambda: publisher._status.state == "down", 30, "down")
        for number in range(100):
            folder.keep(body(number))
            publisher.wake()
            await asyncio.sleep(0)
        assert kafka.producers == 1
        kafka.away = None
        publisher.retry_parked()
        await comes_to(folder, 100)
        assert kafka.numbers() == list(range(100))
        assert not folder.parked()
        kafka.away = KafkaConnectionError()
        folder.keep(body(100))
        publisher.wake()
        await eventually(lambda: publisher._status.state == "down", 30, "down again, when it is to end")


async def test_for_a_damaged_callback_the_consumers_are_asked_to_resync_before_the_checkpoint_passes(
    folder, kafka
):
    folder.keep(*(body(n) for n in range(3)))
    folder.damage(2)
    async with running(folder.publisher()):
        await comes_to(folder, 3)
    assert kafka.numbers() == [0, 2], "it is not published as if DingTalk had said it"
    assert [(p.seq, p.reason) for p in folder.parked()] == [(2, DAMAGED)]
    (event,) = kafka.events(RESYNC)
    assert (event.type, event.app) == (RESYNC_REQUESTED, "default")
    assert event.id == f"damaged/{folder.file.id}/2", "the same however often it is sent"


async def test_a_resync_request_that_this_version_cannot_read_is_parked_and_holds_up_nothing(folder, kafka):
    folder.keep(body(0))
    folder.keep(b'{"a later version": "says it otherwise"}', via=CONTROL)
    folder.keep(body(2))
    async with running(folder.publisher()):
        await comes_to(folder, 3)
    assert kafka.numbers() == [0, 2]
    assert [(p.seq, p.reason) for p in folder.parked()] == [(2, DAMAGED)]
    assert len(kafka.events(RESYNC)) == 1


async def test_since_when_to_look_is_not_taken_from_what_the_disk_has_changed(folder, kafka):
    folder.keep(body(0))
    with folder.file.db:
        folder.file.db.execute("UPDATE callbacks SET received_ms = 1 << 45")
    async with running(folder.publisher()):
        await comes_to(folder, 1)
    (event,) = kafka.events(RESYNC)
    assert event.data["since"] < time.time() * 1000, "a look at the future only would find nothing"


async def test_a_resync_request_is_carried_in_its_place_once_for_each_app(folder, kafka, tmp_path):
    apps = tmp_path / "apps.toml"
    keys = 'token = "other"\naes_key = "%s"\nowner_keys = ["dingother"]\ncorp_id = "c2"'
    apps.write_text(f"[apps.second]\n{keys % ('k' * 43)}\n")
    everybody = ResyncRequest("r1", "the journal was damaged")
    one = ResyncRequest("r2", "a page may be gone", app="second", since_ms=1_731_000_000_000)
    folder.keep(body(0))
    folder.file.commit([everybody, one], {}, int(time.time() * 1000))
    folder.keep(body(3))
    async with running(folder.publisher(dingtalk_apps_file=apps)):
        await comes_to(folder, 4)
    assert [(e.id, e.app) for e in kafka.events(RESYNC)] == [
        ("r1", "default"),
        ("r1", "second"),
        ("r2", "second"),
    ]
    assert kafka.events(RESYNC)[-1].data["since"] == 1_731_000_000_000
    assert kafka.numbers() == [0, 3]
    assert not folder.parked()


async def test_a_damaged_journal_ends_the_relay_and_nothing_behind_the_damage_is_passed(
    folder, kafka, monkeypatch
):
    """What was sent before is passed, also while the next set is what meets the damage."""
    monkeypatch.setattr("dingbridge.ingress.relay.batches.MAX_RECORDS", 2)
    folder.keep(*(body(n) for n in range(5)))
    real = publishing.JournalReader.read

    def read(self, after_seq):
        if after_seq:
            raise JournalDamaged("malformed")
        return replace(chunk := real(self, 0), rows=chunk.rows[:2], end=2)

    monkeypatch.setattr(publishing.JournalReader, "read", read)
    with pytest.raises(JournalDamaged):
        await folder.publisher().run()
    await comes_to(folder, 2)
    assert kafka.numbers() == [0, 1]


def nameless(number: int, received_ms: int) -> NewCallback:
    payload = {
        "EventType": "org_dept_remove",
        "EventTime": received_ms,
        "CorpId": "c",
        "eventId": f"e{number}",
        "number": number,
    }
    return NewCallback(received_ms, "default", "http", json.dumps(payload).encode(), b"", keep_again=True)


async def test_a_flood_of_callbacks_that_name_nobody_is_one_request(folder, kafka, monkeypatch):
    monkeypatch.setattr("dingbridge.ingress.relay.batches.MAX_RECORDS", 50)
    begin = 1_731_000_000_000
    folder.file.commit([nameless(n, begin + n) for n in range(300)], {}, begin)
    async with running(folder.publisher()):
        await comes_to(folder, 300)
    assert kafka.numbers("dingtalk.org_dept_remove") == list(range(300))
    assert len(kafka.events(RESYNC)) == 1
    assert not folder.parked()


async def test_a_request_whose_first_batch_failed_is_sent_again_before_the_checkpoint_passes(folder, kafka):
    begin, failures = 1_731_000_000_000, [KafkaConnectionError() for _ in range(3)]
    kafka.refuses = lambda topic, value: failures.pop() if topic == RESYNC and failures else None
    folder.file.commit([nameless(n, begin + n) for n in range(20)], {}, begin)
    async with running(folder.publisher()):
        await comes_to(folder, 20)
    assert len(kafka.events(RESYNC)) == 1
    assert not failures


async def test_where_very_many_are_refused_the_search_ends_and_what_is_left_is_parked_together(
    folder, kafka, monkeypatch
):
    """Each refusal costs a producer, and nothing else is published meanwhile."""
    monkeypatch.setattr("dingbridge.ingress.relay.delivery._SEARCH_S", 0.0)
    folder.keep(*(body(n) for n in range(400)))
    kafka.refuses = lambda topic, value: (
        PolicyViolationError() if decode(value).data["number"] < 200 else None
    )
    async with running(folder.publisher()):
        await comes_to(folder, 400)
        assert kafka.producers < 30
    parked = {p.seq - 1 for p in folder.parked()}
    assert parked >= set(range(200))
    assert parked.isdisjoint(kafka.numbers())
    assert parked | set(kafka.numbers()) == set(range(400))

"""What is parked is tried again: all of it, in order, and without holding up what is well. Without Kafka."""

import asyncio
import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import RecordTooLargeError, TopicAuthorizationFailedError
from structlog.testing import capture_logs

from dingbridge.errors import KafkaUnavailable, TopicLeaderless
from dingbridge.events import decode
from ingress.giving_up import give_up
from ingress.journal.checkpoint import CursorFile, Parked
from ingress.journal.directory import next_journal_file
from ingress.journal.store import JournalFile, NewCallback
from ingress.relay import parked as parking
from ingress.relay.parked import ParkingLot
from ingress.relay.reading import JournalReader
from ingress.relay.refusals import InvalidRecordError
from ingress.relay.stats import Report
from tests.support.waiting import eventually

TOPIC = "dingtalk.check_in"
SETTINGS: Any = SimpleNamespace(
    kafka_request_timeout_s=20, kafka_bootstrap_servers="127.0.0.1:9092", kafka_security_protocol="PLAINTEXT"
)


class Kafka:
    """Takes records, by topic and by the number in each; ``refuses`` says which it does not take, and why."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, int]] = []
        self.refuses: dict[tuple[str, int], BaseException] = {}
        self.absent: dict[str, BaseException] = {}
        self.absent_until, self.absences = asyncio.Event(), list[float]()
        self.absent_until.set()
        self.silent: set[str] = set()

    async def send_and_wait(self, topic: str, value: bytes, **_: Any) -> None:
        what = topic, decode(value).data["number"]
        if topic in self.silent:
            self.taken.append((topic, -1))
            await asyncio.Event().wait()
        if what in self.refuses:
            raise self.refuses[what]
        self.taken.append(what)

    def numbers(self, topic: str = TOPIC) -> list[int]:
        return [number for name, number in self.taken if name == topic]


class Router:
    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka

    def forget(self, topic: str) -> None: ...

    async def ensure(self, topic: str, within_s: float) -> None:
        if topic in self._kafka.absent:
            self._kafka.absences.append(within_s)
            await self._kafka.absent_until.wait()
            raise self._kafka.absent[topic]

    def topic(self, record: Any) -> str:
        return f"dingtalk.{record.event_type}"


@pytest.fixture
def kafka(monkeypatch) -> Kafka:
    kafka = Kafka()

    async def sender(lot: ParkingLot) -> Kafka:
        return kafka

    async def discard(*_: Any) -> None: ...

    monkeypatch.setattr(ParkingLot, "_sender", sender)
    monkeypatch.setattr(parking, "discard_producer", discard)
    return kafka


class Journals:
    """A folder's files, the oldest first; each callback is one record of ``check_in``, and is parked."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.cursor = folder, CursorFile(folder)
        self.files: list[JournalFile] = []
        self._number = 0

    def begin(self, journal: str) -> None:
        """A newer file, with this id."""
        file = JournalFile(next_journal_file(self.folder), create=True)
        file.db.execute("UPDATE meta SET value = ? WHERE key = 'id'", (journal,))
        file.close()
        self.files.append(JournalFile(file.path))

    def park(self, count: int, reason: str = "rights", topic: str = TOPIC) -> None:
        """So many callbacks more in the newest file."""
        file, before = self.files[-1], self._number
        self._number += count
        numbers = range(before, before + count)
        file.keep([NewCallback(1, "default", "http", _body(n), b"key-%d" % n) for n in numbers])
        highest = file.highest_seq()
        seqs = range(highest - count + 1, highest + 1)
        self.cursor.move(file.id, highest, [Parked(file.id, seq, 0, topic, reason, 1) for seq in seqs])

    def lot(self, kafka: Kafka) -> ParkingLot:
        reader = JournalReader(self.folder, self.cursor)
        router: Any = Router(kafka)
        return ParkingLot(SETTINGS, self.cursor, reader, router, Report())


def _body(number: int) -> bytes:
    event = {"EventType": "check_in", "CorpId": "c", "StaffId": "u", "TimeStamp": 1_731_000_000_000}
    return json.dumps({**event, "number": number}).encode()


@pytest.fixture
def journals(tmp_path) -> Any:
    journals = Journals(tmp_path)
    yield journals
    journals.cursor.close()
    for file in journals.files:
        file.close()


@pytest.mark.parametrize("ids", [("aaaa", "bbbb"), ("bbbb", "aaaa")])
async def test_of_several_journal_files_the_older_ones_records_go_first(journals, kafka, ids):
    """Their ids are random, and say nothing of their age."""
    for journal in ids:
        journals.begin(journal)
        journals.park(3)
    await journals.lot(kafka).retry()
    assert kafka.numbers() == list(range(6))


async def test_however_many_are_refused_those_behind_them_are_tried(journals, kafka):
    """More than are read at once, and more than are tried at once."""
    journals.begin("aaaa")
    journals.park(530, "too_large")
    refused = {n for n in range(530) if n < 510 or n == 520}
    kafka.refuses = {(TOPIC, n): RecordTooLargeError() for n in refused}
    lot = journals.lot(kafka)
    for _ in range(530 // parking._REFUSED_MAX + 1):
        await lot.retry()
    assert kafka.numbers() == [n for n in range(530) if n not in refused]
    assert [p.seq - 1 for p in journals.cursor.parked()] == sorted(refused)
    kafka.refuses.clear()
    for _ in range(2):  # the first goes on from where the last one ended
        await lot.retry()
    assert journals.cursor.parked() == []


async def test_a_try_ends_though_very_many_are_refused(journals, kafka, monkeypatch):
    """Nothing else is published meanwhile, and each that is refused costs a producer."""
    for journal in ("aaaa", "bbbb"):
        journals.begin(journal)
        journals.park(300, "invalid_record")
    kafka.refuses = {(TOPIC, n): InvalidRecordError() for n in range(600)}
    senders = 0

    async def sender(lot: ParkingLot) -> Kafka:
        nonlocal senders
        senders += 1
        return kafka

    monkeypatch.setattr(ParkingLot, "_sender", sender)
    lot, tried = journals.lot(kafka), set()
    for _ in range(31):
        senders = 0
        with capture_logs() as logs:
            await lot.retry()
        assert senders <= parking._REFUSED_MAX + 6, "one for each page, too"
        tried |= {log["seq"] for log in logs if log["event"] == "publisher.still_parked"}
    assert tried == set(range(1, 301)), "of both files"
    kafka.refuses = {}
    for _ in range(2):
        await lot.retry()
    assert journals.cursor.parked() == []


async def test_what_blocks_a_topic_is_tried_each_time_however_many_before_it_are_refused(journals, kafka):
    journals.begin("aaaa")
    journals.park(100, "too_large")
    journals.park(3, "rights")
    kafka.refuses = {(TOPIC, n): RecordTooLargeError() for n in range(100)}
    kafka.refuses[TOPIC, 100] = TopicAuthorizationFailedError()
    lot = journals.lot(kafka)
    for _ in range(10):
        await lot.retry()
    assert lot.blocked == {TOPIC: "rights"}
    del kafka.refuses[TOPIC, 100]
    await lot.retry()
    assert kafka.numbers() == [100, 101, 102]
    assert lot.blocked == {}


def reasons(journals: Any) -> dict[int, str]:
    return {p.seq: p.reason for p in journals.cursor.parked()}


@pytest.mark.parametrize("how", ["gone", "unreadable"])
async def test_a_file_that_is_lost_blocks_no_topic_and_can_be_given_up(journals, kafka, how):
    journals.begin("aaaa")
    journals.park(2)
    journals.begin("bbbb")
    lost = journals.files.pop(0)
    lost.checkpoint_truncate()
    lost.close()
    kept = lost.path.read_bytes()
    lost.path.unlink() if how == "gone" else lost.path.write_bytes(b"no database" * 1000)
    lot = journals.lot(kafka)
    assert lot.blocked == {TOPIC: "rights"}
    await lot.retry()
    assert reasons(journals) == {1: "missing", 2: "missing"}
    assert not lot.blocked, "nothing of it waits for Kafka"
    assert not journals.lot(kafka).blocked, "after a restart neither"
    assert give_up(journals.cursor, [("aaaa", 2)]) == 1
    # the operator has found the file: it is as if it had never been away
    lost.path.write_bytes(kept)
    kafka.refuses = {(TOPIC, 0): TopicAuthorizationFailedError()}
    await lot.retry()
    assert reasons(journals) == {1: "rights"}
    assert lot.blocked == {TOPIC: "rights"}
    kafka.refuses.clear()
    await lot.retry()
    assert kafka.numbers() == [0]
    assert reasons(journals) == {}


async def test_of_a_lost_file_alone_no_topic_is_made(journals, kafka):
    journals.begin("bbbb")
    journals.cursor.move("aaaa", 1, [Parked("aaaa", 1, 0, TOPIC, "no_leader", 1)])
    lot = journals.lot(kafka)
    await lot.retry()
    kafka.absent = {TOPIC: AssertionError("it was asked for")}
    await lot.retry()
    assert reasons(journals) == {1: "missing"}


async def test_a_topic_that_takes_records_again_is_not_held_by_one_that_it_refuses_for_itself(
    journals, kafka
):
    """What it was parked for is over; the reason is the one of the last try."""
    journals.begin("aaaa")
    journals.park(3)
    kafka.refuses = {(TOPIC, 1): RecordTooLargeError()}
    lot = journals.lot(kafka)
    await lot.retry()
    assert kafka.numbers() == [0, 2]
    assert reasons(journals) == {2: "too_large"}
    assert not lot.blocked


async def test_a_topic_whose_last_parked_one_was_given_up_is_not_blocked(journals, kafka):
    journals.begin("aaaa")
    journals.park(1)
    lot = journals.lot(kafka)
    journals.cursor.unpark(journals.cursor.parked())
    await lot.retry()
    assert not lot.blocked


async def test_a_release_that_makes_fewer_records_of_a_callback_sends_what_it_makes(journals, kafka):
    """The release that parked it had made four: the content of the fourth is in one of today's."""
    journals.begin("aaaa")
    journals.park(2)
    first = journals.cursor.parked()[0]
    gone = [replace(first, record=2), replace(first, record=3, topic="dingtalk.other")]
    journals.cursor.unpark([first], gone)
    lot = journals.lot(kafka)
    await lot.retry()
    assert kafka.numbers() == [0, 1]
    assert journals.cursor.parked() == []
    assert not lot.blocked


# -- without holding up what is well


async def test_topics_without_a_leader_are_waited_for_at_once_and_shortly(journals, kafka):
    """One after the other, each with the time that a new topic has, they would hold up all others."""
    journals.begin("aaaa")
    leaderless = [f"dingtalk.t{number}" for number in range(8)]
    for topic in leaderless:
        journals.park(1, "no_leader", topic)
    journals.park(1)
    kafka.absent = {topic: TopicLeaderless("no leader") for topic in leaderless}
    kafka.absent_until.clear()
    lot = journals.lot(kafka)
    trying = asyncio.create_task(lot.retry())
    await eventually(lambda: len(kafka.absences) == 8, 10, "all of them are asked for")
    kafka.absent_until.set()
    await trying
    assert max(kafka.absences) <= 2
    assert kafka.numbers() == [8]
    assert lot.blocked == dict.fromkeys(leaderless, "no_leader")


async def test_a_kafka_that_does_not_answer_ends_the_try(journals, kafka):
    journals.begin("aaaa")
    journals.park(1)
    kafka.absent = {TOPIC: KafkaUnavailable("no broker")}
    with pytest.raises(KafkaUnavailable):
        await journals.lot(kafka).retry()


async def test_topics_that_do_not_acknowledge_do_not_hold_up_the_others(journals, kafka, monkeypatch):
    """Short of replicas, say: aiokafka sends again without end. Those that were silent are tried last."""
    monkeypatch.setattr(parking, "_ANSWER_S", 0.01)
    journals.begin("aaaa")
    silent = [f"dingtalk.a{number}" for number in range(5)]
    for topic in silent:
        journals.park(2, "rights", topic)
    journals.park(2)
    kafka.silent = set(silent)
    lot = journals.lot(kafka)
    for times in range(1, 4):
        await lot.retry()
        tried = [topic for topic, number in kafka.taken if number < 0]
        assert len(tried) == 2 * times, "no more of them in one try"
    assert set(tried) == set(silent), "others each time"
    assert kafka.numbers() == [10, 11]
    kafka.silent.clear()
    await lot.retry()
    assert journals.cursor.parked() == []
    assert not lot.blocked


# -- however much is parked


@pytest.fixture
def clock(kafka, monkeypatch) -> list[float]:
    """Half a second goes by with every record that is tried, and never else."""
    now = [1000.0]
    really_send = kafka.send_and_wait

    async def send_and_wait(topic: str, value: bytes, **more: Any) -> None:
        now[0] += 0.5
        await really_send(topic, value, **more)

    monkeypatch.setattr(kafka, "send_and_wait", send_and_wait)
    monkeypatch.setattr(parking, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


async def test_a_try_takes_seconds_however_much_is_parked_and_the_next_goes_on_behind_it(
    journals, kafka, clock
):
    """All others wait meanwhile. The topic stays blocked, so that nothing overtakes."""
    for journal in ("bbbb", "aaaa"):
        journals.begin(journal)
        journals.park(130)
    lot = journals.lot(kafka)
    tries, rest = 0, False
    while True:
        began = clock[0]
        rest = await lot.retry(rest=rest)
        assert clock[0] - began <= 3
        assert kafka.numbers() == list(range(len(kafka.taken))), "in order"
        tries += 1
        if not rest:
            break
        assert lot.blocked == {TOPIC: "rights"}
    assert tries >= 260 / 6
    assert len(kafka.taken) == 260
    assert journals.cursor.parked() == []
    assert not lot.blocked


async def test_a_topic_with_much_to_try_keeps_no_other_from_its_turn(journals, kafka, clock):
    journals.begin("aaaa")
    journals.park(50, topic="dingtalk.a")
    journals.park(1, topic="dingtalk.b")
    lot = journals.lot(kafka)
    assert await lot.retry()
    assert await lot.retry()
    assert kafka.numbers("dingtalk.b") == [50]
    assert kafka.numbers("dingtalk.a") == list(range(6 + 5))


async def test_what_kafka_does_not_answer_for_is_no_part_of_the_rest(journals, kafka, clock, monkeypatch):
    """It would be tried again at once, and the others would wait for it all the time."""
    monkeypatch.setattr(parking, "_ANSWER_S", 0.01)
    journals.begin("aaaa")
    journals.park(3, topic="dingtalk.a")
    journals.park(3)
    kafka.silent = {"dingtalk.a"}
    assert not await journals.lot(kafka).retry()
    assert kafka.numbers() == [3, 4, 5]


async def test_damaged_callbacks_are_looked_at_for_a_moment_however_many_they_are(
    journals, kafka, clock, monkeypatch
):
    journals.begin("aaaa")
    journals.park(350, "damaged", "-")
    looked: list[int] = []
    really_row = JournalReader.row

    def row(self: JournalReader, journal: str, seq: int) -> Any:
        looked.append(seq)
        clock[0] += 0.0125
        return really_row(self, journal, seq) if seq > 345 else None

    monkeypatch.setattr(JournalReader, "row", row)
    lot = journals.lot(kafka)
    for end in (100, 200, 300):
        assert await lot.retry(rest=end > 100)
        assert looked == list(range(1, end + 1))
    assert not await lot.retry(rest=True)
    assert looked == list(range(1, 351))
    await lot.retry()
    assert kafka.numbers("dingtalk.check_in") == list(range(345, 350))


async def test_who_has_no_others_to_hold_up_tries_all_at_once(journals, kafka, clock, monkeypatch):
    """``dingbridge journal retry`` without an ingress."""
    journals.begin("aaaa")
    journals.park(150, "damaged", "-")
    journals.park(150)
    really_row = JournalReader.row

    def row(self: JournalReader, journal: str, seq: int) -> Any:
        clock[0] += 1
        return really_row(self, journal, seq)

    monkeypatch.setattr(JournalReader, "row", row)
    assert not await journals.lot(kafka).retry(within_s=math.inf)
    assert sorted(kafka.numbers()) == list(range(300))
    assert journals.cursor.parked() == []


async def test_what_is_given_up_is_looked_for_by_its_number(journals, monkeypatch):
    """To read all that is parked takes longer than whoever asks is going to wait, if it is a million."""
    monkeypatch.delattr(CursorFile, "parked")
    journals.begin("aaaa")
    journals.park(3, "damaged")
    journals.park(1, "rights")
    cursor = journals.cursor
    assert give_up(cursor, [("aaaa", 2), ("aaaa", 2), ("aaaa", 4), ("bbbb", 1), ("aaaa", 1 << 80)]) == 1
    assert [bool(cursor.parked_of("aaaa", seq)) for seq in (1, 2, 3, 4)] == [True, False, True, True]

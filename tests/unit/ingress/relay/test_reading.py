"""What the relay makes of a journal that the disk has changed."""

import apsw
import pytest
from aiokafka import errors as kafka
from dingbridge.ingress.journal.store import JournalFile
from dingbridge.ingress.relay.delivery import refusal
from dingbridge.ingress.relay.messages import TopicRouter

from dingbridge.events import Received, to_records
from dingbridge.ingress.errors import JournalDamaged
from dingbridge.ingress.relay.reading import JournalReader
from tests.unit.ingress.relay.fakes import body, settings


@pytest.fixture
def reader(folder):
    folder.keep(*(body(n) for n in range(10)))
    made = JournalReader(folder.path)
    yield made
    made.close()


def numbers(reader):
    found, after_seq = [], 0
    while (chunk := reader.read(after_seq)).end > after_seq:
        found += [(row.seq, row.intact) for row in chunk.rows]
        after_seq = chunk.end
    return found


@pytest.mark.parametrize("column", ["app", "via"])
def test_a_text_that_is_none_any_more_is_one_damaged_callback(reader, folder, column):
    with folder.file.db:
        folder.file.db.execute(f"UPDATE callbacks SET {column} = CAST(x'ff' AS TEXT) WHERE seq = 4")
    assert numbers(reader) == [(seq, seq != 4) for seq in range(1, 11)]


@pytest.mark.parametrize("times", [1, 2])
def test_a_bad_sector_that_outlives_a_reopening_is_damage(reader, monkeypatch, times):
    left, real = [apsw.IOError("a bad sector")] * times, JournalFile.read

    def read(self, after_seq, **how):
        if left:
            raise left.pop()
        return real(self, after_seq, **how)

    before = reader._file
    monkeypatch.setattr(JournalFile, "read", read)
    if times == 1:
        assert len(reader.read(0).rows) == 10
        assert reader._file is not before
    else:
        with pytest.raises(JournalDamaged, match="a bad sector"):
            reader.read(0)


@pytest.mark.parametrize("code", [apsw.SQLITE_IOERR_SHMMAP, apsw.SQLITE_IOERR_SHMSIZE])
def test_what_is_about_the_machine_is_no_damage_however_often_it_comes(reader, monkeypatch, code):
    error = apsw.IOError("no memory for the -shm")
    error.extendedresult = code

    def read(self, after_seq, **_):
        raise error

    monkeypatch.setattr(JournalFile, "read", read)
    for _ in range(5):
        with pytest.raises(apsw.IOError):
            reader.read(0)


@pytest.mark.parametrize("gone", [(4, 5), (9, 10), range(1, 11)])
def test_a_missing_callback_is_damage(reader, folder, gone):
    with folder.file.db:
        folder.file.db.executemany("DELETE FROM callbacks WHERE seq = ?", [(seq,) for seq in gone])
    with pytest.raises(JournalDamaged, match=r"callback\(s\) are missing before 10"):
        reader.read(reader.read(0).end)


def test_what_was_pruned_is_not_missing_whatever_became_of_the_checkpoint(reader, folder):
    folder.file.prune_callbacks(6, frozenset({3}), 100, after_seq=0)
    assert [seq for seq, _ in numbers(reader)] == [3, 7, 8, 9, 10]


@pytest.mark.parametrize("error", [apsw.CorruptError("a bad page"), apsw.IOError("a bad sector")])
def test_a_journal_that_cannot_be_opened_is_damaged(folder, monkeypatch, error):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr("dingbridge.ingress.relay.reading.JournalFile", fails)
    with pytest.raises(JournalDamaged):
        JournalReader(folder.path)


# -- Which of Kafka's errors are about one record, which about one topic, and which about the whole world


# what a broker may answer for a partition of a produce request, by Kafka's list of error codes
RECORD = {10: "too_large", 18: "too_large", 44: "policy", 87: "invalid_record"}


TOPIC = {17: "invalid_topic", 29: "rights", 32: "timestamp", 43: "format", 76: "format"}


WORLD = {3, 5, 6, 7, 8, 9, 13, 19, 20, 21, 31, 35, 41, 42, 45, 46, 47, 49, 53, 56, 57, 58, 59}


UNEXPLAINED = {-1, 2, 74, 100, 119}


@pytest.mark.parametrize("code", sorted(RECORD | TOPIC))
def test_what_is_about_one_record_or_one_topic_stops_no_other(code):
    error = kafka.for_code(code)()
    assert error.errno == code, "aiokafka tells it from others"
    found = refusal(error)
    assert found == (RECORD | TOPIC)[code]
    assert found.blocks_topic == (code in TOPIC)
    assert not error.retriable, "the producer tells of it, and does not send again without end"


@pytest.mark.parametrize("code", sorted(UNEXPLAINED))
def test_what_says_nothing_blocks_its_topic_which_is_soon_tried_again(code):
    found = refusal(kafka.for_code(code)())
    assert found == "unexplained"
    assert found.blocks_topic


@pytest.mark.parametrize("code", sorted(WORLD))
def test_what_is_about_the_world_parks_nothing(code):
    assert refusal(kafka.for_code(code)()) is None


@pytest.mark.parametrize(
    "error", [kafka.ProducerFenced(), kafka.KafkaTimeoutError(), TimeoutError(), OSError()]
)
def test_nor_does_what_the_client_says_by_itself(error):
    assert refusal(error) is None


# -- Which topic a record goes to: names from outside do not mint topics without bounds


def record(event_type):
    return to_records(Received(1, "j", 1, "default", "http", body(1, event_type)))[0]


async def test_a_topic_that_is_refused_again_and_again_counts_once_against_the_limit(kafka):
    """Else, after a hundred retries of what is parked, all new types would go to the unclassified topic."""
    router = TopicRouter(settings(), 2)
    await router.load()
    for _ in range(100):
        await router.ensure("dingtalk.brand_new", again=True)
    assert router.topic(record("newer_still")) == "dingtalk.newer_still"
    await router.ensure("dingtalk.newer_still")
    assert router.topic(record("one_too_many")) == "dingtalk.unclassified"
    assert router.topic(record("brand_new")) == "dingtalk.brand_new"


async def test_the_topic_of_resync_requests_is_made_like_any_other_and_counts_against_no_limit(kafka):
    kafka.topics.discard("ctl-dingtalk.resync")
    router = TopicRouter(settings(), 1)
    await router.load()
    await router.ensure("ctl-dingtalk.resync")
    assert "ctl-dingtalk.resync" in kafka.topics
    assert router.topic(record("brand_new")) == "dingtalk.brand_new"

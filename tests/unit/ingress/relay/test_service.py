"""The relay as a process: one at a time, to its end if asked, and never on with a journal that is damaged."""

import os

import pytest
from aiokafka.errors import TopicAuthorizationFailedError
from dingbridge.ingress.journal.directory import relay_lock, report_damage, reported_damage

from dingbridge.errors import BridgeError
from dingbridge.ingress.errors import JournalDamaged, JournalError, JournalLocked
from dingbridge.ingress.relay import service
from dingbridge.tasks import TaskEnded
from tests.support.waiting import eventually
from tests.unit.ingress.relay.fakes import CHECK_IN, body, settings


@pytest.fixture
def env(tmp_path):
    return settings(data_dir=tmp_path / "data", journal_dir=tmp_path, relay_admin_port=0)


async def test_until_nothing_waits_and_the_next_finds_nothing_to_do(folder, kafka, env):
    folder.keep(*(body(n) for n in range(2000)))
    await service.serve(env, until_empty=True)
    assert kafka.numbers() == list(range(2000))
    await service.serve(env, until_empty=True)
    assert len(kafka.numbers()) == 2000


async def test_what_stays_parked_is_an_error_in_words_until_kafka_takes_it(folder, kafka, env):
    folder.keep(*(body(n) for n in range(300)))
    kafka.refuses = lambda topic, value: TopicAuthorizationFailedError()
    with pytest.raises(BridgeError, match=r"300 record\(s\) stay parked"):
        await service.serve(env, until_empty=True)
    kafka.refuses = lambda topic, value: None
    await service.serve(env, until_empty=True)
    assert kafka.numbers() == list(range(300))
    assert folder.parked() == []


async def test_where_no_ingress_has_been_there_is_nothing_to_publish(env):
    with pytest.raises(JournalError, match="start the ingress first"):
        await service.serve(env)


async def test_a_lock_that_is_held_for_too_long_ends_it_with_the_holders_name(
    folder, kafka, env, monkeypatch
):
    monkeypatch.setattr(service, "_LOCK_WITHIN_S", 0.1)
    lock = relay_lock(folder.path)
    lock.acquire()
    try:
        with pytest.raises(JournalLocked, match=str(os.getpid())):
            await service.serve(env)
    finally:
        lock.release()
    assert not kafka.taken


async def test_one_that_finds_its_journal_damaged_says_so_to_the_ingress_and_ends(folder, kafka, env):
    folder.keep(*(body(n) for n in range(5)))
    with folder.file.db:
        folder.file.db.execute("DELETE FROM callbacks WHERE seq = 3")
    with pytest.raises(JournalDamaged, match="missing"):
        await service.serve(env)
    assert "missing" in (reported_damage(folder.path) or "")


async def test_one_that_hears_of_damage_lets_go_of_the_folder(folder, kafka, env):
    folder.keep(body(0))
    report_damage(folder.path, "its writer says so")
    with pytest.raises(JournalDamaged, match="its writer says so"):
        await service.serve(env)
    lock = relay_lock(folder.path)
    lock.acquire()
    lock.release()


async def test_a_parked_callback_whose_page_is_damaged_is_damage(folder, kafka, env, monkeypatch):
    folder.park(3, "rights", CHECK_IN)
    monkeypatch.setattr("dingbridge.ingress.relay.parked.RETRY_EVERY_S", (0.01, 0.01))

    def row(self, seq):
        raise JournalDamaged("malformed")

    monkeypatch.setattr("dingbridge.ingress.relay.reading.JournalReader.row", row)
    with pytest.raises(JournalDamaged, match="malformed"):
        await service.serve(env)
    await eventually(lambda: reported_damage(folder.path) is not None, 30, "it is reported")


async def test_an_error_that_nobody_has_caught_is_no_end_in_order(folder, kafka, env, monkeypatch):
    async def run(self):
        raise TimeoutError("nobody has caught it")

    monkeypatch.setattr(service.Publisher, "run", run)
    with pytest.raises(TaskEnded, match="the task that publishes has ended"):
        await service.serve(env, until_empty=True)

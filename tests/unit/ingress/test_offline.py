"""What an operator does to folders that no ingress holds."""

import subprocess
import sys
from pathlib import Path

import pytest

from dingbridge.settings import SAMPLE_CREDENTIALS
from ingress.admin import offline
from ingress.errors import JournalLocked
from ingress.journal.directory import current, ingress_lock
from tests.unit.ingress.relay.fakes import CHECK_IN, FakeKafka, Folder, body, settings


@pytest.fixture
def kafka(monkeypatch):
    fake = FakeKafka()
    fake.install(monkeypatch)
    return fake


@pytest.fixture
def root(tmp_path):
    """With a damaged folder of which nothing can be read."""
    aside = tmp_path / "damaged-20260101T000000Z"
    aside.mkdir()
    (aside / "journal.db").write_bytes(b"no database" * 1000)
    return tmp_path


async def test_a_folder_that_cannot_be_read_keeps_no_other_from_being_drained(root, kafka):
    folder = Folder(current(root).path)
    folder.keep(*(body(n) for n in range(3)))
    folder.close()
    assert len(await offline.drain_all(settings(), root)) == 2
    assert kafka.numbers() == [0, 1, 2]


async def test_nor_from_being_retried(root, kafka):
    folder = Folder(current(root).path)
    folder.park(3, "rights")
    folder.close()
    assert await offline.retry(settings(data_dir=root, journal_dir=root), {}) == {
        "still_parked": 0,
        "not_read": ["damaged-20260101T000000Z"],
    }
    assert kafka.numbers(CHECK_IN) == [1, 2, 3]


async def test_what_an_ingress_writes_is_not_drained_by_whatever_name(tmp_path, kafka, monkeypatch):
    """The end of a drain passes all that was ever kept: what comes in meanwhile would never be published."""
    Folder(current(tmp_path).path).close()
    monkeypatch.chdir(current(tmp_path).path)
    (tmp_path / "link").symlink_to(current(tmp_path).path)
    lock = ingress_lock(tmp_path)
    lock.acquire()
    try:
        for name in (Path(), tmp_path / "link", current(tmp_path).path):
            with pytest.raises(JournalLocked):
                await offline.drain_all(settings(), name)
    finally:
        lock.release()


def test_a_relay_of_a_folder_that_was_given_up_meanwhile_is_done(tmp_path):
    """Else it would be started again for ever."""
    command = [sys.executable, "-m", "ingress.relay", str(tmp_path / "damaged-1"), "--drain"]
    env = {**SAMPLE_CREDENTIALS, "DINGTALK_API_BASE": "http://127.0.0.1:1"}
    ended = subprocess.run(command, env=env, stdin=subprocess.PIPE, timeout=60, check=False)
    assert ended.returncode == 0

"""A folder is refused with the remedy, or put aside, before a callback could stay unpublished."""

import asyncio
import os
import shutil
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import apsw
import pytest

from dingbridge.ingress.app import Ingress
from dingbridge.ingress.errors import JournalDamaged, JournalError
from dingbridge.ingress.journal.file import JournalFile
from dingbridge.ingress.journal.folder import (
    current,
    delete_folder,
    open_current,
    prepare_folder,
    put_aside,
)
from dingbridge.ingress.journal.rows import Acknowledgement
from dingbridge.settings import SAMPLE_CREDENTIALS, IngressSettings
from tests.unit.ingress.filled import bodies_below, callback, fill, reopened, rows

FOLDER = "dingbridge.ingress.journal.folder"
GARBAGE = b"not a database at all" * 1_000


@pytest.mark.parametrize("damage", ["zeroed", "cut", "garbage"])
def test_a_damaged_journal_is_renamed_as_it_is_and_an_empty_one_begins(tmp_path, damage):
    fill(tmp_path, 500, 100).close()
    whole = current(tmp_path).read_bytes()
    hurt = {
        "zeroed": whole[:4096] + bytes(8192) + whole[12288:],
        "cut": whole[: len(whole) // 2],
        "garbage": GARBAGE,
    }[damage]
    current(tmp_path).write_bytes(hurt)
    for _ in range(2):
        reopened(tmp_path).close()
        (aside,) = put_aside(tmp_path)
        assert aside.read_bytes() == hurt
        assert bodies_below(tmp_path) == []


def test_a_second_damage_is_refused_in_words_that_name_the_folders(tmp_path):
    fill(tmp_path, 3).close()
    current(tmp_path).write_bytes(GARBAGE)
    reopened(tmp_path).close()
    fill(tmp_path, 3).close()
    current(tmp_path).write_bytes(GARBAGE)
    [first] = put_aside(tmp_path)
    first = first.parent.rename(tmp_path / "damaged-before") / first.name
    for _ in range(2):
        with pytest.raises(JournalError) as refused:
            reopened(tmp_path)
        assert f"{current(tmp_path).parent} is damaged" in str(refused.value)
        assert f"{first.parent}, which was put aside before, is not drained yet" in str(refused.value)
        assert put_aside(tmp_path) == [first], "nothing was changed"
    source, target = str(refused.value).split("then move ")[1].split(" and start again")[0].split(" to ")
    Path(source).rename(target)
    open_current(tmp_path).close()
    assert len(put_aside(tmp_path)) == 2


@pytest.mark.parametrize("nth", [1, 2])
def test_putting_aside_may_be_cut_off_at_either_rename(tmp_path, monkeypatch, nth):
    fill(tmp_path, 3).close()
    current(tmp_path).write_bytes(GARBAGE)
    real, calls = Path.rename, []

    def cut_off(path, target):
        calls.append(path)
        if len(calls) == nth:
            raise OSError(5, "I/O error")
        return real(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", cut_off)
        with pytest.raises((JournalError, OSError), match="I/O error"):
            reopened(tmp_path)
    reopened(tmp_path).close()
    assert len(put_aside(tmp_path)) == 1


def test_acknowledged_beyond_the_end_is_damage(tmp_path):
    """As with a WAL that was removed: what is kept next would have a number that Kafka has answered for."""
    with closing(fill(tmp_path, 5)) as file:
        file.truncate_wal()
        file.commit([callback(b"in the WAL")], None, [Acknowledgement(6)])
        copy = tmp_path / "copy"
        shutil.copytree(tmp_path / "current", copy / "current", ignore=shutil.ignore_patterns("*-shm"))
    with closing(fill(copy, 0)) as file:
        assert file.acked() == 6
        file.db.execute("DELETE FROM callbacks; UPDATE sqlite_sequence SET seq = 5")
    reopened(copy).close()
    assert len(put_aside(copy)) == 1


def test_an_emptied_journal_is_fine(tmp_path):
    with closing(fill(tmp_path, 4)) as file:
        file.commit([], None, [Acknowledgement(4)])
        file.db.execute("DELETE FROM callbacks")
    with closing(open_current(tmp_path)) as file:
        assert (rows(file), file.highest_seq(), put_aside(tmp_path)) == ([], 4, [])


def test_a_folder_without_its_journal_is_refused_and_an_empty_one_begins(tmp_path):
    """Such as one of the old format, of which only the checkpoint is left."""
    current(tmp_path).parent.mkdir()
    (left := current(tmp_path).with_name("checkpoint.db")).touch()
    with pytest.raises(JournalError, match=r"has no journal.db, but checkpoint.db\. Nothing was changed"):
        open_current(tmp_path)
    left.unlink()
    fill(tmp_path, 3).close()
    assert len(bodies_below(tmp_path)) == 3


@pytest.mark.parametrize("inside", ["current/journal.db", "journal.db.copy"])
def test_a_folder_is_deleted_by_its_own_files_and_never_with_anything_else(tmp_path, inside):
    fill(tmp_path, 3).close()
    folder = current(tmp_path).parent.rename(tmp_path / "aside")
    (folder / inside).parent.mkdir(exist_ok=True)
    (folder / inside).write_bytes(b"whatever a person has put there")
    before = sorted(folder.rglob("*"))
    with pytest.raises(JournalError, match=rf"is kept: it also holds {inside.split('/')[0]}; move that"):
        delete_folder(folder)
    assert sorted(folder.rglob("*")) == before
    (folder / inside).unlink()
    if (folder / inside).parent != folder:
        (folder / inside).parent.rmdir()
    delete_folder(folder)
    assert not folder.exists()


@pytest.fixture
def read_by_another(tmp_path, monkeypatch):
    """A folder whose journal is read, as by a back-up, from before its last commit on."""
    monkeypatch.setattr("dingbridge.ingress.journal.disk.BUSY_MS", 10)
    file = fill(tmp_path, 3)
    with closing(apsw.Connection(str(file.path), flags=apsw.SQLITE_OPEN_READONLY)) as other:
        other.execute("BEGIN")
        assert other.execute("SELECT count(*) FROM callbacks").get == 3
        file.commit([callback(b"4")])
        file.close()
        yield tmp_path


def test_a_journal_that_a_back_up_reads_can_be_opened_unless_it_failed(read_by_another):
    with closing(open_current(read_by_another)) as file:
        assert file.commit([callback(b"5")]) == [True]
        assert file.highest_seq() == 5
    with pytest.raises(apsw.BusyError):  # nothing is kept before its WAL was emptied
        open_current(read_by_another, failed=True)


@pytest.mark.parametrize(
    ("kind", "block_bytes", "words"),
    [
        ("tmpfs", 4096, "is memory"),
        ("nfs", 4096, "is a network file system"),
        ("ext4", 1024, "blocks of 1024 bytes.*SIGBUS"),
        ("ext4", 4096, None),
        ("ext4", 65536, None),
    ],
)
def test_a_file_system_that_is_not_safe_is_refused(tmp_path, monkeypatch, kind, block_bytes, words):
    monkeypatch.setattr(f"{FOLDER}.file_system", lambda folder: kind)
    monkeypatch.setattr(os, "statvfs", lambda folder: SimpleNamespace(f_frsize=block_bytes))
    folder = tmp_path / "j"
    if words is None:
        assert prepare_folder(folder, allow_unsafe=False) is None
        assert folder.stat().st_mode & 0o777 == 0o700
        return
    with pytest.raises(JournalError, match=f"{words}.*JOURNAL_ALLOW_UNSAFE"):
        prepare_folder(folder, allow_unsafe=False)
    assert prepare_folder(folder, allow_unsafe=True)


async def test_damage_ends_the_ingress_which_renames_its_folder(tmp_path, monkeypatch):
    """The next start begins an empty journal, and drains that one."""
    for name, value in SAMPLE_CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DINGTALK_API_BASE", "http://127.0.0.1:1")
    settings = IngressSettings.load(
        data_dir=tmp_path,
        journal_allow_unsafe=True,
        ingress_port=0,
        admin_port=0,
        kafka_bootstrap_servers="127.0.0.1:1",
    )
    commit, ending = JournalFile.commit, False

    def damaged(self, *arguments):
        if ending:
            raise apsw.CorruptError("database disk image is malformed")
        return commit(self, *arguments)

    async def measures(_):
        nonlocal ending
        ending = True
        await asyncio.Event().wait()

    async def acknowledges(self):
        await self._journal.commit([])

    monkeypatch.setattr(JournalFile, "commit", damaged)
    monkeypatch.setattr(Ingress, "_measure", measures)
    monkeypatch.setattr("dingbridge.ingress.journal.drain.Drainer.run", acknowledges)
    with pytest.raises(JournalDamaged, match="malformed"):
        async with asyncio.timeout(60):
            await Ingress(settings).run()
    [aside] = put_aside(settings.journal_path)
    assert aside.parent.name.startswith("damaged-")
    assert not (settings.journal_path / "current").exists()

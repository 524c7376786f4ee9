"""A folder is refused with the remedy, or put aside, before a callback could stay unpublished."""

import errno
import os
import re
import shutil
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import apsw
import pytest

from dingbridge.ingress.errors import JournalError, JournalLocked
from dingbridge.ingress.journal.checkpoint import Checkpoint
from dingbridge.ingress.journal.directory import (
    current,
    damaged,
    damaged_name,
    ingress_lock,
    prepare_folder,
    relay_lock,
    report_damage,
    reported_damage,
)
from dingbridge.ingress.journal.rows import NewCallback
from dingbridge.ingress.journal.startup import open_checked, open_current
from dingbridge.ingress.journal.store import JournalFile
from tests.unit.ingress.filled import fill


def published(root: Path, file: JournalFile, seq: int) -> None:
    with closing(Checkpoint(current(root).path, file.id)) as checkpoint:
        checkpoint.commit(seq)


def bodies(file: JournalFile) -> list[bytes]:
    return [row.body for row in file.read(0, max_rows=9_999, max_bytes=1 << 30)]


def test_an_older_copy_of_the_journal_is_refused(tmp_path):
    fill(tmp_path, 3).close()
    path = current(tmp_path).journal
    shutil.copy(path, tmp_path / "backup")
    with closing(fill(tmp_path, 9)) as file:
        published(tmp_path, file, 9)
    shutil.move(tmp_path / "backup", path)
    with pytest.raises(JournalError, match=r"older copy was restored.*move .*checkpoint\.db"):
        open_current(tmp_path)


def test_a_wal_that_was_removed_is_refused(tmp_path):
    file = fill(tmp_path, 3)
    file.truncate_wal()
    file.keep([NewCallback(1, "default", "http", b"in the WAL", b"in the WAL")])
    published(tmp_path, file, 4)
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "current", copy / "current", ignore=shutil.ignore_patterns("*journal.db-*"))
    file.close()
    with pytest.raises(JournalError, match=r"stands at 4.*never came further than 3: its journal.db-wal"):
        open_current(copy)


def test_a_checkpoint_without_its_journal_is_refused(tmp_path):
    with closing(fill(tmp_path, 3)) as file:
        published(tmp_path, file, 2)
    current(tmp_path).journal.unlink()
    with pytest.raises(JournalError, match=r"its journal.db is not\. .*Put it back; or"):
        open_current(tmp_path)


def test_a_checkpoint_of_another_journal_is_refused(tmp_path):
    with closing(fill(tmp_path, 3)) as file:
        published(tmp_path, file, 2)
    other = tmp_path / "other"
    other.mkdir()
    fill(other, 3).close()
    shutil.copy(current(other).journal, current(tmp_path).journal)
    with pytest.raises(JournalError, match="another journal"):
        open_current(tmp_path)


def test_without_its_checkpoint_a_journal_goes_on_and_is_published_again(tmp_path):
    with closing(fill(tmp_path, 3)) as file:
        published(tmp_path, file, 2)
    checkpoint = current(tmp_path).checkpoint
    checkpoint.unlink()
    with closing(open_current(tmp_path)) as file, closing(Checkpoint(checkpoint.parent, file.id)) as anew:
        assert anew.seq() == 0
        assert len(bodies(file)) == 3


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 1000])
def test_a_damaged_checkpoint_is_damage_like_any_other(tmp_path, content):
    with closing(fill(tmp_path, 3)) as file:
        published(tmp_path, file, 2)
    current(tmp_path).checkpoint.write_bytes(content)
    with closing(open_current(tmp_path)) as file:
        assert bodies(file) == []
    (aside,) = damaged(tmp_path)
    with closing(JournalFile(aside.journal, read_only=True)) as file:
        assert len(bodies(file)) == 3


def test_an_emptied_journal_with_its_checkpoint_is_fine(tmp_path):
    with closing(fill(tmp_path, 4)) as file:
        published(tmp_path, file, 4)
        file.prune_callbacks(4, frozenset(), 100, after_seq=0)
    with closing(open_current(tmp_path)) as file:
        assert file.highest_seq() == 4


@pytest.mark.parametrize("damage", ["zeroed", "cut", "garbage"])
def test_a_damaged_journal_is_put_aside_with_its_checkpoint_as_it_is(tmp_path, damage):
    with closing(fill(tmp_path, 500)) as file:
        published(tmp_path, file, 100)
    path = current(tmp_path).journal
    whole = path.read_bytes()
    hurt = {
        "zeroed": whole[:4096] + bytes(8192) + whole[12288:],
        "cut": whole[: len(whole) // 2],
        "garbage": b"not a database at all" * 1000,
    }[damage]
    path.write_bytes(hurt)
    with closing(open_current(tmp_path)) as file:
        (aside,) = damaged(tmp_path)
        assert aside.journal.read_bytes() == hurt
        with closing(Checkpoint(aside.path, read_only=True)) as checkpoint:
            assert (checkpoint.journal == file.id, checkpoint.seq()) == (False, 100)
        assert file.read(0, max_rows=9, max_bytes=999) == []
    open_current(tmp_path).close()
    assert damaged(tmp_path) == [aside], "once"


def test_what_was_reported_is_put_aside_also_where_it_reads(tmp_path):
    fill(tmp_path, 3).close()
    report_damage(current(tmp_path).path, "a page that only the relay has read")
    open_current(tmp_path).close()
    open_current(tmp_path).close()
    assert len(damaged(tmp_path)) == 1


def test_a_second_damage_within_an_hour_is_refused_with_the_remedy(tmp_path):
    now = datetime.now(UTC)
    fill(tmp_path, 3).close()
    report_damage(current(tmp_path).path, "the first")
    fill(tmp_path, 3).close()
    report_damage(current(tmp_path).path, "the second")
    for _ in range(2):
        with pytest.raises(JournalError, match=r"the second.*Replace the disk .*move .*/damaged-\d{8}T\d+Z"):
            open_current(tmp_path)
    (first,) = damaged(tmp_path)
    first.path.rename(damaged_name(tmp_path, now - timedelta(minutes=61)))
    open_current(tmp_path).close()
    assert len(damaged(tmp_path)) == 2


def test_however_often_the_remedy_is_followed_each_journal_has_a_folder_of_its_own(tmp_path):
    """A disk that dies damages one after the other. ``mv`` moves into a folder that exists."""
    fill(tmp_path, 3).close()
    report_damage(current(tmp_path).path, "the first")
    for count in range(2, 5):
        fill(tmp_path, 3).close()
        report_damage(current(tmp_path).path, "the next")
        with pytest.raises(JournalError) as refused:
            open_current(tmp_path)
        source, target = re.findall(r"move (\S+) to (\S+) and start again", str(refused.value))[0]
        shutil.move(source, target)
        open_current(tmp_path).close()
        assert [folder.journal.exists() for folder in damaged(tmp_path)] == [True] * count


def test_a_folder_whose_journal_was_moved_away_begins_anew(tmp_path):
    current(tmp_path).path.mkdir()
    for name in ("relay.lock", "relay.wake", "damaged"):
        (current(tmp_path).path / name).touch()
    fill(tmp_path, 3).close()
    assert not damaged(tmp_path)


def test_nothing_is_put_aside_while_a_relay_reads_it(tmp_path, monkeypatch):
    """That of an ingress that was killed; it ends by itself."""
    monkeypatch.setattr("dingbridge.ingress.journal.startup._RELAY_ENDS_WITHIN_S", 0.1)
    fill(tmp_path, 3).close()
    current(tmp_path).journal.write_bytes(b"no database" * 1000)
    lock = relay_lock(current(tmp_path).path)
    lock.acquire()
    with pytest.raises(JournalLocked, match=f"process {os.getpid()} publishes"):
        open_current(tmp_path)
    assert not damaged(tmp_path)
    lock.release()
    open_current(tmp_path).close()
    assert len(damaged(tmp_path)) == 1


@pytest.mark.parametrize("nth", range(1, 3))
def test_putting_aside_may_be_cut_off_at_either_rename(tmp_path, monkeypatch, nth):
    fill(tmp_path, 3).close()
    current(tmp_path).journal.write_bytes(b"no database" * 1000)
    real, calls = Path.rename, []

    def cut_off(path, target):
        calls.append(path)
        if len(calls) == nth:
            raise OSError(5, "I/O error")
        return real(path, target)

    monkeypatch.setattr(Path, "rename", cut_off)
    with pytest.raises(JournalError, match="free or repair the disk"):
        open_current(tmp_path)
    monkeypatch.undo()
    open_current(tmp_path).close()
    assert len(damaged(tmp_path)) == 1


def test_a_journal_that_failed_and_lost_what_kafka_has_is_not_written_again(tmp_path):
    """What it would keep next would have a number that the relay has behind it."""
    with closing(fill(tmp_path, 5)) as file:
        published(tmp_path, file, 5)
    open_checked(current(tmp_path), failed=True).close()
    with closing(apsw.Connection(str(current(tmp_path).journal))) as db:
        db.execute("DELETE FROM callbacks WHERE seq > 2; UPDATE sqlite_sequence SET seq = 2")
    with pytest.raises(JournalError, match="stands at 5"):
        open_checked(current(tmp_path), failed=True)


@pytest.fixture
def read_by_another(tmp_path, monkeypatch):
    """A folder whose journal is read, as by a back-up, from before its last commit on."""
    monkeypatch.setattr("dingbridge.ingress.journal.directory.BUSY_MS", 10)
    file = fill(tmp_path, 3)
    with closing(apsw.Connection(str(file.path), flags=apsw.SQLITE_OPEN_READONLY)) as other:
        other.execute("BEGIN")
        assert other.execute("SELECT count(*) FROM callbacks").get == 3
        file.keep([NewCallback(1, "default", "http", b"4", b"4")])
        file.close()
        yield tmp_path


def test_a_journal_that_a_back_up_reads_can_be_opened(read_by_another):
    with closing(open_current(read_by_another)) as file:
        assert file.keep([NewCallback(1, "default", "http", b"5", b"5")]) == [True]
        assert file.highest_seq() == 5


def test_a_journal_that_failed_takes_nothing_until_its_log_could_be_emptied(read_by_another):
    with pytest.raises(apsw.BusyError):
        open_checked(current(read_by_another), failed=True)


def test_one_process_holds_the_folder(tmp_path):
    first, second = ingress_lock(tmp_path), ingress_lock(tmp_path)
    first.acquire()
    with pytest.raises(JournalLocked, match="another ingress"):
        second.acquire()
    first.release()
    second.acquire()
    second.release()


def test_memory_and_network_file_systems_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("dingbridge.ingress.journal.directory.file_system", lambda folder: "tmpfs")
    with pytest.raises(JournalError, match="JOURNAL_ALLOW_UNSAFE"):
        prepare_folder(tmp_path / "j", allow_unsafe=False)
    assert "memory" in (prepare_folder(tmp_path / "j", allow_unsafe=True) or "")
    monkeypatch.setattr("dingbridge.ingress.journal.directory.file_system", lambda folder: "ext4")
    assert prepare_folder(tmp_path / "k", allow_unsafe=False) is None
    assert (tmp_path / "k").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(("block_bytes", "safe"), [(1024, False), (2048, False), (4096, True), (65536, True)])
def test_a_file_system_on_which_a_full_disk_kills_is_refused(tmp_path, monkeypatch, block_bytes, safe):
    monkeypatch.setattr("dingbridge.ingress.journal.directory.file_system", lambda folder: "ext4")
    monkeypatch.setattr(os, "statvfs", lambda folder: SimpleNamespace(f_frsize=block_bytes))
    if safe:
        assert prepare_folder(tmp_path, allow_unsafe=False) is None
        return
    with pytest.raises(JournalError, match=f"blocks of {block_bytes} bytes.*SIGBUS"):
        prepare_folder(tmp_path, allow_unsafe=False)
    assert "SIGBUS" in (prepare_folder(tmp_path, allow_unsafe=True) or "")


@pytest.mark.parametrize("change", ["key = x'ff'", "value = CAST(x'ff' AS TEXT)"])
def test_a_note_that_the_disk_has_changed_is_damage_and_holds_up_no_start(tmp_path, change):
    with closing(fill(tmp_path, 3)) as file:
        file.commit([], {"import/damaged-20260101T000000Z": "{}"}, 1)
        file.db.execute(f"UPDATE notes SET {change} WHERE key LIKE 'import%'")
        with pytest.raises(apsw.CorruptError):
            file.notes("import/")
    report_damage(current(tmp_path).path, "a note does not read")
    open_current(tmp_path).close()
    assert len(damaged(tmp_path)) == 1


# -- What counts as damage of the journal, and what passes by itself


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES])
def test_a_machine_that_is_short_of_something_has_no_damaged_journal(tmp_path, monkeypatch, number):
    def fails(*_, **__):
        raise OSError(number, "short of it")

    monkeypatch.setattr(Path, "read_text", fails)
    assert reported_damage(tmp_path) is None


def test_a_disk_on_which_the_report_does_not_read_is_damage(tmp_path, monkeypatch):
    def fails(*_, **__):
        raise OSError(errno.EIO, "I/O error")

    report_damage(tmp_path, "a page is torn")
    assert reported_damage(tmp_path) == "a page is torn"
    monkeypatch.setattr(Path, "read_text", fails)
    assert "I/O error" in (reported_damage(tmp_path) or "")


@pytest.mark.parametrize("room", [True, False])
def test_a_report_is_found_with_its_words_or_not_at_all(tmp_path, monkeypatch, room):
    """The writer looks for one all the time, and ended with "the journal is damaged ()" where it looked while
    the file was made. A disk without room for the words takes the report without them."""
    found = []
    writes = Path.write_text

    def looks(path, *args, **kwargs):
        found.append(reported_damage(tmp_path))
        if not room:
            raise OSError(errno.ENOSPC, "no space left on device")
        return writes(path, *args, **kwargs)

    monkeypatch.setattr(Path, "write_text", looks)
    report_damage(tmp_path, "a page is torn")
    assert found == [None]
    assert reported_damage(tmp_path) == ("a page is torn" if room else "")
    assert [path.name for path in tmp_path.iterdir()] == ["damaged"]

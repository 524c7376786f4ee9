"""The journal's writer: ``append`` returns only for what is on the disk, and a sick disk means refusal."""

import asyncio
import random
import shutil
import threading
import time
from contextlib import closing

import apsw
import pytest
from prometheus_client import CollectorRegistry

from dingbridge.ingress.errors import JournalDamaged, JournalError, JournalUnavailable
from dingbridge.ingress.journal.disk import is_damage
from dingbridge.ingress.journal.file import JournalFile
from dingbridge.ingress.journal.folder import put_aside
from dingbridge.ingress.journal.retention import Retention
from dingbridge.ingress.journal.rows import Acknowledgement, ResyncRequest
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.metrics import JournalMetrics
from dingbridge.tasks import end
from tests.support.disk import mortal_disk
from tests.support.waiting import eventually
from tests.unit.ingress.filled import DAY, bodies_below, callback, fill, rights, started

WRITER = "dingbridge.ingress.journal.writer"


class SickDisk(apsw.VFS):
    """The default file system, until ``sick`` names what its files' ``xSync`` and ``xWrite`` shall do."""

    def __init__(self) -> None:
        self.sick: str | None = None
        self.thaw = threading.Event()
        super().__init__("sick", "unix", makedefault=True)

    def xOpen(self, name, flags):
        if self.sick == "no room for a -shm":  # there SQLite says so as it first reads
            raise apsw.exception_for(apsw.SQLITE_IOERR_SHMSIZE)
        return SickFile(self, name, flags)

    def recovers(self) -> None:
        self.sick = None
        self.thaw.set()


class SickFile(apsw.VFSFile):
    def __init__(self, disk, name, flags):
        self._disk = disk
        super().__init__("unix", name, flags)

    def xSync(self, flags):
        if self._disk.sick == "fsync":
            raise apsw.IOError("fsync failed")
        if self._disk.sick == "stalled":
            self._disk.thaw.wait(10)
        super().xSync(flags)

    def xWrite(self, data, offset):
        match self._disk.sick:
            case "full":
                raise apsw.FullError("disk full")
            case "over quota":  # SQLite's code for EDQUOT
                raise apsw.exception_for(apsw.SQLITE_IOERR_WRITE)
            case "read-only":
                raise apsw.ReadOnlyError("read-only file system")
        super().xWrite(data, offset)


@pytest.fixture
def disk():
    disk = SickDisk()
    yield disk
    disk.recovers()
    disk.unregister()


@pytest.fixture
async def journal(tmp_path):
    async with started(tmp_path) as journal:
        yield journal


async def refused(journal, body):
    with pytest.raises(JournalUnavailable) as caught:
        await journal.append(callback(body))
    return caught.value.reason


async def recovers(journal, body):
    """Until it is kept again."""

    async def kept():
        try:
            return await journal.append(callback(body)) or True
        except JournalUnavailable:
            return False

    await eventually(kept, 30, "it is kept again")


async def ended(journal, words):
    """The process is to end, in these words, and nothing is kept any more."""
    async with asyncio.timeout(10):
        with pytest.raises(JournalError, match=words) as error:
            await journal.until_damaged()
    assert await refused(journal, b"late") in ("disk", "too_slow")
    return error.value


def raiser(error):
    def call(*args, **kwargs):
        raise error

    return call


async def test_what_append_returned_for_is_on_the_disk_and_a_group_is_one_commit(
    journal, tmp_path, monkeypatch
):
    groups = []
    real = JournalFile.commit

    def commit(self, callbacks=(), notes=None, acknowledgements=()):
        groups.append((len(callbacks), len(acknowledgements)))
        return real(self, callbacks, notes, acknowledgements)

    monkeypatch.setattr(JournalFile, "commit", commit)
    names = [b"%d" % n for n in range(500)]
    acknowledged = journal.acknowledge(Acknowledgement(0, [rights(1)]))
    answers = await asyncio.gather(*(journal.append(callback(name)) for name in names), acknowledged)
    assert answers == [True] * 500 + [None]
    assert bodies_below(tmp_path) == names
    assert groups == [(500, 1)]
    assert await journal.append(callback(names[3])) is False


async def test_stop_commits_what_is_queued(tmp_path):
    async with started(tmp_path) as journal:
        answers = [asyncio.ensure_future(journal.append(callback(b"%d" % n))) for n in range(50)]
        await asyncio.sleep(0)
    assert await asyncio.gather(*answers) == [True] * 50
    assert len(bodies_below(tmp_path)) == 50
    assert await refused(journal, b"late") == "stopping"


@pytest.mark.parametrize("sickness", ["fsync", "full", "over quota", "read-only"])
async def test_a_sick_disk_refuses_and_comes_back_by_itself(disk, journal, tmp_path, sickness):
    await journal.append(callback(b"before"))
    disk.sick = sickness
    assert await refused(journal, b"during") == "disk"
    for _ in range(3):
        journal._open_at = 0.0
        assert await refused(journal, b"again") == "disk"
        assert f"free or repair the disk under {tmp_path}, or raise its quota" in journal.fault
    disk.sick = None
    await recovers(journal, b"after")
    assert (journal.fault, journal._ended, put_aside(tmp_path)) == (None, None, [])
    kept = bodies_below(tmp_path)
    assert {b"before", b"after"} <= set(kept)
    assert len(kept) == len(set(kept))


@pytest.mark.parametrize("sickness", ["full", "over quota", "read-only", "no room for a -shm", "fsync"])
@pytest.mark.parametrize("killed", [True, False])
async def test_a_disk_that_takes_no_write_at_the_start_is_waited_for(disk, tmp_path, sickness, killed):
    """``killed``: the last callbacks of the ingress before are in the WAL, which cannot be written back. Else
    there was none."""
    root = tmp_path / "here"
    root.mkdir()
    if killed:
        with closing(fill(tmp_path / "before", 200)):
            skip = shutil.ignore_patterns("*-shm")
            shutil.copytree(tmp_path / "before", root, ignore=skip, dirs_exist_ok=True)
    disk.sick = sickness
    async with started(root) as journal:
        assert await refused(journal, b"during") == "disk"
        assert "free or repair the disk" in journal.fault
        disk.sick = None
        await recovers(journal, b"after")
        assert ({b"1", b"200"} if killed else set()) | {b"after"} <= set(bodies_below(root))
        assert put_aside(root) == []


async def test_a_stalled_disk_refuses_in_time_and_never_stalls_the_loop(disk, journal, monkeypatch):
    """The deadline is that of DingTalk, which waits for callbacks, and of probes: other work takes its
    time."""
    monkeypatch.setattr(f"{WRITER}.COMMIT_TIMEOUT_S", 0.2)
    disk.sick = "stalled"
    drained = asyncio.ensure_future(journal.commit([callback(b"drained")], {"drain/x": "1"}))
    acknowledged = asyncio.ensure_future(journal.acknowledge(Acknowledgement(0)))
    turns = 0

    async def turn():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.01)

    turning = asyncio.ensure_future(turn())
    assert await refused(journal, b"slow") == "too_slow"
    with pytest.raises(JournalUnavailable, match="no commit within"):
        await journal.probe()
    await end(turning)
    assert turns > 10
    assert not drained.done()
    disk.recovers()
    assert await drained == [True]
    await acknowledged
    await recovers(journal, b"after")
    # refused in time, kept late: DingTalk's retry is known
    assert await journal.append(callback(b"slow")) is False


async def test_what_a_stalled_disk_holds_up_is_bounded(disk, journal, monkeypatch):
    """What was refused for slowness is in memory until the disk has taken it."""
    monkeypatch.setattr(f"{WRITER}.COMMIT_TIMEOUT_S", 0.1)
    monkeypatch.setattr(f"{WRITER}._MAX_QUEUED_BYTES", 3 * (2_048 + len(b"slow-0")))
    disk.sick = "stalled"
    for number in range(3):
        assert await refused(journal, b"slow-%d" % number) == "too_slow"
    assert await refused(journal, b"slow-3") == "queue_full"
    disk.recovers()
    await recovers(journal, b"slow-3")
    assert journal._queued_bytes == 0


@pytest.mark.parametrize("error", [apsw.CorruptError("bad page"), apsw.exception_for(apsw.SQLITE_IOERR_READ)])
async def test_damage_ends_the_process_and_the_next_start_puts_it_aside(
    journal, tmp_path, monkeypatch, error
):
    await journal.append(callback(b"before"))
    with monkeypatch.context() as sick:
        sick.setattr(JournalFile, "commit", raiser(error))
        waiting = [asyncio.ensure_future(journal.append(callback(b"%d" % n))) for n in range(9)]
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert {getattr(answer, "reason", answer) for answer in answers} == {"disk"}
        assert isinstance(await ended(journal, "bad page|IOError"), JournalDamaged)
    assert put_aside(tmp_path) == [], "the file is still open"


@pytest.mark.parametrize(
    ("code", "damage"),
    [
        (apsw.SQLITE_IOERR_READ, True),
        (apsw.SQLITE_CORRUPT, True),
        (apsw.SQLITE_IOERR_FSYNC, False),  # waited for, and a commit must succeed before the next success
        (apsw.SQLITE_IOERR_WRITE, False),  # a quota
        (apsw.SQLITE_IOERR_SHMSIZE, False),  # a full disk, on which the -shm file finds no room
        (apsw.SQLITE_IOERR_NOMEM, False),
        (apsw.SQLITE_FULL, False),
        (apsw.SQLITE_CANTOPEN, False),
    ],
)
def test_only_what_cannot_be_read_counts_as_damage(code, damage):
    assert is_damage(apsw.exception_for(code)) is damage


async def test_a_file_of_another_version_that_came_meanwhile_ends_the_process(journal, tmp_path, monkeypatch):
    """As when somebody restores a folder under a running ingress: refused with the remedy, not put aside."""
    await journal.append(callback(b"before"))
    with monkeypatch.context() as sick:
        sick.setattr(JournalFile, "commit", raiser(apsw.FullError("any failed commit closes the file")))
        sick.setattr(f"{WRITER}.open_current", raiser(JournalError("written by a newer dingbridge")))
        assert await refused(journal, b"during") == "disk"
        assert not isinstance(await ended(journal, "newer dingbridge"), JournalDamaged)


async def test_a_fault_in_a_commit_leaves_no_answer_waiting_and_no_queue_full(journal, monkeypatch):
    monkeypatch.setattr(f"{WRITER}.COMMIT_TIMEOUT_S", 3600)
    with monkeypatch.context() as sick:
        sick.setattr(journal._metrics.commit_seconds, "observe", raiser(ValueError("a fault of ours")))
        for number in range(3):
            with pytest.raises(ValueError, match="a fault of ours"):
                async with asyncio.timeout(10):
                    await journal.append(callback(b"during-%d" % number))
    assert journal._queued_bytes == 0
    await recovers(journal, b"after")


async def test_a_fault_in_the_writer_ends_the_process_and_leaves_no_answer_waiting(journal, monkeypatch):
    """Nor what comes until the process has ended: the relay's last acknowledgement, say."""
    monkeypatch.setattr(Journal, "_outcomes", raiser(ValueError("a fault of ours")))
    for _ in range(2):
        async with asyncio.timeout(5):
            with pytest.raises(JournalUnavailable, match="writer failed"):
                await journal.acknowledge(Acknowledgement(0))
    async with asyncio.timeout(5):
        with pytest.raises(JournalError, match="writer failed"):
            await journal.until_damaged()


async def test_nothing_that_fails_ends_the_writer(journal, monkeypatch):
    """Neither a file that cannot be closed, nor a disk that refuses again and again."""
    tried = []

    def refuses(root, *, failed):
        tried.append(root)
        raise apsw.FullError("no space left on device")

    with monkeypatch.context() as sick:
        sick.setattr(JournalFile, "close", raiser(OSError("close")))
        sick.setattr(f"{WRITER}.open_current", refuses)
        sick.setattr(f"{WRITER}._REOPEN_EVERY_S", 0.0)
        sick.setattr(JournalFile, "commit", raiser(apsw.IOError("disk I/O error")))
        assert await refused(journal, b"during") == "disk"
        await eventually(lambda: len(tried) > 2, 10, "it has tried again")
    await recovers(journal, b"after")
    assert journal.fault is None


async def test_a_page_is_kept_with_its_notes_and_wakes_the_relay(journal):
    woken = []
    journal.on_commit = lambda: woken.append(1)
    page = [callback(b"a"), callback(b"a"), ResyncRequest("page-1", "it may be gone")]
    assert await journal.commit(page, {"recovery/x": "1"}) == [True, False, True]
    assert await journal.notes("recovery/") == {"recovery/x": "1"}
    await journal.commit([], {"recovery/x": None})
    assert await journal.notes("recovery/") == {}
    await journal.append(callback(b"a"))
    assert len(woken) == 1, "nothing else was new"


async def test_what_is_old_goes_pass_after_pass_also_on_a_slow_disk(tmp_path, monkeypatch):
    """A step that takes longer than a callback may wait is made all the same."""
    monkeypatch.setattr(f"{WRITER}._RETENTION_EVERY_S", 0.01)
    monkeypatch.setattr(f"{WRITER}.COMMIT_TIMEOUT_S", 0.05)
    real = JournalFile.prune_callbacks

    def slowly(*arguments):
        time.sleep(0.1)
        return real(*arguments)

    monkeypatch.setattr(JournalFile, "prune_callbacks", slowly)
    async with started(tmp_path, Retention(0, 3600, 0)) as journal:
        deleting = asyncio.ensure_future(journal.prune_regularly())
        for seq in (1, 2):
            await journal.commit([callback(b"%d" % seq)])
            assert bodies_below(tmp_path) == [b"%d" % seq], "what waits stays"
            await journal.acknowledge(Acknowledgement(seq))
            await eventually(lambda: bodies_below(tmp_path) == [], 10, "it is deleted")
        await end(deleting)


async def test_what_retention_meets_ends_neither_the_writer_nor_itself(journal, monkeypatch):
    errors = [PermissionError("a folder that cannot be measured"), apsw.FullError("no space left on device")]
    left = [*errors, None]

    def step(*_, **__):
        error = left.pop(0) if len(left) > 1 else left[0]
        if error is not None:
            raise error

    monkeypatch.setattr(f"{WRITER}._RETENTION_EVERY_S", 0.0)
    monkeypatch.setattr(f"{WRITER}.prune_step", step)
    deleting = asyncio.ensure_future(journal.prune_regularly())
    await eventually(lambda: left == [None], 10, "all of it was met")
    await recovers(journal, b"after")
    assert not deleting.done()
    await end(deleting)


async def test_a_callback_that_is_drained_or_recovered_is_no_sign_of_life_of_dingtalk(tmp_path):
    journal = Journal(tmp_path, DAY, JournalMetrics(registry := CollectorRegistry()))
    await journal.start()
    seen = []
    for at_ms in (5_000, 4_999, 6_000):
        await journal.append(callback(b"%d" % at_ms, at_ms))
        await journal.commit([callback(b"drained %d" % at_ms, at_ms + 9_000_000)])
        seen.append(registry.get_sample_value("dingbridge_last_callback_timestamp_seconds"))
    assert seen == [5, 4.999, 6]
    await journal.stop()


# -- After a failed fsync the page cache can lie: what could not be synced is read as if it stood on the disk


GROUPS = 6


async def live(root, reader_open):
    """Keep some groups, with the WAL written back between them. Returns what was confirmed and refused."""
    async with started(root) as journal:
        # an open file, as the relay's, keeps the index of the WAL alive while the writer's is closed
        reader = JournalFile(root / "current" / "journal.db", read_only=True) if reader_open else None
        confirmed, refused = set(), set()
        for group in range(GROUPS):
            names = [b"%d-%d" % (group, n) * 300 for n in range(4)]
            answers = await asyncio.gather(
                *(journal.append(callback(name)) for name in names), return_exceptions=True
            )
            for name, answer in zip(names, answers, strict=True):
                assert answer is True or isinstance(answer, JournalUnavailable)
                (confirmed if answer is True else refused).add(name)
            if group % 2:
                await asyncio.gather(journal._submit(JournalFile.truncate_wal), return_exceptions=True)
    if reader is not None:
        reader.close()
    return confirmed, refused


@pytest.mark.parametrize("reader_open", [False, True], ids=["alone", "beside a reader"])
async def test_each_fsync_fails_once_and_its_data_never_arrives(tmp_path, monkeypatch, reader_open):
    monkeypatch.setattr(f"{WRITER}._REOPEN_EVERY_S", 0.0)
    with mortal_disk() as disk:
        await live(tmp_path / "all-well", reader_open)
        syncs = disk.syncs
    assert sum([await fails_at(number, tmp_path, reader_open) for number in range(2, syncs + 1)])


async def fails_at(number, folder, reader_open):
    """Sync ``number`` fails. Returns how many callbacks were refused."""
    root = folder / str(number)
    with mortal_disk() as disk:
        disk.sync_fails_at = number
        try:
            confirmed, refused = await live(root, reader_open)
        except apsw.CantOpenError:  # it has not begun, so nothing was confirmed
            return 0
        disk.restart("synced", random.Random(0))
        found = bodies_below(root)
    assert confirmed <= set(found), f"fsync {number}: confirmed, and gone with the power"
    assert len(found) == len(set(found))
    assert set(found) <= confirmed | refused
    return len(refused)

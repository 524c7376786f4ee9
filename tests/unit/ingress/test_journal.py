"""The journal's writer: ``append`` returns only for what is on the disk, and a sick disk means refusal."""

import asyncio
import threading
import time
from contextlib import closing

import apsw
import pytest
from dingbridge.ingress.journal.checkpoint import Checkpoint
from dingbridge.ingress.journal.directory import current, damaged, folders, report_damage, reported_damage
from dingbridge.ingress.journal.store import JournalFile
from prometheus_client import CollectorRegistry

from dingbridge.errors import BridgeError
from dingbridge.ingress.admin.routes import older_than_s
from dingbridge.ingress.errors import JournalDamaged, JournalError, JournalUnavailable
from dingbridge.ingress.journal.retention import Retention
from dingbridge.ingress.journal.rows import NewCallback, ResyncRequest
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.metrics import JournalMetrics
from dingbridge.settings import IngressSettings
from dingbridge.tasks import end
from tests.support.waiting import eventually


class SickDisk(apsw.VFS):
    """The default file system, until ``sick`` names what its files' ``xSync`` and ``xWrite`` shall do."""

    def __init__(self) -> None:
        self.sick: str | None = None
        self.thaw = threading.Event()
        super().__init__("sick", "unix", makedefault=True)

    def xOpen(self, name, flags):
        return SickFile(self, name, flags)


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
        if self._disk.sick == "full":
            raise apsw.FullError("disk full")
        if self._disk.sick == "over quota":  # what SQLite makes of EDQUOT
            raise apsw.exception_for(apsw.SQLITE_IOERR_WRITE)
        super().xWrite(data, offset)


@pytest.fixture
def disk():
    disk = SickDisk()
    yield disk
    disk.sick = None
    disk.thaw.set()
    disk.unregister()


@pytest.fixture
async def journal(tmp_path):
    journal = Journal(tmp_path, Retention(callbacks_s=3600, seen_s=3600), JournalMetrics(CollectorRegistry()))
    await journal.start()
    yield journal
    await journal.stop()


def entry(name):
    return NewCallback(int(time.time() * 1000), "default", "http", name, b"key-" + name)


def on_disk(folder):
    found = []
    for where in folders(folder):
        with closing(JournalFile(where.journal, read_only=True)) as file:
            found += [row.body for row in file.read(0, max_rows=100_000, max_bytes=1 << 30)]
    return found


async def refused(journal, name):
    with pytest.raises(JournalUnavailable) as caught:
        await journal.append(entry(name))
    return caught.value.reason


async def recovers(journal, name):
    """The first name that is kept again, trying as DingTalk would: with time between."""
    for _ in range(200):
        try:
            await journal.append(entry(name))
            return
        except JournalUnavailable:
            await asyncio.sleep(0.05)
    pytest.fail("the journal did not come back")


async def test_what_append_returned_for_is_on_the_disk(journal, tmp_path):
    names = [b"%d" % n for n in range(500)]
    assert all(await asyncio.gather(*(journal.append(entry(n)) for n in names)))
    assert on_disk(tmp_path) == names
    assert await journal.append(entry(names[3])) is False


async def test_stop_commits_what_is_queued(tmp_path):
    journal = Journal(tmp_path, Retention(3600, 3600), JournalMetrics(CollectorRegistry()))
    await journal.start()
    answers = [asyncio.ensure_future(journal.append(entry(b"%d" % n))) for n in range(50)]
    await asyncio.sleep(0)
    await journal.stop()
    assert await asyncio.gather(*answers) == [True] * 50
    assert len(on_disk(tmp_path)) == 50
    assert await refused(journal, b"late") == "stopping"


@pytest.mark.parametrize("sickness", ["fsync", "full", "over quota"])
async def test_a_sick_disk_refuses_and_comes_back_by_itself(disk, journal, tmp_path, sickness):
    await journal.append(entry(b"before"))
    disk.sick = sickness
    assert await refused(journal, b"during") == "disk"
    if sickness == "fsync":  # one that outlives a reopening ends it
        disk.sick = None
    assert await refused(journal, b"during-2") == "disk"
    assert journal.fault
    disk.sick = None
    await recovers(journal, b"after")
    assert journal.fault is None
    assert not journal._ended
    kept = on_disk(tmp_path)
    assert {b"before", b"after"} <= set(kept)
    assert len(kept) == len(set(kept))


@pytest.mark.parametrize(
    ("sickness", "remedy"),
    [
        ("full", "free or repair the disk under {}"),
        ("over quota", "free or repair the disk under {}, or raise its quota"),
    ],
)
async def test_a_full_disk_is_waited_for_and_ends_nothing_and_the_words_say_what_to_do(
    disk, journal, tmp_path, sickness, remedy
):
    disk.sick = sickness
    await refused(journal, b"first")
    for _ in range(3):
        journal._reopen_at = 0.0
        await refused(journal, b"again")
        assert journal._file is None
        assert journal.fault is not None
        assert journal.fault.endswith(remedy.format(tmp_path))
    assert not journal._ended
    assert reported_damage(current(tmp_path).path) is None


async def test_a_stalled_disk_refuses_in_time_and_never_stalls_the_loop(disk, journal, tmp_path):
    disk.sick = "stalled"
    turns = 0

    async def turn():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.01)

    turning = asyncio.ensure_future(turn())
    assert await refused(journal, b"slow") == "too_slow"
    turning.cancel()
    assert turns > 10
    disk.sick = None
    disk.thaw.set()
    await recovers(journal, b"after")
    # refused in time, kept late: DingTalk's retry will find it known
    assert await journal.append(entry(b"slow")) is False


async def ended(journal, words):
    """The process is to end, in these words, and nothing is kept any more."""
    async with asyncio.timeout(10):
        with pytest.raises(JournalDamaged, match=words):
            await journal.until_damaged()
    assert await refused(journal, b"late") == "disk"


@pytest.mark.parametrize("error", [apsw.CorruptError("malformed"), apsw.NotADBError("no database")])
async def test_damage_ends_the_process_and_the_next_start_puts_it_aside(
    journal, tmp_path, monkeypatch, error
):
    await journal.append(entry(b"before"))
    with monkeypatch.context() as sick:
        sick.setattr(JournalFile, "keep", raiser(error))
        waiting = [asyncio.ensure_future(journal.append(entry(b"%d" % n))) for n in range(9)]
        answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert {getattr(answer, "reason", answer) for answer in answers} == {"disk"}
    await ended(journal, "is damaged.*start again")
    assert reported_damage(current(tmp_path).path)
    await journal.stop()

    again = Journal(tmp_path, Retention(3600, 3600), JournalMetrics(CollectorRegistry()))
    await again.start()
    await again.append(entry(b"after"))
    await again.stop()
    assert len(damaged(tmp_path)) == 1
    assert on_disk(tmp_path) == [b"before", b"after"]


async def test_an_io_error_that_outlives_a_reopening_is_damage(disk, journal, tmp_path):
    await journal.append(entry(b"before"))
    disk.sick = "fsync"
    assert await refused(journal, b"during") == "disk"
    await ended(journal, "fsync failed")
    assert reported_damage(current(tmp_path).path)


async def test_io_errors_far_apart_are_none(journal, tmp_path, monkeypatch):
    monkeypatch.setattr("dingbridge.ingress.journal.writer._IO_ERROR_AGAIN_S", 0.0)
    for number in range(3):
        with monkeypatch.context() as sick:
            sick.setattr(JournalFile, "keep", raiser(apsw.IOError("disk I/O error")))
            assert await refused(journal, b"during") == "disk"
        await recovers(journal, b"after-%d" % number)
    assert on_disk(tmp_path) == [b"after-0", b"after-1", b"after-2"]


async def test_what_the_relay_reports_ends_the_process(journal, tmp_path):
    await journal.append(entry(b"before"))
    report_damage(current(tmp_path).path, "a page is torn")
    await ended(journal, "a page is torn")


@pytest.mark.parametrize("code", [apsw.SQLITE_IOERR_SHMSIZE, apsw.SQLITE_IOERR_NOMEM])
async def test_a_disk_that_is_too_full_to_reopen_the_journal_is_waited_for_too(
    journal, tmp_path, monkeypatch, code
):
    """SQLite's words for a -shm file that finds no room: with no relay beside it, the file is made again."""
    error, tried = apsw.IOError("disk I/O error"), []
    error.extendedresult = code

    def reopened(*_, **__):
        tried.append(error)
        raise error

    with monkeypatch.context() as sick:
        sick.setattr("dingbridge.ingress.journal.writer.open_checked", reopened)
        sick.setattr(JournalFile, "keep", raiser(apsw.FullError("database or disk is full")))
        assert await refused(journal, b"during") == "disk"
        await eventually(lambda: len(tried) > 2, 10, "it has tried again")
    assert reported_damage(current(tmp_path).path) is None
    await recovers(journal, b"after")
    assert on_disk(tmp_path) == [b"after"]


async def test_a_checkpoint_that_came_from_elsewhere_ends_the_process(journal, tmp_path, monkeypatch):
    """What would be kept next would have a number that the relay has behind it."""
    await journal.append(entry(b"before"))
    with closing(Checkpoint(current(tmp_path).path, journal._file.id)) as checkpoint:
        checkpoint.commit(7)
    with monkeypatch.context() as sick:
        sick.setattr(
            JournalFile, "keep", raiser(apsw.FullError("as any failed commit does, it closes the file"))
        )
        assert await refused(journal, b"during") == "disk"
    await ended(journal, "the checkpoint stands at 7")
    assert reported_damage(current(tmp_path).path) is None, "refused with the remedy, not put aside"


async def test_a_fault_in_a_commit_leaves_no_answer_waiting_and_no_queue_full(journal, tmp_path, monkeypatch):
    monkeypatch.setattr("dingbridge.ingress.journal.writer.COMMIT_TIMEOUT_S", 3600)
    with monkeypatch.context() as sick:
        sick.setattr(journal._metrics.commit_seconds, "observe", raiser(ValueError("a fault of ours")))
        for number in range(3):
            with pytest.raises(ValueError, match="a fault of ours"):
                async with asyncio.timeout(10):
                    await journal.append(entry(b"during-%d" % number))
    assert (journal._queued, journal._queued_bytes) == (0, 0)
    await recovers(journal, b"after")
    assert not journal._ended


async def test_without_its_thread_or_its_watchdog_the_process_ends(tmp_path, monkeypatch):
    for part, words in (("_turn", "writer failed"), ("_expire", "watchdog failed")):
        with monkeypatch.context() as sick:
            sick.setattr(Journal, part, raiser(ValueError("a fault of ours")))
            journal = Journal(tmp_path, Retention(3600, 3600), JournalMetrics(CollectorRegistry()))
            await journal.start()
            with pytest.raises(JournalDamaged, match=words):
                async with asyncio.timeout(10):
                    await journal.until_damaged()
            await journal.stop()


async def test_a_page_is_kept_whole_and_wakes_the_relay(tmp_path):
    woken = []
    journal = Journal(
        tmp_path, Retention(3600, 3600), JournalMetrics(CollectorRegistry()), lambda: woken.append(1)
    )
    await journal.start()
    order = ResyncRequest("page-1", "it may be gone")
    assert await journal.commit([entry(b"a"), entry(b"a"), order], {"recovery/x": "1"}) == [True, False, True]
    assert await journal.notes("recovery/") == {"recovery/x": "1"}
    await journal.commit([], {"recovery/x": None})
    assert await journal.notes("recovery/") == {}
    assert len(woken) == 1
    await journal.stop()


async def test_what_is_old_goes_pass_after_pass(tmp_path, monkeypatch):
    monkeypatch.setattr("dingbridge.ingress.journal.writer._RETENTION_EVERY_S", 0.01)
    journal = Journal(tmp_path, Retention(0, 3600), JournalMetrics(CollectorRegistry()))
    await journal.start()
    deleting = asyncio.ensure_future(journal.prune_regularly())
    with closing(Checkpoint(current(tmp_path).path, journal._file.id)) as checkpoint:
        for seq in (1, 2):
            await journal.append(entry(b"%d" % seq))
            assert on_disk(tmp_path) == [b"%d" % seq], "what waits stays"
            checkpoint.commit(seq)
            await eventually(lambda: on_disk(tmp_path) == [], 10, "it is deleted")
    await journal.stop()
    await end(deleting)


async def test_on_a_slow_disk_what_is_old_goes_too(journal, tmp_path, monkeypatch):
    """A step that takes longer than callbacks may wait is made all the same, and the next one comes soon."""
    for first in range(0, 2_000, 200):
        await asyncio.gather(*(journal.append(entry(b"%d" % n)) for n in range(first, first + 200)))
    with closing(Checkpoint(current(tmp_path).path, journal._file.id)) as checkpoint:
        checkpoint.commit(2_000)
    real = JournalFile.prune_callbacks

    def slowly(*arguments, **how):
        time.sleep(0.3)
        return real(*arguments, **how)

    monkeypatch.setattr("dingbridge.ingress.journal.writer.COMMIT_TIMEOUT_S", 0.1)
    monkeypatch.setattr(JournalFile, "prune_callbacks", slowly)
    journal._retention = Retention(0, 3600)
    deleting = asyncio.ensure_future(journal.prune_regularly())
    await eventually(lambda: on_disk(tmp_path) == [], 9, "all of it is deleted")
    await end(deleting)


async def test_what_retention_meets_does_not_end_the_writer(journal, tmp_path, monkeypatch):
    """A checkpoint that is damaged, a folder that cannot be read, a fault of ours: callbacks are kept."""
    await journal.append(entry(b"before"))
    errors = [
        JournalError("damaged"),
        PermissionError("folder"),
        UnicodeDecodeError("utf-8", b"", 0, 1, ""),
    ]
    raised = []

    def pass_through(*args):
        if len(raised) < len(errors):
            raised.append(errors[len(raised)])
            raise raised[-1]
        yield 0

    monkeypatch.setattr("dingbridge.ingress.journal.writer._RETENTION_EVERY_S", 0.0)
    monkeypatch.setattr("dingbridge.ingress.journal.writer.prune_steps", pass_through)
    deleting = asyncio.ensure_future(journal.prune_regularly())
    for number in range(5):
        assert await journal.append(entry(b"%d" % number))
    await eventually(lambda: raised == errors, 10, "pruned")
    assert await journal.append(entry(b"after"))
    assert journal.fault is None
    await end(deleting)


async def test_a_bad_sector_that_only_retention_meets_is_damage(journal, monkeypatch):
    """Else each pass closes and opens it again, refusing callbacks, and it grows until the disk is full."""
    monkeypatch.setattr("dingbridge.ingress.journal.writer._RETENTION_EVERY_S", 0.0)
    monkeypatch.setattr(
        "dingbridge.ingress.journal.writer.prune_steps",
        failing_steps(apsw.IOError("a bad sector among what was published")),
    )
    deleting = asyncio.ensure_future(journal.prune_regularly())
    await ended(journal, "a bad sector")
    await end(deleting)


async def test_nothing_that_fails_ends_the_writer(journal, monkeypatch):
    """Neither a file that cannot be closed, nor a disk that refuses again and again."""
    monkeypatch.setattr(JournalFile, "close", raiser(OSError("close")))
    looks = []

    def refuses(folder, *, failed):
        looks.append(folder)
        raise apsw.FullError("no space left on device")

    monkeypatch.setattr("dingbridge.ingress.journal.writer.open_checked", refuses)
    monkeypatch.setattr(JournalFile, "keep", raiser(apsw.IOError("disk I/O error")))
    assert await refused(journal, b"during") == "disk"
    await eventually(lambda: len(looks) > 1, 10, "it has tried again")
    assert await refused(journal, b"during 3") == "disk"
    monkeypatch.undo()
    await recovers(journal, b"after")
    assert journal.fault is None


def raiser(error):
    def call(*args, **kwargs):
        raise error

    return call


def failing_steps(error):
    def steps(*args):
        raise error
        yield 0

    return steps


async def test_what_a_verb_raises_is_for_who_asked_alone(journal, monkeypatch):
    monkeypatch.setattr(
        "dingbridge.ingress.journal.writer.prune_steps", failing_steps(JournalError("cannot be read"))
    )
    outcomes = await asyncio.gather(
        journal.prune(0), journal.append(entry(b"callback")), journal.probe(), return_exceptions=True
    )
    assert isinstance(outcomes[0], JournalError)
    assert not isinstance(outcomes[0], JournalUnavailable)
    assert outcomes[1:] == [True, None]
    assert journal.fault is None


async def test_a_checkpoint_that_is_not_what_was_written_is_damage(journal, tmp_path):
    with closing(Checkpoint(current(tmp_path).path, journal._file.id)) as checkpoint:
        checkpoint.db.execute("UPDATE checkpoint SET seq = 7")
    with pytest.raises(JournalUnavailable):
        await journal.prune(0)
    await ended(journal, "does not fit its checksum")


async def test_a_disk_that_fails_under_a_verb_refuses_no_callback_that_is_kept(
    journal, tmp_path, monkeypatch
):
    monkeypatch.setattr(JournalFile, "probe", raiser(apsw.IOError("disk I/O error")))
    kept, probed = await asyncio.gather(
        journal.append(entry(b"kept")), journal.probe(), return_exceptions=True
    )
    assert kept is True
    assert isinstance(probed, JournalUnavailable)
    assert journal.fault
    assert on_disk(tmp_path) == [b"kept"]
    monkeypatch.undo()
    await recovers(journal, b"after")


@pytest.mark.parametrize(("limit", "most"), [("_MAX_QUEUED", 3), ("_MAX_QUEUED_BYTES", 3 * len(b"slow-0"))])
async def test_what_a_stalled_disk_holds_up_is_bounded(disk, journal, monkeypatch, limit, most):
    """What was refused for slowness is in memory until the disk has taken it."""
    monkeypatch.setattr("dingbridge.ingress.journal.writer.COMMIT_TIMEOUT_S", 0.1)
    monkeypatch.setattr(f"dingbridge.ingress.journal.writer.{limit}", most)
    disk.sick = "stalled"
    for number in range(3):
        assert await refused(journal, b"slow-%d" % number) == "too_slow"
    for _ in range(3):
        assert await refused(journal, b"slow-3") == "queue_full"
    disk.sick = None
    disk.thaw.set()
    await recovers(journal, b"slow-3")
    assert (journal._queued, journal._queued_bytes) == (0, 0)


@pytest.mark.parametrize("hours", [-1, 1e300, float("nan"), float("inf"), 10**400, True, "1"])
def test_hours_that_are_none_are_refused(hours):
    with pytest.raises(BridgeError, match="older_than_hours must be"):
        older_than_s(IngressSettings(), {"older_than_hours": hours})
    assert older_than_s(IngressSettings(), {"older_than_hours": 2}) == 7200


async def test_when_the_last_callback_came_never_goes_back(tmp_path):
    """What is put back or recovered was received long ago: no silence of DingTalk."""
    metrics = JournalMetrics(registry := CollectorRegistry())
    journal = Journal(tmp_path, Retention(3600, 3600), metrics)
    await journal.start()
    at_ms = 1_764_000_000_000
    await journal.append(NewCallback(at_ms, "default", "http", b"now", b"now"))
    for entry in (
        NewCallback(at_ms - 9_000_000, "default", "http", b"put back", b"", keep_again=True),
        NewCallback(at_ms + 9_000_000, "default", "http", b"put back too", b"", keep_again=True),
        NewCallback(at_ms - 1, "default", "http", b"an instant earlier", b"earlier"),
        NewCallback(at_ms + 5, "default", "failed-list", b"recovered", b"recovered"),
    ):
        await journal.append(entry)
        assert registry.get_sample_value("dingbridge_last_callback_timestamp_seconds") == at_ms / 1000
    await journal.append(NewCallback(at_ms + 1000, "default", "http", b"next", b"next"))
    assert registry.get_sample_value("dingbridge_last_callback_timestamp_seconds") == at_ms / 1000 + 1
    await journal.stop()

"""The journal's writer: ``append`` returns only for what is on the disk, and a sick disk means refusal."""

import asyncio
import threading
import time
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from prometheus_client import CollectorRegistry

from dingbridge.errors import BridgeError
from dingbridge.settings import IngressSettings
from ingress.admin.routes import older_than_s
from ingress.errors import JournalError, JournalUnavailable
from ingress.journal.checkpoint import Checkpoint
from ingress.journal.directory import current, damaged, folders
from ingress.journal.metrics import JournalMetrics
from ingress.journal.retention import Retention
from ingress.journal.rows import NewCallback, ResyncRequest
from ingress.journal.store import JournalFile
from ingress.journal.writer import Health, Journal
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


@pytest.mark.parametrize("sickness", ["fsync", "full"])
async def test_a_sick_disk_refuses_and_comes_back_by_itself(disk, journal, tmp_path, sickness):
    await journal.append(entry(b"before"))
    disk.sick = sickness
    assert await refused(journal, b"during") == "disk"
    assert await refused(journal, b"during-2") == "disk"
    assert journal.fault
    disk.sick = None
    await recovers(journal, b"after")
    assert journal.fault is None
    kept = on_disk(tmp_path)
    assert {b"before", b"after"} <= set(kept)
    assert len(kept) == len(set(kept))


async def test_however_long_it_is_sick_the_words_say_what_to_do(disk, journal, tmp_path):
    disk.sick = "full"
    await refused(journal, b"first")
    for _ in range(3):
        journal._reopen_at = 0.0
        await refused(journal, b"again")
        assert journal._file is None
        assert journal.fault is not None
        assert journal.fault.endswith(f"free or repair the disk under {tmp_path}")


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


class Relay:
    """Notes which folders there were when it had to let go, and when it might begin."""

    def __init__(self, root):
        self._root = root
        self.calls = []

    async def stop_relay(self):
        self.calls.append(("stop", len(damaged(self._root))))

    async def start_relay(self):
        self.calls.append(("start", len(damaged(self._root))))


def kept_anew(root):
    """What is in the current journal behind its order to look anew."""
    with closing(JournalFile(current(root).journal, read_only=True)) as file:
        first, *rows = file.read(0, max_rows=999, max_bytes=1 << 30)
    order = ResyncRequest.of(first)
    assert (order.app, order.part) == (None, "all"), "everybody, for every app"
    return [row.body for row in rows]


async def test_a_damaged_journal_is_put_aside_whole_and_a_new_one_begun(tmp_path):
    relay = Relay(tmp_path)
    journal = Journal(tmp_path, Retention(3600, 3600), JournalMetrics(CollectorRegistry()), relay=relay)
    await journal.start()
    await journal.append(entry(b"before"))
    Checkpoint(current(tmp_path).path, journal._file.id).close()
    journal._fail(apsw.IOError("as after a failed fsync"))  # closes the file, as any failed commit does
    path = current(tmp_path).journal
    path.write_bytes(b"no database" * 1000)
    await recovers(journal, b"after")
    (aside,) = damaged(tmp_path)
    assert {p.name for p in aside.path.iterdir()} >= {"journal.db", "checkpoint.db"}
    assert kept_anew(tmp_path) == [b"after"]
    assert relay.calls == [("stop", 0), ("start", 1)]
    await journal.stop()


@pytest.mark.parametrize("error", [apsw.CorruptError("malformed"), apsw.IOError("a bad sector")])
async def test_damage_that_only_a_callback_meets_is_put_aside_as_well(journal, tmp_path, monkeypatch, error):
    """The page of a probe is whole, and so the file would be opened again and again."""
    await journal.append(entry(b"before"))
    keep = JournalFile.keep

    def sick(self, callbacks):
        if not damaged(tmp_path):
            raise error
        return keep(self, callbacks)

    monkeypatch.setattr(JournalFile, "keep", sick)
    with pytest.raises(JournalUnavailable):
        await journal.append(entry(b"first"))
    await recovers(journal, b"after")
    assert len(damaged(tmp_path)) == 1
    assert kept_anew(tmp_path) == [b"after"]


async def test_an_io_error_that_does_not_outlive_one_reopening_leaves_the_journal_where_it_is(
    journal, tmp_path, monkeypatch
):
    for number in range(3):
        with monkeypatch.context() as sick:
            sick.setattr(JournalFile, "keep", raiser(apsw.IOError("disk I/O error")))
            assert await refused(journal, b"during") == "disk"
        await recovers(journal, b"after-%d" % number)
        await eventually(lambda: journal._health is Health.SOUND, 10, "it has been tried as a whole")
    assert not damaged(tmp_path)
    assert on_disk(tmp_path) == [b"after-0", b"after-1", b"after-2"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # apsw says so of xSync, too
@pytest.mark.parametrize("sickness", ["full", "fsync"])
async def test_where_no_new_journal_can_be_made_nothing_is_renamed(disk, tmp_path, sickness):
    relay = Relay(tmp_path)
    journal = Journal(tmp_path, Retention(3600, 3600), JournalMetrics(CollectorRegistry()), relay=relay)
    await journal.start()
    await journal.append(entry(b"before"))
    disk.sick = sickness
    journal.report_damage("SQLite says so")
    await eventually(lambda: journal._health is Health.DAMAGED, 10, "to be put aside")
    for number in range(3):
        journal._reopen_at = 0.0
        assert await refused(journal, b"%d" % number) == "disk"
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["current"]
    assert "free or repair the disk" in (journal.fault or "")
    assert relay.calls == [], "it goes on with what reads"
    disk.sick = None
    await recovers(journal, b"after")
    assert len(damaged(tmp_path)) == 1
    assert relay.calls == [("stop", 0), ("start", 1)]
    await journal.stop()


async def test_a_folder_that_cannot_be_renamed_means_503_and_words(journal, tmp_path, monkeypatch):
    await journal.append(entry(b"before"))
    monkeypatch.setattr(Path, "rename", raiser(PermissionError(13, "Permission denied")))
    journal.report_damage("SQLite says so")
    await eventually(lambda: "Permission denied" in (journal.fault or ""), 10, "it is said")
    assert await refused(journal, b"during") == "disk"
    monkeypatch.undo()
    await recovers(journal, b"after")
    assert kept_anew(tmp_path) == [b"after"]


async def test_a_disk_that_damages_each_journal_does_not_fill_with_them(journal, tmp_path):
    journal.report_damage("SQLite says so")
    await eventually(lambda: damaged(tmp_path), 10, "put aside")
    await recovers(journal, b"after")
    journal.report_damage("SQLite says so again")
    await eventually(lambda: "replace the disk" in (journal.fault or ""), 10, "it is said")
    assert await refused(journal, b"during") == "disk"
    assert len(damaged(tmp_path)) == 1


async def test_damage_that_is_reported_twice_is_put_aside_once(journal, tmp_path):
    await journal.append(entry(b"before"))
    for _ in range(3):
        journal.report_damage("the relay says so")
    await eventually(lambda: damaged(tmp_path), 10, "put aside")
    await recovers(journal, b"after")
    assert journal.fault is None
    assert len(damaged(tmp_path)) == 1


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


async def test_a_full_queue_refuses(disk, journal, monkeypatch):
    monkeypatch.setattr("ingress.journal.writer._MAX_QUEUED", 3)
    disk.sick = "stalled"
    waiting = [asyncio.ensure_future(journal.append(entry(b"%d" % n))) for n in range(3)]
    await asyncio.sleep(0)
    assert await refused(journal, b"one too many") == "queue_full"
    disk.sick = None
    disk.thaw.set()
    await asyncio.gather(*waiting)


async def test_what_retention_meets_does_not_end_the_writer(journal, tmp_path, monkeypatch):
    """A checkpoint that is damaged, a folder that cannot be read, a fault of ours: callbacks are kept."""
    await journal.append(entry(b"before"))
    errors = [
        JournalError("damaged"),
        PermissionError("folder"),
        UnicodeDecodeError("utf-8", b"", 0, 1, ""),
    ]
    raised = []

    def prune(*args):
        if len(raised) < len(errors):
            raised.append(errors[len(raised)])
            raise raised[-1]
        return 0, False

    monkeypatch.setattr("ingress.journal.writer._RETENTION_EVERY_S", 0.0)
    monkeypatch.setattr("ingress.journal.writer.RetentionJob.step", prune)
    journal._retention_at = 0.0
    for number in range(5):
        assert await journal.append(entry(b"%d" % number))
    await eventually(lambda: raised == errors, 10, "pruned")
    assert await journal.append(entry(b"after"))
    assert journal.fault is None


async def test_a_bad_sector_that_only_retention_meets_is_put_aside(journal, tmp_path, monkeypatch):
    """Else each pass closes and opens it again, refusing callbacks, and it grows until the disk is full."""

    def prune(self, file):
        if not damaged(tmp_path):
            raise apsw.IOError("a bad sector among what was published")
        return 0, False

    monkeypatch.setattr("ingress.journal.writer.RetentionJob.step", prune)
    journal._retention_at = 0.0

    async def goes_on():
        while not damaged(tmp_path):
            journal._reopen_at = 0.0
            await recovers(journal, b"%d" % time.monotonic_ns())

    await asyncio.wait_for(goes_on(), 30)
    await recovers(journal, b"after")
    assert journal.fault is None


async def test_nothing_that_fails_ends_the_writer(journal, tmp_path, monkeypatch):
    """Neither a file that cannot be closed, nor a fault of ours on the way back."""
    monkeypatch.setattr(JournalFile, "close", raiser(OSError("close")))
    looks = []

    def fault(root):
        looks.append(root)
        raise ValueError("a fault of ours")

    monkeypatch.setattr("ingress.journal.writer.reopen", fault)
    monkeypatch.setattr(JournalFile, "keep", raiser(apsw.IOError("disk I/O error")))
    assert await refused(journal, b"during") == "disk"
    assert await refused(journal, b"during 2") == "disk"
    await eventually(lambda: len(looks) > 1, 10, "it has tried again")
    assert await refused(journal, b"during 3") == "disk"
    monkeypatch.undo()
    await recovers(journal, b"after")
    assert journal.fault is None


def raiser(error):
    def call(*args, **kwargs):
        raise error

    return call


async def test_what_a_verb_raises_is_for_who_asked_alone(journal, tmp_path):
    checkpoint = Checkpoint(current(tmp_path).path, journal._file.id)
    checkpoint.db.execute("UPDATE checkpoint SET seq = 7")
    outcomes = await asyncio.gather(
        journal.prune(0), journal.append(entry(b"callback")), journal.probe(), return_exceptions=True
    )
    assert isinstance(outcomes[0], JournalError)
    assert not isinstance(outcomes[0], JournalUnavailable)
    assert outcomes[1:] == [True, None]
    assert journal.fault is None
    assert not damaged(tmp_path)
    checkpoint.close()


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
    monkeypatch.setattr("ingress.journal.writer.COMMIT_TIMEOUT_S", 0.1)
    monkeypatch.setattr(f"ingress.journal.writer.{limit}", most)
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
        NewCallback(at_ms - 9_000_000, "default", "http", b"put back", b"", unconditional=True),
        NewCallback(at_ms + 9_000_000, "default", "http", b"put back too", b"", unconditional=True),
        NewCallback(at_ms - 1, "default", "http", b"an instant earlier", b"earlier"),
        NewCallback(at_ms + 5, "default", "failed-list", b"recovered", b"recovered"),
    ):
        await journal.append(entry)
        assert registry.get_sample_value("dingbridge_last_callback_timestamp_seconds") == at_ms / 1000
    await journal.append(NewCallback(at_ms + 1000, "default", "http", b"next", b"next"))
    assert registry.get_sample_value("dingbridge_last_callback_timestamp_seconds") == at_ms / 1000 + 1
    await journal.stop()

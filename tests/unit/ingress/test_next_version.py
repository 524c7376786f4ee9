"""A made-up next version of the journal's files: up at its start, refused by the one before, and back."""

import json
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import apsw
import pytest
from dingbridge.ingress.admin.downgrade import downgrade
from dingbridge.ingress.journal.checkpoint import Checkpoint, Parked
from dingbridge.ingress.journal.directory import (
    JournalFolder,
    current,
    damaged_name,
    ingress_lock,
    relay_lock,
)
from dingbridge.ingress.journal.importing import Importer
from dingbridge.ingress.journal.startup import open_checked, open_current
from dingbridge.ingress.journal.store import JournalFile
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from dingbridge.api_budget import ApiCalls
from dingbridge.api_budget import file as budget
from dingbridge.api_budget.file import FileStore
from dingbridge.errors import BridgeError
from dingbridge.ingress.errors import JournalLocked, JournalNewer, JournalOlder
from dingbridge.ingress.journal import checkpoint as checkpoints
from dingbridge.ingress.journal import startup, store
from dingbridge.ingress.journal.inspect import journal_status
from dingbridge.ingress.journal.retention import Retention
from dingbridge.ingress.journal.rows import NewCallback
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.metrics import JournalMetrics, RecoveryMetrics
from dingbridge.ingress.recovery.poller import settle
from dingbridge.ingress.relay.publisher import Publisher
from dingbridge.ingress.relay.reading import JournalReader
from dingbridge.ingress.relay.status import RelayStatus
from dingbridge.migrations.file_format import FileFormat, Step
from tests.unit.ingress.filled import fill
from tests.unit.ingress.relay.fakes import settings

STEPS = {
    store: Step(
        "ALTER TABLE callbacks ADD COLUMN region TEXT; CREATE TABLE regions (name TEXT)",
        "ALTER TABLE callbacks DROP COLUMN region; DROP TABLE regions",
    ),
    checkpoints: Step(
        "ALTER TABLE parked ADD COLUMN tried INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE parked DROP COLUMN tried",
    ),
    budget: Step("ALTER TABLE calls ADD COLUMN plan TEXT", "ALTER TABLE calls DROP COLUMN plan"),
}


def next_format(module) -> FileFormat:
    known = module.FORMAT
    return FileFormat(known.first, known.schema, (*known.steps, STEPS[module]))


class Versions:
    """Makes this process be the next version, or this one again."""

    def __init__(self, monkeypatch) -> None:
        self._patch = monkeypatch

    def next(self) -> None:
        row_of, columns_of, insert_sql = store.row_of, store.columns_of, checkpoints.PARK
        for module in STEPS:
            self._patch.setattr(module, "FORMAT", next_format(module))
        self._patch.setattr(store, "row_of", lambda *columns: row_of(*columns[:7]))
        self._patch.setattr(store, "columns_of", lambda seq, one: (*columns_of(seq, one), "cn"))
        self._patch.setattr(checkpoints, "PARK", insert_sql.replace("?)", "?, 1)"))

    def this(self) -> None:
        self._patch.undo()


@pytest.fixture
def version():
    with pytest.MonkeyPatch.context() as patch:
        yield Versions(patch)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Five callbacks as this version keeps them: three are published, of which one is parked."""
    with closing(fill(tmp_path, 5)) as file, closing(Checkpoint(current(tmp_path).path, file.id)) as point:
        point.commit(3, [Parked(2, 0, "t", "rights", 1)])
    return tmp_path


def keep(root: Path, body: bytes) -> str:
    """Start an ingress on it, and keep one callback; the journal's id."""
    with closing(open_current(root)) as file:
        file.keep([NewCallback(9, "default", "http", body, body)])
        return file.id


def bodies(root: Path) -> list[bytes]:
    with closing(JournalReader(current(root).path)) as reader:
        return [row.body for row in reader.read(0).rows if row.intact]


def schema(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return sorted(sql for (sql,) in db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"))


def test_a_journal_and_its_checkpoint_go_up_and_back(root, tmp_path, version):
    folder = current(root)
    before = {path: schema(path) for path in (folder.journal, folder.checkpoint)}
    version.next()
    id_ = keep(root, b"of the next")
    with closing(Checkpoint(folder.path, id_)) as point:
        assert point.seq() == 3
        point.commit(4, [Parked(4, 0, "t", "rights", 2)])
    assert bodies(root) == [b"0", b"1", b"2", b"3", b"4", b"of the next"]
    new = tmp_path / "new"
    new.mkdir()
    keep(new, b"1")
    for path in before:
        assert path.name == "checkpoint.db" or schema(path) == schema(current(new).journal)

    version.this()
    with pytest.raises(JournalNewer, match=r"run `dingbridge journal downgrade journal.db 3`"):
        open_current(root)
    version.next()
    assert downgrade(root, "journal.db", 3) == 4
    version.this()
    with pytest.raises(JournalNewer, match=r"run `dingbridge journal downgrade checkpoint.db 2`"):
        open_current(root)
    version.next()
    assert downgrade(root, "checkpoint.db", 2) == 3
    version.this()
    assert keep(root, b"of this one") == id_
    assert {path: schema(path) for path in before} == before
    assert bodies(root)[5:] == [b"of the next", b"of this one"]
    with closing(Checkpoint(folder.path, id_)) as point:
        assert (point.seq(), point.parked_seqs()) == (4, {2, 4})


def test_who_only_reads_needs_no_step(root, version):
    """A newer relay, beside an ingress that is not restarted yet; commands; the console."""
    version.next()
    assert bodies(root) == [b"0", b"1", b"2", b"3", b"4"]
    assert journal_status(root).waiting == 2
    with pytest.raises(JournalOlder, match="start this version's ingress, which brings it up"):
        JournalFile(current(root).journal)
    lock = ingress_lock(root)
    lock.acquire()  # the older ingress
    try:
        with pytest.raises(JournalOlder, match=r"checkpoint\.db was written by an older dingbridge"):
            Publisher(settings(), current(root).path, RelayStatus())
    finally:
        lock.release()
    version.this()
    assert bodies(root) == [b"0", b"1", b"2", b"3", b"4"]
    assert journal_status(root).waiting == 2, "the older ingress's files are as they were"
    version.next()
    Publisher(settings(), current(root).path, RelayStatus())
    version.this()
    with pytest.raises(JournalNewer):
        journal_status(root)


def test_a_reader_does_not_stop_the_way_back(root, version):
    """As a console, or a back-up: SQLite cannot empty its WAL then, and need not."""
    version.next()
    keep(root, b"of the next")
    with closing(JournalFile(current(root).journal, read_only=True)) as reader:
        reader.db.execute("BEGIN; SELECT count(*) FROM callbacks").fetchall()
        assert [downgrade(root, "journal.db", 3), downgrade(root, "checkpoint.db", 2)] == [4, 3]
    version.this()
    keep(root, b"of this one")


def test_a_journal_is_not_brought_up_while_an_older_relay_reads_it(root, version, monkeypatch):
    monkeypatch.setattr(startup, "_RELAY_ENDS_WITHIN_S", 0.0)
    lock = relay_lock(current(root).path)
    lock.acquire()
    try:
        version.next()
        with pytest.raises(JournalLocked, match=r"publishes .* just now"):
            open_current(root)
        with pytest.raises(JournalLocked):
            downgrade(root, "journal.db", 3)
    finally:
        lock.release()
    version.this()
    keep(root, b"nothing was changed")


def test_a_step_that_fails_leaves_everything_as_it_was(root, version, monkeypatch):
    version.next()
    broken = Step("CREATE TABLE half (a); SELECT * FROM nowhere", "")
    monkeypatch.setattr(store, "FORMAT", FileFormat(3, store.FORMAT.schema, (STEPS[store], broken)))
    folder, before = current(root), schema(current(root).journal)
    with pytest.raises(apsw.SQLError):
        JournalFile(folder.journal, bring_up=True)
    assert schema(folder.journal) == before


async def test_a_damaged_folder_of_the_version_before_is_imported(root, version):
    current(root).path.rename(damaged_name(root, datetime.now(UTC)))
    (aside,) = (JournalFolder(path) for path in root.glob("damaged-*"))
    version.next()
    journal = Journal(root, Retention(1, 1), JournalMetrics(CollectorRegistry()))
    await journal.start()
    try:
        state = await Importer(root, journal, 0).bring_in(aside)
    finally:
        await journal.stop()
    assert (state.rows, state.unread) == (3, 0), "the two that wait, and the parked one"


@pytest.mark.parametrize(
    ("file", "to", "words"),
    [
        ("index.db", 1, "no index.db to rewrite"),
        ("journal.db", 2, "version 3, and can be taken back to one from 3 to 3"),
        ("journal.db", 4, "version 3, and can be taken back to one from 3 to 3"),
    ],
)
def test_what_cannot_be_taken_back_is_said(root, file, to, words):
    with pytest.raises(BridgeError, match=words):
        downgrade(root, file, to)
    keep(root, b"it works")


def test_of_two_versions_that_start_together_the_newer_one_stays(tmp_path):
    """As two consumers may with the count of API calls, which both have found to be older."""
    steps = tuple(Step(f"ALTER TABLE a ADD COLUMN {name}", "") for name in "cd")
    later = FileFormat(3, "CREATE TABLE a (b)", steps)
    with closing(apsw.Connection(str(tmp_path / "a.db"))) as db:
        later.create(db)
        FileFormat(3, later.schema, steps[:1]).bring_up(db)
        assert int(db.pragma("user_version")) == later.version


async def test_the_count_of_api_calls_goes_up(tmp_path, version):
    async def spend() -> int:
        calls = ApiCalls(budget.FileStore(tmp_path / "calls.db"), app="a", limit=0)
        try:
            await calls.spend("x", 1)
            return (await calls.spent())["calls"]
        finally:
            await calls.close()

    assert await spend() == 1
    version.next()
    assert [await spend(), await spend()] == [2, 3]


# -- Files that a newer version has written: refused in words, by everybody that opens them, and left as they


UNREADABLE = """
CREATE TABLE newer (a);
CREATE INDEX newer_by_a ON newer (a);
PRAGMA writable_schema = 1;
UPDATE sqlite_schema SET sql = 'CREATE INDEX newer_by_a ON newer (later_function(a))'
  WHERE name = 'newer_by_a';
"""


@pytest.fixture(params=["", UNREADABLE], ids=["readable", "unreadable"])
def newer(request, tmp_path):
    """``newer("journal.db")``: a folder as a crash leaves it in which that file is of a newer version, with
    all that this says still in the WAL."""

    def make(name: str) -> Path:
        old, root = tmp_path / "old", tmp_path / "root"
        old.mkdir()
        with closing(fill(old, 5)) as file:
            with closing(Checkpoint(current(old).path, file.id)) as checkpoint:
                checkpoint.commit(3)
            with closing(apsw.Connection(str(current(old).path / name))) as db:
                db.execute("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0")
                db.execute(request.param)
                db.execute("PRAGMA user_version = 99")
                shutil.copytree(old, root)
        assert (current(root).path / f"{name}-wal").stat().st_size
        for shm in root.rglob("*-shm"):
            shm.unlink()
        return root

    return make


def content(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*.db*") if not path.name.endswith("-shm")}


@pytest.mark.parametrize("start", [open_current, lambda root: open_checked(current(root), failed=True)])
@pytest.mark.parametrize("name", ["journal.db", "checkpoint.db"])
def test_an_ingress_refuses_it(newer, start, name):
    root = newer(name)
    before = content(root)
    with pytest.raises(JournalNewer, match=rf"{name} was written by a newer .* start the newer one, nothing"):
        start(root)
    after = content(root)
    if name == "checkpoint.db":  # the journal is ours, and may have been tidied up
        before, after = ({p: c for p, c in each.items() if name in p} for each in (before, after))
    assert after == before


async def test_a_writer_does_not_start(newer):
    root = newer("journal.db")
    journal = Journal(root, Retention(1, 1), JournalMetrics(CollectorRegistry()))
    before = content(root)
    with pytest.raises(JournalNewer):
        await journal.start()
    assert content(root) == before


READERS = {
    "journal.db": (JournalReader, lambda folder: JournalFile(folder / "journal.db")),
    "checkpoint.db": (Checkpoint, lambda folder: Checkpoint(folder, read_only=True)),
}


@pytest.mark.parametrize("name", READERS)
def test_a_relay_and_who_only_reads_refuse_it(newer, name):
    root = newer(name)
    before = content(root)
    for opens in READERS[name]:
        with pytest.raises(JournalNewer):
            opens(current(root).path)
        assert content(root) == before


@pytest.mark.parametrize("name", ["journal.db", "checkpoint.db"])
async def test_it_is_neither_imported_nor_removed(newer, name):
    root = newer(name)
    aside = JournalFolder(damaged_name(root, datetime.now(UTC)))
    current(root).path.rename(aside.path)
    before = content(root)
    journal = Journal(root, Retention(1, 1), JournalMetrics(CollectorRegistry()))
    await journal.start()
    try:
        importer = Importer(root, journal, 0)
        with pytest.raises(JournalNewer):
            await importer.bring_in(aside)
        assert await importer.remove(0, forget=True) == []
    finally:
        await journal.stop()
    assert content(root).items() >= before.items()


async def test_notes_of_a_later_version_that_say_more_are_understood(tmp_path):
    """A note that says something else raises the journal's version, which is refused as a whole."""
    journal = Journal(tmp_path, Retention(1, 1), JournalMetrics(CollectorRegistry()))
    await journal.start()
    try:
        said = {"app": "default", "at_ms": 2, "since_ms": 1, "later": "field"}
        await journal.commit([], {"recovery/intent/one": json.dumps(said)})
        assert await settle(journal, RecoveryMetrics(CollectorRegistry())) == 1
        assert await journal.notes("recovery/intent/") == {}
    finally:
        await journal.stop()


async def test_a_newer_count_of_api_calls_is_left_alone_and_stops_no_call(tmp_path):
    path = tmp_path / "api-calls.db"
    with closing(apsw.Connection(str(path))) as db:
        db.execute("CREATE TABLE calls (other)")
        db.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with capture_logs() as logs:
        await ApiCalls(FileStore(path), app="a", limit=1).spend("x", 0)
    assert path.read_bytes() == before
    (told,) = logs
    assert told["event"] == "api_calls.not_counted"
    assert "newer" in told["reason"]

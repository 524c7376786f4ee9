"""Files that a newer version has written: refused in words, by everybody that opens them, and left as they
are to the byte, also where this version cannot even read how the newer one keeps things.
"""

import json
import shutil
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import apsw
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from dingbridge.api_budget import ApiCalls
from dingbridge.api_budget.file import FileStore
from dingbridge.ingress.errors import JournalNewer
from dingbridge.ingress.journal.checkpoint import Checkpoint
from dingbridge.ingress.journal.directory import JournalFolder, current, damaged_name
from dingbridge.ingress.journal.importing import Importer
from dingbridge.ingress.journal.retention import Retention
from dingbridge.ingress.journal.startup import open_checked, open_current
from dingbridge.ingress.journal.store import JournalFile
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.metrics import JournalMetrics, RecoveryMetrics
from dingbridge.ingress.recovery.poller import settle
from dingbridge.ingress.relay.reading import JournalReader
from tests.unit.ingress.filled import fill

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

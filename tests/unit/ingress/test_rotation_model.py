"""Journal files that are begun, fail, come back, are drained and removed, in any order: nothing that was
answered is deleted before it is in Kafka.

Writer, publisher and pruning are the real ones, called one after the other; the disk refuses as it is told.
The publisher also looks into the folder in the middle of what the writer does, as another process may.
"""

import os
import shutil
import tempfile
import time
from pathlib import Path

import apsw
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from prometheus_client import CollectorRegistry

from ingress.journal.checkpoint import CursorFile, Parked
from ingress.journal.directory import journal_files
from ingress.journal.retention import Retention
from ingress.journal.startup import begin_file, open_newest
from ingress.journal.store import JournalFile, NewCallback
from ingress.journal.writer import Journal
from ingress.metrics import JournalMetrics
from ingress.relay.reading import JournalReader

LONG = os.environ.get("DINGBRIDGE_LONG") == "1"
AT_ONCE = Retention(callbacks_s=0, seen_s=86_400)


class Publisher:
    """What ``Publisher`` does with reader and cursor: in order, behind the cursor, finishing when idle."""

    def __init__(self, folder: Path, published: set[bytes]) -> None:
        self._cursor = CursorFile(folder)
        self._reader = JournalReader(folder, self._cursor)
        self._published = published

    def look(self, most: int = 0, park: bool = False) -> None:
        """Publish at most so many callbacks of a file, park the next if asked, go on if it is drained."""
        file = self._reader.current()
        if file is None:
            return
        position = self._cursor.seq(file.id)
        rows = self._reader.read(file, position)[: most + park]
        if rows:
            assert all(row.intact for row in rows)
            parked = [Parked(file.id, rows[-1].seq, 0, "topic", "rights", 1)] if len(rows) > most else []
            self._published |= {row.body for row in rows[:most]}
            self._cursor.move(file.id, rows[-1].seq, parked)
        self._reader.finish(self._cursor.seq(file.id))

    def retry(self) -> None:
        """What is parked gets through."""
        for parked in self._cursor.parked():
            row = self._reader.row(parked.journal, parked.seq)
            assert row is not None, "the file of a parked callback has gone"
            assert row.intact
            self._published.add(row.body)
            self._cursor.unpark([parked])

    def drain(self) -> None:
        self.retry()
        for _ in range(100):
            self.look(1_000)

    def close(self) -> None:
        self._reader.close()
        self._cursor.close()


class Rotation(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.folder = Path(tempfile.mkdtemp(prefix="rotation-"))
        self.answered: set[bytes] = set()
        self.published: set[bytes] = set()
        self.ill: set[str] = set()
        self.looks = False
        self.appended = 0
        self._real = {name: getattr(JournalFile, name) for name in ("probe", "checkpoint_truncate", "keep")}
        for name in self._real:
            setattr(JournalFile, name, self._refusing(name))
        self.publisher = Publisher(self.folder, self.published)
        self.start()

    def _refusing(self, name):
        real = self._real[name]

        def method(file, *args):
            if self.looks:
                self.publisher.look(1_000)
            if name in self.ill or self._kind(file.path) in self.ill:
                raise apsw.IOError("disk I/O error")
            return real(file, *args)

        return method

    @staticmethod
    def _kind(path: Path) -> str:
        return "unborn" if path.name.endswith("-new") else path.name

    def start(self) -> None:
        metrics = JournalMetrics(CollectorRegistry())
        self.journal = Journal(self.folder, AT_ONCE, metrics)
        self.journal._file = self.well(lambda: open_newest(self.folder))

    def well(self, call):
        ill, self.ill = self.ill, set()
        try:
            return call()
        finally:
            self.ill = ill

    @precondition(lambda self: self.journal._file is not None)
    @rule(count=st.integers(1, 4))
    def append(self, count):
        now = int(time.time() * 1000)
        bodies = [b"%d" % (self.appended + n) for n in range(count)]
        self.appended += count
        try:
            self.journal._file.keep([NewCallback(now, "default", "http", b, b"key-" + b) for b in bodies])
        except apsw.Error as error:
            self.journal._fail(error)
        else:
            self.answered |= set(bodies)

    @rule(
        refuses=st.sampled_from(["the written file", "every file", "new files", "checkpoints"]),
        heals=st.booleans(),
        looks=st.booleans(),
    )
    def fail(self, refuses, heals, looks):
        """The disk refuses once, and the writer looks where it can go on; then it looks once more."""
        files = journal_files(self.folder)
        if refuses == "new files":
            self.ill = {"unborn"}
        elif refuses == "the written file":
            self.ill = {files[-1].name}
        else:
            self.ill = {"checkpoint_truncate"} if refuses == "checkpoints" else {"probe"}
        self.journal._fail(apsw.IOError("disk I/O error"))
        self.reopen(looks)
        if heals:
            self.ill = set()
            self.reopen(looks)

    def reopen(self, looks):
        if self.journal._file is None:
            self.journal._reopen_at = 0.0
            self.looks = looks
            self.journal._reopen()
            self.looks = False

    @rule(looks=st.booleans())
    def heal(self, looks):
        self.ill = set()
        self.reopen(looks)

    @rule(most=st.integers(0, 5), park=st.booleans())
    def publish(self, most, park):
        self.publisher.look(most, park)

    @rule()
    def retry(self):
        self.publisher.retry()

    @precondition(lambda self: self.journal._file is not None)
    @rule()
    def prune(self):
        self.journal._pruning.step(self.journal._file)

    @rule()
    def restart_publisher(self):
        self.publisher.close()
        self.publisher = Publisher(self.folder, self.published)

    @rule()
    def cursor_is_moved_away(self):
        """By an operator, since it is damaged: all that still stands here is published again."""
        self.publisher.close()
        for path in self.folder.glob("cursor.db*"):
            path.unlink()
        self.publisher = Publisher(self.folder, self.published)

    @rule()
    def restart_writer(self):
        if self.journal._file is not None:
            self.journal._file.close()
        self.start()

    @rule()
    def newest_is_taken_away(self):
        """By an operator, since it holds nothing: the older one is written again."""
        newest = journal_files(self.folder)[-1]
        file = JournalFile(newest, read_only=True)
        held = file.highest_seq()
        file.close()
        if held or len(journal_files(self.folder)) == 1:
            return
        if self.journal._file is not None:
            self.journal._file.close()
        for path in self.folder.glob(f"{newest.name}*"):
            path.unlink()
        self.restart_publisher()
        self.journal._file = None
        self.start()

    @invariant()
    def all_that_waits_stands_in_the_folder(self):
        if not hasattr(self, "publisher"):
            return
        found: set[bytes] = set()
        for path in journal_files(self.folder):
            file = JournalFile(path, read_only=True)
            found |= {row.body for row in file.read(0, max_rows=100_000, max_bytes=1 << 30)}
            file.close()
        assert self.answered - self.published <= found

    def teardown(self):
        if not hasattr(self, "publisher"):
            return
        try:
            self.ill = set()
            self.restart_writer()
            self.restart_publisher()
            self.publisher.drain()
            assert self.answered <= self.published
        finally:
            for name, method in self._real.items():
                setattr(JournalFile, name, method)
            self.publisher.close()
            if self.journal._file is not None:
                self.journal._file.close()
            shutil.rmtree(self.folder)


TestRotation = Rotation.TestCase
TestRotation.settings = settings(
    max_examples=1_000 if LONG else 40,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_a_file_that_comes_back_is_not_taken_for_drained(tmp_path, monkeypatch):
    """Neither it nor a new one can be written, while the idle publisher looks; later there is a newer one."""
    published: set[bytes] = set()
    journal = Journal(tmp_path, AT_ONCE, JournalMetrics(CollectorRegistry()))
    file = journal._file = open_newest(tmp_path)
    publisher = Publisher(tmp_path, published)
    file.keep([entry(b"1"), entry(b"2")])
    publisher.look(9)

    def probe(file, at_ms):
        publisher.look(9)
        raise apsw.IOError("disk I/O error")

    monkeypatch.setattr(JournalFile, "probe", probe)
    journal._fail(apsw.IOError("disk I/O error"))
    journal._reopen_at = 0.0
    journal._reopen()
    assert journal._file is None
    monkeypatch.undo()
    journal._reopen_at = 0.0
    journal._reopen()
    assert journal._file is not None
    assert journal._file.path == file.path
    journal._file.keep([entry(b"answered, and Kafka is away")])
    journal._file.close()
    journal._file = begin_file(tmp_path)
    journal._pruning.step(journal._file)
    assert journal_files(tmp_path) == [file.path, journal._file.path]
    publisher.drain()
    assert published == {b"1", b"2", b"answered, and Kafka is away"}
    publisher.close()
    journal._file.close()


def entry(body: bytes) -> NewCallback:
    return NewCallback(1, "default", "http", body, b"key-" + body)

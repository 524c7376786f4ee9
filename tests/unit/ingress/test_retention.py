"""What may be deleted, and when: only what Kafka has, however it is interrupted."""

from contextlib import closing
from itertools import islice

import apsw
import pytest
from dingbridge.ingress.journal.checkpoint import Checkpoint, Parked
from dingbridge.ingress.journal.directory import current
from dingbridge.ingress.journal.store import JournalFile

from dingbridge.ingress.errors import JournalError
from dingbridge.ingress.journal.retention import Retention, prune_steps
from dingbridge.ingress.journal.rows import NewCallback
from tests.unit.ingress.filled import fill, prune_all

DAY = 86_400


def checkpoint_of(root, file):
    return Checkpoint(current(root).path, file.id)


def seqs(file):
    return [row.seq for row in file.read(0, max_rows=9_999, max_bytes=1 << 30)]


def test_retention_counts_from_the_acknowledgement_and_spares_the_parked(tmp_path):
    with closing(fill(tmp_path, 6)) as file, closing(checkpoint_of(tmp_path, file)) as checkpoint:
        checkpoint.commit(5, [Parked(2, 0, "t", "rights", 1)])
        day = Retention(callbacks_s=DAY, seen_s=DAY, min_free_bytes=0)
        assert prune_all(tmp_path, file, day) == 0
        assert seqs(file) == [1, 2, 3, 4, 5, 6]
        checkpoint.db.execute("UPDATE acked SET at_ms = at_ms - 90000000")
        prune_all(tmp_path, file, day)
        assert seqs(file) == [2, 6]


def test_a_nearly_full_disk_deletes_what_is_published_at_once(tmp_path):
    with closing(fill(tmp_path, 6)) as file, closing(checkpoint_of(tmp_path, file)) as checkpoint:
        checkpoint.commit(4)
        prune_all(tmp_path, file, Retention(DAY, DAY, min_free_bytes=1 << 62))
        assert seqs(file) == [5, 6]


def test_before_anything_is_published_nothing_is_deleted(tmp_path):
    with closing(fill(tmp_path, 3)) as file:
        assert prune_all(tmp_path, file, Retention(0, DAY, min_free_bytes=1 << 62)) == 0
        assert seqs(file) == [1, 2, 3]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE checkpoint SET seq = 3",
        "UPDATE checkpoint SET journal = CAST(x'ff' AS TEXT)",
        "UPDATE parked SET topic = CAST(x'ff' AS TEXT)",
    ],
)
def test_a_damaged_checkpoint_lets_nothing_be_deleted(tmp_path, statement):
    with closing(fill(tmp_path, 3)) as file:
        with closing(checkpoint_of(tmp_path, file)) as checkpoint:
            checkpoint.commit(2, [Parked(2, 0, "topic", "rights", 1)])
            checkpoint.db.execute(statement)
        with pytest.raises(JournalError):
            prune_all(tmp_path, file, Retention(0, DAY, min_free_bytes=0))
        assert seqs(file) == [1, 2, 3]


def test_notes_of_acknowledgements_are_dropped_but_retention_learns_the_same(tmp_path):
    with closing(fill(tmp_path, 1)) as file, closing(checkpoint_of(tmp_path, file)) as checkpoint:
        for minute in range(1, 9):
            checkpoint.db.execute("INSERT INTO acked VALUES (?, ?)", (minute * 60_000, minute * 10))
        limits = [minute * 60_000 + 1 for minute in range(5, 10)]
        before = [checkpoint.acked_before(limit) for limit in limits]
        checkpoint.forget_acked(limits[0])
        assert [checkpoint.acked_before(limit) for limit in limits] == before == [50, 60, 70, 80, 80]
        assert checkpoint.db.execute("SELECT count(*) FROM acked").get == 4


@pytest.fixture
def steps(monkeypatch):
    """How many steps SQLite's machine has made in checkpoints since it was cleared."""
    made = []
    real = Checkpoint._check_whose

    def opened(checkpoint, wanted):
        real(checkpoint, wanted)
        checkpoint.db.trace_v2(
            apsw.SQLITE_TRACE_PROFILE,
            lambda told: made.append(told["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"]),
        )

    monkeypatch.setattr(Checkpoint, "_check_whose", opened)
    return made


@pytest.mark.parametrize("front", [True, False])
def test_a_step_reads_little_however_much_is_parked(tmp_path, steps, front):
    """The thread that commits must not be held up."""
    count, published = 6_000, 5_000
    parked = range(1, 4_001) if front else range(1, 5_001, 2)
    with closing(fill(tmp_path, count)) as file, closing(checkpoint_of(tmp_path, file)) as checkpoint:
        checkpoint.commit(published, [Parked(n, r, "t", "rights", 1) for n in parked for r in (0, 1)])
        most, before = 0, file.db.total_changes()
        steps.clear()
        for _ in prune_steps(lambda: file, current(tmp_path), Retention(0, DAY)):
            most = max(most, sum(steps))
            assert file.db.total_changes() - before <= 600
            before = file.db.total_changes()
            steps.clear()
        assert most < 30_000, "all of the rows take more than ten times as many"
        assert seqs(file) == sorted({*parked, *range(published + 1, count + 1)})
        checkpoint.unpark(checkpoint.parked())
        prune_all(tmp_path, file, Retention(0, DAY))
        assert seqs(file)[0] == published + 1, "also what was passed over before"


def test_a_parked_number_that_the_disk_has_changed_lets_nothing_be_deleted(tmp_path):
    """It would protect another callback; also when it stands behind many others."""
    with closing(fill(tmp_path, 1_200)) as file, closing(checkpoint_of(tmp_path, file)) as checkpoint:
        checkpoint.commit(1_200, [Parked(n, 0, "t", "rights", 1) for n in range(1, 1_102)])
        checkpoint.db.execute("UPDATE parked SET seq = 1190 WHERE seq = 1101")
        for _ in range(2):
            with pytest.raises(JournalError, match="does not fit its checksum"):
                prune_all(tmp_path, file, Retention(0, DAY))
        assert len(seqs(file)) == 1_200


def test_a_file_that_an_outage_has_made_large_shrinks_once_that_is_published(tmp_path):
    with closing(fill(tmp_path, 0)) as file, closing(checkpoint_of(tmp_path, file)) as checkpoint:
        file.keep([NewCallback(1, "default", "http", bytes(40_000), b"%d" % n) for n in range(800)])
        file.truncate_wal()
        large = file.path.stat().st_size
        assert large > 32_000_000
        checkpoint.commit(800)
        prune_all(tmp_path, file, Retention(0, DAY, min_free_bytes=0))
        assert seqs(file) == []
        file.truncate_wal()
        assert file.path.stat().st_size < 12_000_000, "a little is kept for what comes next"
        prune_all(tmp_path, file, Retention(0, DAY, min_free_bytes=1 << 62))


def test_a_nearly_full_disk_gets_back_what_is_deleted(tmp_path):
    with closing(fill(tmp_path, 0)) as file, closing(checkpoint_of(tmp_path, file)) as checkpoint:
        file.keep([NewCallback(1, "default", "http", bytes(40_000), b"%d" % n) for n in range(200)])
        checkpoint.commit(190)
        prune_all(tmp_path, file, Retention(DAY, DAY, min_free_bytes=1 << 62))
        assert seqs(file) == list(range(191, 201))
        used = sum(path.stat().st_size for path in current(tmp_path).path.glob("journal.db*"))
        assert used < 1_000_000, "of 8 MB"


def test_who_reads_meanwhile_as_a_back_up_does_holds_up_nobody(tmp_path, monkeypatch):
    """The thread that commits would wait for them, and all answers with it."""
    waits = []
    with closing(fill(tmp_path, 0)) as file, closing(checkpoint_of(tmp_path, file)) as checkpoint:
        file.keep([NewCallback(1, "default", "http", bytes(40_000), b"%d" % n) for n in range(8)])
        checkpoint.commit(8)
        real = JournalFile.truncate_wal

        def truncate(self):
            waits.append(self.db.pragma("busy_timeout"))
            real(self)

        monkeypatch.setattr(JournalFile, "truncate_wal", truncate)
        with closing(JournalFile(file.path, read_only=True)) as reader:
            reader.db.execute("BEGIN")
            assert reader.last_seq() == 8
            prune_all(tmp_path, file, Retention(0, DAY, min_free_bytes=1 << 62))
        assert waits == [0]
        assert file.db.pragma("busy_timeout") == 5_000


def test_a_file_that_gives_nothing_back_does_not_hold_up_who_prunes_it(tmp_path):
    """One of an earlier release, or of SQLite's shell: without auto_vacuum."""
    with closing(fill(tmp_path, 0)) as file, closing(checkpoint_of(tmp_path, file)) as checkpoint:
        file.db.execute("PRAGMA auto_vacuum = NONE; VACUUM").fetchall()
        assert file.db.pragma("auto_vacuum") == 0
        file.keep([NewCallback(1, "default", "http", bytes(40_000), b"%d" % n) for n in range(100)])
        checkpoint.commit(100)
        steps = prune_steps(lambda: file, current(tmp_path), Retention(0, DAY, min_free_bytes=1 << 62))
        assert len(list(islice(steps, 100))) < 100
        assert seqs(file) == []

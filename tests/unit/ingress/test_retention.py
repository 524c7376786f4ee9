"""What is deleted and when: only what Kafka has and nobody parked, by its receipt, in small steps."""

from contextlib import closing
from itertools import islice

import apsw
import pytest

from dingbridge.ingress.journal.retention import Retention, prune_step
from dingbridge.ingress.journal.rows import Acknowledgement, now_ms
from tests.support.sizes import sized
from tests.unit.ingress.filled import DAY, NOW, callback, fill, rights, rows

HOUR_MS = 3_600_000
MANY = sized(100_000, 100_000, quick=10_000)
FULL = Retention(86_400, 86_400, min_free_bytes=1 << 62)
"""The disk is nearly full."""


def steps(root, file, retention):
    """Yield after each step, until all is deleted that is old now."""
    after_seq = 0
    while after_seq is not None:
        after_seq = prune_step(file, root, retention, after_seq)
        yield


def prune(root, file, retention):
    """Returns the numbers that are left."""
    for _ in steps(root, file, retention):
        pass
    return [row.seq for row in rows(file)]


@pytest.mark.parametrize("retention", [DAY, FULL, Retention(0, 0)])
def test_only_what_kafka_has_and_is_not_parked_goes_by_its_receipt(tmp_path, retention):
    with closing(fill(tmp_path, 0)) as file:
        ages_h = (25, 25, 23, 25, -1, 25)
        file.commit([callback(b"%d" % n, now_ms() - h * HOUR_MS) for n, h in enumerate(ages_h)])
        assert prune(tmp_path, file, retention) == [1, 2, 3, 4, 5, 6], "Kafka has none of it"
        file.commit([], None, [Acknowledgement(5, [rights(2)])])
        # the fifth was received by a clock that was ahead
        assert prune(tmp_path, file, retention) == ([2, 3, 6] if retention is DAY else [2, 6])
        file.commit([], None, [Acknowledgement(6, (), [rights(2)])])
        assert prune(tmp_path, file, retention) == ([3] if retention is DAY else [])
        assert file.highest_seq() == 6


def test_a_pass_ends_where_a_published_callback_stays_for_its_age(tmp_path):
    """So a pass does not read all kept callbacks. Older callbacks behind a younger one go with it."""
    ages_h = [25] * 1_200 + [23] + [25] * 4_000
    with closing(fill(tmp_path, 0)) as file:
        file.commit([callback(b"%d" % n, now_ms() - h * HOUR_MS) for n, h in enumerate(ages_h)])
        file.commit([], None, [Acknowledgement(len(ages_h), [rights(3)])])
        for first_left in (1_501, 1_701):
            assert len(list(steps(tmp_path, file, DAY))) < 6
            assert [row.seq for row in rows(file)][:3] == [3, 1_201, first_left]
        file.db.execute("UPDATE callbacks SET received_ms = 1 WHERE seq = 1201")
        assert prune(tmp_path, file, DAY) == [3]


def test_keys_go_by_their_receipt_counted_from_the_newest(tmp_path):
    with closing(fill(tmp_path, 0)) as file:
        week_ago = NOW - 7 * 24 * HOUR_MS
        file.commit([callback(b"old", week_ago - 25 * HOUR_MS), callback(b"new", week_ago)])
        prune(tmp_path, file, DAY)
        assert file.commit([callback(b"old", week_ago), callback(b"new", week_ago)]) == [True, False]


def test_where_it_is_not_known_what_kafka_has_nothing_is_deleted(tmp_path):
    with closing(fill(tmp_path, 1_200, 1_200, tuple(range(1, 1_102)))) as file:
        file.db.execute("UPDATE state SET value = '3 0' WHERE key = 'acked'")
        for _ in range(2):
            with pytest.raises(apsw.CorruptError):
                prune(tmp_path, file, Retention(0, 86_400))
        assert 1_101 in [row.seq for row in rows(file)]


@pytest.mark.parametrize(("count", "parked"), [(MANY + 1, range(1, MANY + 1)), (6_000, range(1, 5_001, 2))])
def test_a_step_reads_and_deletes_little_however_much_is_parked(tmp_path, count, parked):
    """The thread that commits runs it."""
    with closing(fill(tmp_path, count, count - 1, tuple(parked))) as file:
        work = list[int]()
        file.db.trace_v2(
            apsw.SQLITE_TRACE_PROFILE,
            lambda told: work.append(told["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"]),
        )
        most, before = 0, file.db.total_changes()
        for _ in steps(tmp_path, file, Retention(0, 86_400, min_free_bytes=0)):
            most = max(most, sum(work))
            assert file.db.total_changes() - before <= 600
            before = file.db.total_changes()
            work.clear()
        assert most < 30_000, "all of the rows take more than ten times as many"
        assert [row.seq for row in rows(file)] == [*parked, count]
        file.commit([], None, [Acknowledgement(None, (), [rights(seq) for seq in parked])])
        assert prune(tmp_path, file, Retention(0, 86_400)) == [count], "also what was passed over before"


@pytest.mark.parametrize(("retention", "most"), [(Retention(0, 86_400, 0), 12_000_000), (FULL, 1_000_000)])
def test_a_file_that_an_outage_has_made_large_shrinks_once_that_is_published(tmp_path, retention, most):
    """A little is kept for what comes next, unless the disk is nearly full."""
    with closing(fill(tmp_path, 0)) as file:
        file.commit([callback(bytes(40_000), 1, b"%d" % n) for n in range(800)])
        file.truncate_wal()
        assert file.path.stat().st_size > 32_000_000
        file.commit([], None, [Acknowledgement(790)])
        assert prune(tmp_path, file, retention) == list(range(791, 801))
        file.truncate_wal()
        assert file.path.stat().st_size < most


def test_a_file_that_gives_nothing_back_does_not_hold_up_the_pass(tmp_path):
    """One that SQLite's shell has vacuumed: without auto_vacuum."""
    with closing(fill(tmp_path, 0)) as file:
        file.db.execute("PRAGMA auto_vacuum = NONE; VACUUM").fetchall()
        assert file.db.pragma("auto_vacuum") == 0
        file.commit([callback(bytes(40_000), 1, b"%d" % n) for n in range(100)])
        file.commit([], None, [Acknowledgement(100)])
        assert len(list(islice(steps(tmp_path, file, FULL), 100))) < 100
        assert rows(file) == []

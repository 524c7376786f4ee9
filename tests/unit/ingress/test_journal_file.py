"""The journal's file: what is kept stays, in order and once, across closing, pruning and reopening."""

import stat
from dataclasses import replace

import apsw
import pytest
from dingbridge.ingress.journal.store import ANONYMOUS_WINDOW_MS, JournalFile

from dingbridge.ingress.errors import JournalError
from dingbridge.ingress.journal.rows import CONTROL, NewCallback, ResyncRequest
from tests.unit.ingress.filled import fill

NOW = 1_764_000_000_000


def entry(body=b"{}", key=None, at=NOW, signature=None):
    return NewCallback(at, "default", "http", body, key if key is not None else b"k" + body, signature)


@pytest.fixture
def file(tmp_path):
    journal = JournalFile(tmp_path / "journal.db", create=True)
    yield journal
    journal.close()


def bodies(journal, after=0):
    return [row.body for row in journal.read(after, max_rows=10_000, max_bytes=1 << 30)]


def test_what_is_kept_is_there_byte_for_byte(file, tmp_path):
    body = bytes(range(256)) + b"\xff\xfe\x00"
    assert file.keep([entry(body)]) == [True]
    other = JournalFile(tmp_path / "journal.db", read_only=True)
    assert bodies(other) == [body]
    other.close()


def test_a_file_that_does_not_say_which_journal_it_is_is_damaged(file):
    file.db.execute("ALTER TABLE meta ADD COLUMN other")  # as a flipped bit in the schema may look
    with pytest.raises(apsw.CorruptError):
        JournalFile(file.path, read_only=True)


def test_the_file_is_for_its_owner_only(file):
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


@pytest.mark.parametrize("size", [1, 2, 3, 31, 64, 100, 255, 256, 257, 1000])
def test_a_group_of_any_size_is_kept_in_order_whether_all_of_it_is_new_or_not(file, size):
    group = [entry(b"%d" % n) for n in range(size)]
    assert file.keep(group) == [True] * size
    more = [entry(b"%d" % n) for n in range(size - 1, size * 2 - 1)]
    assert file.keep(more) == [False] + [True] * (size - 1)
    rows = file.read(0, max_rows=10_000, max_bytes=1 << 30)
    assert [(row.seq, row.body) for row in rows] == [(n + 1, b"%d" % n) for n in range(size * 2 - 1)]
    assert all(row.intact for row in rows)


def test_an_anonymous_payload_may_recur_after_ten_minutes_but_not_its_request(file):
    def push(at, signature):
        return file.keep([entry(b"x", key=b"\0" * 8 + b"h", at=at, signature=signature)])[0]

    assert push(NOW, b"s1")
    assert not push(NOW + 1000, b"s2"), "the same content within ten minutes"
    assert not push(NOW + ANONYMOUS_WINDOW_MS + 1, b"s1"), "the same request, replayed later"
    assert push(NOW + 2 * ANONYMOUS_WINDOW_MS, b"s3"), "a true recurrence"


def test_dedupe_keys_are_forgotten_by_time_of_receipt(file):
    file.keep([entry(b"old", at=NOW - 1000), entry(b"new", at=NOW)])
    assert file.prune_seen(NOW - 500, 100) == 1
    assert file.keep([entry(b"old"), entry(b"new")]) == [True, False]


TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_callback_keeps_its_traceparent_and_a_flipped_bit_in_it_shows(file):
    file.keep([entry(b"a"), replace(entry(b"b"), traceparent=TRACEPARENT)])
    assert [r.traceparent for r in file.read(0, max_rows=9, max_bytes=999)] == [None, TRACEPARENT]
    file.db.execute("UPDATE callbacks SET traceparent = replace(traceparent, '-01', '-00')")
    file.db.execute("UPDATE callbacks SET traceparent = '' WHERE seq = 1")
    assert [r.intact for r in file.read(0, max_rows=9, max_bytes=999)] == [False, False]


def test_how_far_it_was_pruned_never_goes_back(file):
    file.keep([entry(bytes([n])) for n in range(10)])
    file.prune_callbacks(4, frozenset({2}), 100, after_seq=0)
    assert file.pruned_seq() == 4
    file.prune_callbacks(2, frozenset(), 100, after_seq=0)
    assert file.pruned_seq() == 4


def test_how_far_it_was_pruned_carries_a_checksum(file):
    file.db.execute("UPDATE pruned SET seq = 3")
    with pytest.raises(apsw.CorruptError, match="pruned"):
        file.pruned_seq()


def test_a_foreign_database_is_refused(tmp_path):
    path = tmp_path / "journal.db"
    db = apsw.Connection(str(path))
    db.execute("CREATE TABLE t (a)")
    db.close()
    with pytest.raises(JournalError, match="not a journal"):
        JournalFile(path)


def test_waiting_counts_what_is_behind_the_checkpoint(file):
    assert file.waiting(0) == (0, None)
    file.keep([entry(bytes([n]), at=NOW + n) for n in range(4)])
    assert file.waiting(1) == (3, NOW + 1)
    assert file.waiting(4) == (0, None)


def test_a_changed_callback_is_told_and_those_around_it_are_whole(file):
    file.keep([entry(bytes([n])) for n in range(5)])
    file.db.execute("UPDATE callbacks SET body = x'ff' WHERE seq = 2")
    file.db.execute("UPDATE callbacks SET via = 7, received_ms = 'x' WHERE seq = 4")
    rows = file.read(0, max_rows=99, max_bytes=9999)
    assert [(row.seq, row.intact) for row in rows] == [
        (1, True),
        (2, False),
        (3, True),
        (4, False),
        (5, True),
    ]


def test_a_number_that_the_disk_has_changed_is_not_believed(file):
    """Else the checkpoint would go there, and what is kept next would stay behind it."""
    file.keep([entry(bytes([n])) for n in range(3)])
    file.db.execute("UPDATE callbacks SET seq = 1000000 WHERE seq = 3")
    rows = file.read(0, max_rows=99, max_bytes=9999)
    assert [(row.seq, row.intact) for row in rows] == [(1, True), (2, True), (3, False)]


# -- A page of the failed list, its ledger and resync requests: one commit, all or nothing


LATER = 1_800_000_000_000


ORDER = ResyncRequest("page-1", "a page may be gone", app="oa", corp_id="c", since_ms=5, part="contacts")


def callback(name: bytes) -> NewCallback:
    return NewCallback(LATER, "oa", "failed-list", name, b"key-" + name)


def test_a_page_with_its_orders_and_notes_comes_back_as_it_was_kept(tmp_path) -> None:
    file = fill(tmp_path, 0)
    rows = [callback(b"a"), ORDER, callback(b"a"), ORDER]
    assert file.commit(rows, {"recovery/oa": "page"}, LATER) == [True, True, False, True]
    kept = file.read(0, max_rows=10, max_bytes=1000)
    assert [(row.seq, row.via) for row in kept] == [(1, "failed-list"), (2, CONTROL), (3, CONTROL)]
    assert ResyncRequest.of(kept[1]) == ORDER
    everyone = ResyncRequest("x", "why")
    file.commit([everyone], {"recovery/oa": None, "recovery/other": "1"}, LATER)
    assert ResyncRequest.of(file.read(3, max_rows=1, max_bytes=1)[0]) == everyone
    assert file.notes("recovery/") == {"recovery/other": "1"}


def test_what_fails_in_between_leaves_nothing_of_the_page(tmp_path) -> None:
    file = fill(tmp_path, 0)
    with pytest.raises((apsw.Error, TypeError)):
        file.commit([callback(b"a"), ORDER], {"recovery/oa": object()}, LATER)  # type: ignore[dict-item]
    assert file.read(0, max_rows=10, max_bytes=1000) == []
    assert file.commit([callback(b"a")], {}, LATER) == [True]

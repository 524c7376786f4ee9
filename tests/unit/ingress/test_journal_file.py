"""The journal's file: what is kept stays as it is, once and in order; what the disk changes is noticed."""

import shutil
import stat
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from dingbridge.events import extract_facts
from dingbridge.ingress.errors import JournalError
from dingbridge.ingress.journal.file import JournalFile
from dingbridge.ingress.journal.folder import current, open_current
from dingbridge.ingress.journal.rows import (
    CONTROL,
    Acknowledgement,
    Parked,
    ParkedGroup,
    ResyncRequest,
    pushed_callback,
)
from tests.unit.ingress.filled import NOW, UNDERSTOOD, UNREADABLE_ROWS, callback, fill, reopened, rights, rows


@pytest.fixture
def file(tmp_path):
    with closing(JournalFile(tmp_path / "journal.db", create=True)) as made:
        yield made


def test_what_is_kept_is_there_byte_for_byte_and_for_its_owner_only(file):
    body = bytes(range(256)) + b"\xff\xfe\x00"
    assert file.commit([callback(body)]) == [True]
    with closing(JournalFile(file.path, read_only=True)) as other:
        assert [row.body for row in rows(other)] == [body]
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


@pytest.mark.parametrize("size", [1, 2, 3, 31, 64, 100, 255, 256, 257, 1000])
def test_a_group_of_any_size_is_kept_in_order_whether_all_of_it_is_new_or_not(file, size):
    assert file.commit([callback(b"%d" % n) for n in range(size)]) == [True] * size
    more = [callback(b"%d" % n) for n in range(size - 1, size * 2 - 1)]
    assert file.commit(more) == [False] + [True] * (size - 1)
    assert [(row.seq, row.body) for row in rows(file)] == [(n + 1, b"%d" % n) for n in range(size * 2 - 1)]
    assert all(row.intact for row in rows(file))


# -- A re-push is recognised, and a second event with the same bytes is none


def push(file: JournalFile, body: bytes, push_id: bytes, app: str = "default") -> bool:
    return file.commit([pushed_callback(app, "http", body, extract_facts(body), push_id)])[0]


@pytest.mark.parametrize(
    ("body", "same", "other"),
    [
        (  # by the event's id, whatever else differs
            b'{"EventType": "x", "CorpId": "c", "eventId": "1", "n": 1}',
            b'{"EventType": "x", "CorpId": "c", "eventId": "1", "n": 2}',
            b'{"EventType": "x", "CorpId": "c2", "eventId": "1", "n": 1}',
        ),
        (  # by the content, where there is a time
            b'{"EventType": "x", "TimeStamp": "1764000000000"}',
            b'{"EventType": "x", "TimeStamp": "1764000000000"}',
            b'{"EventType": "x", "TimeStamp": "1764000000000" }',
        ),
    ],
)
def test_an_event_that_names_itself_is_kept_once_whatever_its_push(file, body, same, other):
    assert push(file, body, b"s1")
    assert not push(file, same, b"s2")
    assert push(file, other, b"s1")
    assert push(file, body, b"s1", "another app")


@pytest.mark.parametrize("body", [b'{"EventType": "x"}', b"no JSON"])
def test_a_callback_without_identity_is_known_by_its_push_alone(file, body):
    assert push(file, body, b"s1")
    assert not push(file, body, b"s1"), "DingTalk tries again"
    assert push(file, body, b"s2"), "a second event with the same bytes"
    assert push(file, body, b"s1", "another app")


# -- One transaction


REQUEST = ResyncRequest("page-1", "a page may be gone", app="oa", corp_id="c", since_ms=5, part="contacts")


def test_callbacks_notes_and_acknowledgements_are_kept_together_or_not_at_all(file):
    parked = Parked(2, "topic", "too_large", 7)
    group = [callback(b"a"), REQUEST.callback(), callback(b"a"), ResyncRequest("x", "why").callback()]
    assert file.commit(group, {"recovery/oa": "page"}, [Acknowledgement(2, [parked, rights(1)])]) == [
        *(True, True, False, True)
    ]
    assert [(row.seq, row.via) for row in rows(file)] == [(1, "http"), (2, CONTROL), (3, CONTROL)]
    assert [ResyncRequest.of(row) for row in rows(file)[1:]] == [REQUEST, ResyncRequest("x", "why")]

    def state():
        return (
            file.acked(),
            file.parked_of(1) + file.parked_of(2),
            file.notes("recovery/"),
            file.highest_seq(),
        )

    before = state()
    assert before == (2, [rights(1), parked], {"recovery/oa": "page"}, 3)
    with pytest.raises((apsw.Error, TypeError)):
        file.commit([callback(b"b")], {"recovery/oa": object()}, [Acknowledgement(3, (), [parked])])  # type: ignore[dict-item]
    assert state() == before
    assert file.commit([callback(b"b")], {"recovery/oa": None}, [Acknowledgement(3, (), [parked])]) == [True]
    assert state() == (3, [rights(1)], {}, 4)
    assert file.parked_groups() == [ParkedGroup("topic", "rights", 1, 1)]
    assert file.waiting() == (1, NOW)


# -- What the disk has changed


@pytest.mark.parametrize(
    "change",
    [
        "received_ms = 'x'",
        "received_ms = received_ms + 1",
        "app = 'other'",
        "via = 7",
        "type = 'other'",
        "corp = CAST(x'ff' AS TEXT)",
        "happened_ms = 1",
        "id = 'other'",
        "plain = NOT plain",
        "body = x'ff'",
        "body = CAST(body AS TEXT)",
        "crc = crc + 1",
    ],
)
def test_a_column_that_is_changed_is_noticed_and_its_neighbours_are_whole(file, change):
    file.commit([callback(b"%d" % n) for n in range(5)])
    file.db.execute(f"UPDATE callbacks SET {change} WHERE seq = 3")
    assert [(row.seq, row.intact) for row in rows(file)] == [(n, n != 3) for n in range(1, 6)]


def test_a_number_that_is_changed_is_not_believed(tmp_path):
    """Else ``acked`` would go there, and what is kept next would never be published."""
    with closing(fill(tmp_path, 5)) as file:
        file.db.execute("UPDATE callbacks SET seq = 1000000 WHERE seq = 5")
        page = file.read(0, max_rows=5, max_bytes=99)
        assert [row.intact for row in page] == [True] * 4 + [False]
    with closing(reopened(tmp_path)) as file:
        assert file.highest_seq() == 0, "it is put aside"


@pytest.mark.parametrize(
    "change",
    [
        "state SET value = replace(value, '2 ', '3 ') WHERE key = 'acked'",
        "state SET key = 'acker' WHERE key = 'acked'",
        "state SET key = 'ie' WHERE key = 'id'",
        "state SET value = CAST(x'ff' AS TEXT) WHERE key = 'note'",
        "seen SET received_ms = 'x'",
    ],
)
def test_a_state_that_is_changed_is_damage_and_holds_up_no_start(tmp_path, change):
    with closing(fill(tmp_path, 3, 2)) as file:
        file.commit([], {"note": "text"}, [Acknowledgement(None, [Parked(2, "topic", "too_large", 1)])])
        assert file.path == current(tmp_path)
        file.db.execute(f"UPDATE {change}")
    with closing(reopened(tmp_path)) as file:
        assert rows(file) == []
    assert len([*tmp_path.glob("damaged-*/journal.db")]) == 1


# -- Files of other versions are refused in words, by all that open them, and left as they are


UNREADABLE = """
CREATE TABLE newer (a);
CREATE INDEX newer_by_a ON newer (a);
PRAGMA writable_schema = 1;
UPDATE sqlite_schema SET sql = 'CREATE INDEX newer_by_a ON newer (later_function(a))'
  WHERE name = 'newer_by_a';
"""
"""A schema that only a later SQLite can read."""


def content(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*.db*") if not path.name.endswith("-shm")}


@pytest.mark.parametrize(
    "opens",
    [
        open_current,
        lambda root: open_current(root, failed=True),
        lambda root: JournalFile(current(root), read_only=True),
    ],
)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("PRAGMA user_version = 99", r"a newer dingbridge .*start the newer one.*dingbridge journal publish"),
        (UNREADABLE + "PRAGMA user_version = 99", "a newer dingbridge"),
        (
            "PRAGMA application_id = 0x44494E47; PRAGMA user_version = 3",
            r"an older dingbridge.*`dingbridge relay --until-empty`, then move the folder ",
        ),
        ("PRAGMA application_id = 7", "is not a journal of dingbridge; move it away"),
    ],
)
def test_a_file_of_another_version_is_refused_in_words_and_stays_as_it_is(tmp_path, opens, change, words):
    """As a crash leaves it: all that says so is still in the WAL."""
    old, root = tmp_path / "old", tmp_path / "root"
    with closing(fill(old, 5)), closing(apsw.Connection(str(current(old)))) as db:
        db.execute(f"PRAGMA wal_autocheckpoint = 0; {change}").fetchall()
        shutil.copytree(old, root, ignore=shutil.ignore_patterns("*-shm"))
    before = content(root)
    with pytest.raises(JournalError, match=words):
        opens(root)
    assert content(root) == before


def test_what_is_parked_is_counted_by_an_index_alone(tmp_path):
    """Every other second, and at each question of a load balancer: also where a million are parked."""
    with closing(fill(tmp_path, 20, 20, tuple(range(1, 21)))) as file:
        statements = list[str]()
        file.db.set_exec_trace(lambda _, sql, __: not statements.append(sql))
        assert file.parked_groups() == [("topic", "rights", 20, 1)]
        file.db.set_exec_trace(None)
        plan = [line[-1] for line in file.db.execute(f"EXPLAIN QUERY PLAN {statements[0]}")]
    assert "SCAN parked USING COVERING INDEX parked_by_topic" in plan


@pytest.mark.parametrize("change", [*UNDERSTOOD.values(), *UNREADABLE_ROWS.values()])
def test_a_parked_row_that_has_changed_is_counted_and_never_an_error(tmp_path, change):
    with closing(fill(tmp_path, 3, 3, (1, 2, 3))) as file:
        file.db.execute(f"UPDATE parked SET {change} WHERE seq = 2")
        unreadable = change in UNREADABLE_ROWS.values()
        groups = sorted(file.parked_groups())
        assert [(one.topic, one.reason, one.callbacks) for one in groups] == (
            [("-", "unreadable", 1), ("topic", "rights", 2)] if unreadable else [("topic", "rights", 3)]
        )
        assert groups[-1].since_ms == 1
        assert {len(file.parked_of(one.seq)) for one in file.all_parked() if one.seq} == {1}
        assert len(file.all_parked()) == 3
        for topic, reasons in (("topic", ["rights"]), (None, ["damaged"])):
            after, found = 0, 0
            while page := file.parked(topic, reasons, after, 1):
                after, found = page[-1].seq, found + 1
            assert found >= 2, "page by page, to the end"

"""What an operator sees of a journal, damaged callbacks too, and how those are given up."""

import asyncio
import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dingbridge.errors import BridgeError
from dingbridge.settings import SAMPLE_CREDENTIALS
from ingress.admin.cli import app
from ingress.giving_up import give_up, give_up_by
from ingress.journal.checkpoint import CursorFile, Parked
from ingress.journal.directory import FolderLock
from ingress.journal.inspect import View, views
from ingress.journal.startup import open_newest
from ingress.journal.store import JournalFile, NewCallback
from ingress.relay.parked import ParkingLot
from ingress.relay.reading import JournalReader
from ingress.relay.stats import Report

NOW = 1_764_000_000_000
PUBLISHED = 6
"""Up to here; of them 3 is parked for rights, 4 and 5 are parked as damaged."""


def body(number: int) -> bytes:
    return json.dumps({"EventType": "user_add_org", "UserId": [f"u{number}"], "name": "韩梅梅"}).encode()


def fill(folder: Path) -> JournalFile:
    """Ten callbacks, four of which wait; number 8 is damaged, too, and nobody has noticed."""
    folder.mkdir(exist_ok=True)
    file = open_newest(folder)
    file.keep([NewCallback(NOW + n, "default", "http", body(n), b"key-%d" % n) for n in range(1, 11)])
    parked = [(3, "dingtalk.user_add_org", "rights"), (4, "-", "damaged"), (5, "-", "damaged")]
    cursor = CursorFile(folder)
    cursor.move(file.id, PUBLISHED, [Parked(file.id, seq, 0, topic, why, NOW) for seq, topic, why in parked])
    cursor.close()
    file.db.execute("UPDATE callbacks SET body = ? WHERE seq = 4", (body(4).replace(b"u4", b"u9"),))
    file.db.execute("DELETE FROM callbacks WHERE seq = 5")
    file.db.execute("UPDATE callbacks SET received_ms = 'x' WHERE seq = 8")
    return file


@pytest.fixture
def journal(tmp_path):
    file = fill(tmp_path / "journal")
    file.close()
    return file


@pytest.fixture
def run(journal, monkeypatch):
    """``dingbridge journal …`` on it, with nobody else at it: exit code, what it printed, what it said."""
    for name, value in {**SAMPLE_CREDENTIALS, "DINGTALK_API_BASE": "http://127.0.0.1:1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("JOURNAL_DIR", str(journal.path.parent))

    def run(*arguments, typed=None):
        result = CliRunner().invoke(app, arguments, input=typed)
        if isinstance(result.exception, BridgeError):
            return result.exception.exit_code, result.stdout, str(result.exception)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.stdout, result.stderr

    return run


def states(printed: str) -> dict[int, str]:
    rows = [line.split("\t") for line in printed.splitlines()]
    return {int(row[0]): row[5] for row in rows}


def test_the_list_marks_what_is_damaged_and_says_nothing_more_of_it(run, journal):
    code, printed, _ = run("list")
    assert code == 0
    assert states(printed) == {
        **dict.fromkeys([1, 2, 6], "published"),
        3: "parked: rights",
        4: "parked: damaged",
        5: "parked: damaged",
        7: "waiting",
        8: "waiting, damaged",
        9: "waiting",
        10: "waiting",
    }
    assert "8\t-\t-\t-\t-\twaiting, damaged\t" + journal.id in printed
    assert states(run("list", "--waiting")[1]).keys() == {7, 8, 9, 10}
    assert states(run("list", "--parked")[1]).keys() == {3, 4, 5}
    assert states(run("list", "-n", "2")[1]).keys() == {9, 10}


def test_one_that_is_damaged_is_shown_as_it_stands(run):
    assert "u1" in run("show", "1")[1]
    changed = run("show", "4")[1]
    assert "parked: damaged" in changed
    assert "does not fit its checksum" in changed
    assert "韩梅梅" not in changed
    assert "u9" in changed
    assert "韩梅梅" in run("show", "4", "--reveal")[1]
    assert "nothing of it can be read" in run("show", "5")[1]
    assert "waiting, damaged" in run("show", "8")[1]
    assert run("show", "11")[0] == 1


def test_the_export_says_which_lines_are_damaged(run):
    lines = [json.loads(line) for line in run("export")[1].splitlines()]
    assert [line["seq"] for line in lines] == list(range(1, 11))
    assert [line["seq"] for line in lines if line.get("damaged")] == [4, 5, 8]


def test_what_was_pruned_is_not_missing_and_what_vanished_is(journal):
    file = JournalFile(journal.path)
    assert file.prune_callbacks(PUBLISHED, frozenset({3, 4, 5}), 100) == 3
    file.db.execute("DELETE FROM callbacks WHERE seq = 10")
    file.close()
    view = View(journal.path)
    seen = {seen.row.seq: seen.row.intact for seen in view.callbacks(0)}
    assert seen == {3: True, 4: False, 5: False, 7: True, 8: False, 9: True, 10: False}
    assert view.one(2) is None
    assert view.one(10).row.intact is False
    assert view.one(11) is None


def test_a_page_that_cannot_be_read_hides_none_of_its_neighbours(tmp_path):
    file = open_newest(tmp_path)
    # each spills over into two pages of its own
    large = [bytes([96 + n]) * 9_000 for n in range(1, 21)]
    file.keep([NewCallback(NOW, "default", "http", text, b"key-%d" % n) for n, text in enumerate(large)])
    file.checkpoint_truncate()
    file.close()
    content = bytearray(file.path.read_bytes())
    place = next(at for at in range(0, len(content), 4096) if content[at + 4 : at + 4096] == b"g" * 4092)
    content[place : place + 4] = b"\xff\xff\xff\xf0"  # where it goes on
    file.path.write_bytes(content)
    [view], unreadable = views(tmp_path)
    assert not unreadable
    seen = {seen.row.seq: seen.row.intact for seen in view.callbacks(0)}
    assert seen == {seq: seq != 7 for seq in range(1, 21)}


def test_a_journal_that_cannot_be_opened_is_said(run, journal):
    other = journal.path.with_name("journal-0000.db")
    other.write_bytes(b"no database" * 1000)
    code, printed, said = run("list")
    assert (code, len(printed.splitlines())) == (0, 10)
    assert "journal-0000.db" in said
    journal.path.write_bytes(b"no database" * 1000)
    for command in (["list"], ["show", "1"], ["export"], ["stats"]):
        code, printed, said = run(*command)
        assert (code, printed) == (1, ""), command
        assert "cannot be read" in said


# -- giving up


def parked(folder: Path) -> list[tuple[int, str]]:
    cursor = CursorFile(folder, read_only=True)
    found = [(p.seq, p.reason) for p in cursor.parked()]
    cursor.close()
    return found


def test_what_is_parked_as_damaged_is_given_up_for_good(run, journal):
    code, printed, said = run("discard", "4", "5")
    assert (code, printed) == (0, "discarded: 2\n"), said
    assert f"seq 4 of journal {journal.id}: parked: damaged" in said
    assert parked(journal.path.parent) == [(3, "rights")]
    assert states(run("list")[1])[4] == "published, damaged"
    assert run("prune", "--older-than-hours", "0")[:2] == (0, "deleted: 4\n"), (
        "of 1 to 6, 3 is parked, 5 has gone"
    )


@pytest.mark.parametrize(
    "seq", [1, 3, 7, 8, 11], ids=["published", "rights", "waiting", "unnoticed", "no such"]
)
def test_nothing_else_is(run, journal, seq):
    code, _, said = run("discard", "4", str(seq))
    assert code == 1
    assert f"callback {seq} is not parked as damaged" in said
    assert len(parked(journal.path.parent)) == 3


def test_what_is_parked_and_has_no_file_any_more_is_listed_and_given_up(run, journal):
    cursor = CursorFile(journal.path.parent)
    gone = [(4, "missing"), (20, "missing"), (21, "rights")]
    cursor.move("gone", 21, [Parked("gone", seq, 0, "dingtalk.check_in", why, NOW) for seq, why in gone])
    cursor.close()
    printed = run("list", "--parked")[1]
    assert "20\t-\t-\t-\t-\tparked: missing\tgone" in printed
    assert states(printed)[21] == "parked: rights, damaged"
    assert "gone" not in run("list")[1]
    assert run("discard", "21")[0] == 1
    code, _, said = run("discard", "4")
    assert code == 1
    assert "in several journals" in said
    assert run("discard", "4", "20", "--journal", "gone")[:2] == (0, "discarded: 2\n")
    assert parked(journal.path.parent) == [(3, "rights"), (4, "damaged"), (5, "damaged"), (21, "rights")]


@pytest.mark.parametrize(("typed", "left"), [("n\n", 3), ("y\n", 2)])
def test_a_person_is_asked(run, journal, monkeypatch, typed, left):
    monkeypatch.setattr(
        "dingbridge.cli.terminal.sys", type("Terminal", (), {"stdin": _Terminal(), "stderr": sys.stderr})
    )
    code, _, said = run("discard", "4", typed=typed)
    assert "Nobody sends it again" in said
    assert code == (0 if left == 2 else 1)
    assert len(parked(journal.path.parent)) == left


class _Terminal:
    def isatty(self) -> bool:
        return True


def test_one_number_in_two_journals_must_be_told_apart(run, journal):
    root = journal.path.parent
    other = fill(root / "worker-1")
    other.close()
    code, _, said = run("discard", "4")
    assert code == 1
    assert "several journals" in said
    assert run("discard", "4", "--journal", other.id)[:2] == (0, "discarded: 1\n")
    assert len(parked(root)) == 3
    assert len(parked(root / "worker-1")) == 2


def test_an_ingress_that_holds_the_journal_is_asked(run, journal, monkeypatch):
    monkeypatch.setenv("ADMIN_PORT", "1")
    lock = FolderLock(journal.path.parent)
    lock.acquire()
    code, _, said = run("discard", "4")
    lock.release()
    assert code == 1
    assert "/journal/discard" in said
    assert len(parked(journal.path.parent)) == 3


@pytest.mark.parametrize("callbacks", [None, 7, "7", [7], [["a"]], [["a", "b"]], [["a", True]], {"a": 1}])
def test_a_request_that_names_none_is_refused_in_words(callbacks):
    with pytest.raises(BridgeError, match="pairs of journal and seq"):
        asyncio.run(give_up_by({}, {"callbacks": callbacks}))


class _Publisher:
    """Of a folder: does what it is told when its turn comes, as the real one does by its pipe."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.told: list[tuple[str, int]] = []

    def give_up(self, journal: str, seq: int) -> None:
        self.told.append((journal, seq))
        asyncio.get_running_loop().call_later(0.1, self._turn, journal, seq)

    def _turn(self, journal: str, seq: int) -> None:
        cursor = CursorFile(self._folder)
        give_up(cursor, [(journal, seq)])
        cursor.close()


async def test_each_publisher_is_told_of_its_own_and_has_done_it_when_the_answer_comes(tmp_path):
    files = [fill(tmp_path / name) for name in ("one", "two")]
    publishers = {file.path.parent: _Publisher(file.path.parent) for file in files}
    wanted = [[files[0].id, 4], [files[1].id, 5], [files[1].id, 3], [files[1].id, 7], ["other", 4]]
    assert await give_up_by(publishers, {"callbacks": wanted}) == 2
    assert [p.told for p in publishers.values()] == [[(files[0].id, 4)], [(files[1].id, 5)]]
    assert [[seq for seq, _ in parked(folder)] for folder in publishers] == [[3, 5], [3, 4]]
    for file in files:
        file.close()


async def test_a_publisher_that_does_not_do_it_is_told_of(tmp_path, monkeypatch):
    monkeypatch.setattr("ingress.giving_up._WITHIN_S", 0.1)
    file = fill(tmp_path / "one")
    publisher = _Publisher(tmp_path / "one")
    monkeypatch.setattr(publisher, "_turn", lambda journal, seq: None)
    with pytest.raises(BridgeError, match="its log says why"):
        await give_up_by({tmp_path / "one": publisher}, {"callbacks": [[file.id, 4]]})
    file.close()


async def test_what_is_damaged_while_it_is_parked_for_something_else_is_told_so(tmp_path, monkeypatch):
    file = fill(tmp_path / "journal")
    file.db.execute("UPDATE callbacks SET body = 'x' WHERE seq = 3")
    cursor = CursorFile(tmp_path / "journal")
    lot = ParkingLot(None, cursor, JournalReader(tmp_path / "journal", cursor), _Router(), Report())
    assert lot.blocked == {"dingtalk.user_add_org": "rights"}
    monkeypatch.setattr(lot, "_sender", _nothing)
    monkeypatch.setattr("ingress.relay.parked.discard_producer", _nothing)
    await lot.retry()
    assert parked(tmp_path / "journal") == [(3, "damaged"), (4, "damaged"), (5, "damaged")]
    assert not lot.blocked, "it held back the topic's later records"
    await lot.retry()
    assert give_up(cursor, [(file.id, 3)]) == 1
    cursor.close()
    file.close()


class _Router:
    def forget(self, topic: str) -> None:
        pass

    ensure = staticmethod(lambda topic, within_s: _nothing())


async def _nothing(*_: object) -> None:
    pass

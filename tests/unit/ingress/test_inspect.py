"""What an operator sees of a journal, damaged callbacks too, and how those are given up."""

import json
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from dingbridge.ingress.journal.checkpoint import DAMAGED, NO_TOPIC, WHOLE_CALLBACK, Checkpoint, Parked
from dingbridge.ingress.journal.directory import current, ingress_lock, relay_lock
from dingbridge.ingress.journal.startup import open_current
from dingbridge.ingress.journal.store import JournalFile
from typer.testing import CliRunner

from dingbridge.errors import BridgeError
from dingbridge.ingress.admin.cli import app
from dingbridge.ingress.journal.rows import NewCallback
from dingbridge.settings import SAMPLE_CREDENTIALS

NOW = 1_764_000_000_000
PUBLISHED = 6
"""Up to here; of them 3 is parked for rights, 4 and 5 are parked as damaged."""


def body(number: int) -> bytes:
    return json.dumps({"EventType": "user_add_org", "UserId": [f"u{number}"], "name": "韩梅梅"}).encode()


def fill(root: Path) -> JournalFile:
    """Ten callbacks, four of which wait; number 8 is damaged, too, and nobody has noticed."""
    root.mkdir(exist_ok=True)
    file = open_current(root)
    file.keep([NewCallback(NOW + n, "default", "http", body(n), b"key-%d" % n) for n in range(1, 11)])
    damaged = [Parked(seq, WHOLE_CALLBACK, NO_TOPIC, DAMAGED, NOW) for seq in (4, 5)]
    with closing(Checkpoint(current(root).path, file.id)) as checkpoint:
        checkpoint.commit(PUBLISHED, [Parked(3, 0, "dingtalk.user_add_org", "rights", NOW), *damaged])
    file.db.execute("UPDATE callbacks SET body = ? WHERE seq = 4", (body(4).replace(b"u4", b"u9"),))
    file.db.execute("DELETE FROM callbacks WHERE seq = 5")
    file.db.execute("UPDATE callbacks SET received_ms = 'x' WHERE seq = 8")
    return file


@pytest.fixture
def root(tmp_path):
    return tmp_path / "journal"


@pytest.fixture
def journal(root):
    file = fill(root)
    file.close()
    return file


@pytest.fixture
def run(journal, root, monkeypatch):
    """``dingbridge journal …`` on it, with nobody else at it: exit code, what it printed, what it said."""
    for name, value in {**SAMPLE_CREDENTIALS, "DINGTALK_API_BASE": "http://127.0.0.1:1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("JOURNAL_DIR", str(root))

    def run(*arguments, typed=None):
        result = CliRunner().invoke(app, arguments, input=typed)
        if isinstance(result.exception, BridgeError):
            return result.exception.exit_code, result.stdout, str(result.exception)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.stdout, result.stderr

    return run


def states(printed: str) -> dict[int, str]:
    rows = [line.split("\t") for line in printed.splitlines()[1:]]
    return {int(row[0]): row[5] for row in rows}


def test_the_list_marks_what_is_damaged_and_says_nothing_more_of_it(run, journal):
    code, printed, _ = run("list")
    assert code == 0
    assert states(printed) == {
        **dict.fromkeys([1, 2, 6], "published"),
        3: "parked: rights",
        4: "parked: damaged",
        7: "waiting",
        8: "waiting, damaged",
        9: "waiting",
        10: "waiting",
    }
    assert "8\t-\t-\t-\t-\twaiting, damaged\n" in printed
    as_json = [json.loads(line) for line in run("list", "--json")[1].splitlines()]
    assert {line["seq"]: line["state"] for line in as_json} == states(printed)
    assert {line["journal"] for line in as_json} == {journal.id}
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
    lines = [json.loads(line) for line in run("export", "--reveal")[1].splitlines()]
    assert [line["seq"] for line in lines] == [1, 2, 3, 4, 6, 7, 8, 9, 10]
    assert [line["seq"] for line in lines if line.get("damaged")] == [4, 8]


def test_a_time_of_receipt_picks_callbacks(run):
    def at(ms):
        return datetime.fromtimestamp((NOW + ms) / 1000, UTC).isoformat()

    # of number 8 nobody knows when it came
    assert states(run("list", "--since", at(2), "--until", at(6))[1]).keys() == {2, 3, 4, 8}
    assert [
        json.loads(line)["seq"] for line in run("export", "--reveal", "--since", at(9))[1].splitlines()
    ] == [
        4,
        8,
        9,
        10,
    ]
    assert run("list", "--since", "yesterday")[0] == 2


def test_what_is_parked_is_counted_by_topic_and_reason_with_the_first_ones_time(run, root):
    with closing(Checkpoint(current(root).path)) as checkpoint:
        checkpoint.commit(
            PUBLISHED, [Parked(6, n, "dingtalk.user_add_org", "rights", NOW + n) for n in (1, 2)]
        )
        checkpoint.commit(PUBLISHED, [Parked(6, 3, "dingtalk.user_add_org", "too-large", NOW + 1000)])
    groups = [tuple(group.values()) for group in json.loads(run("stats", "--json")[1])["parked"]]
    assert groups == [
        (NO_TOPIC, DAMAGED, 2, NOW),
        ("dingtalk.user_add_org", "rights", 3, NOW),
        ("dingtalk.user_add_org", "too-large", 1, NOW + 1000),
    ]
    words = run("stats")[1]
    assert "parked              2 callback(s): damaged, since 2025-11-24T16:00:00.000Z" in words
    assert "parked              3 record(s) of dingtalk.user_add_org: rights, since" in words


def test_a_journal_that_cannot_be_opened_is_said(run, root, journal):
    other = root / "damaged-20260101T000000Z"
    other.mkdir()
    (other / "journal.db").write_bytes(b"no database" * 1000)
    assert len(states(run("list")[1])) == 9
    assert "damaged-20260101T000000Z: not imported yet, 0 callback(s) could not be read" in run("stats")[1]
    journal.path.write_bytes(b"no database" * 1000)
    for command in (["list"], ["show", "1"], ["export", "--reveal"], ["stats"]):
        code, printed, said = run(*command)
        assert (code, printed) == (1, ""), command
        assert "cannot be read" in said
        assert "start the ingress again" in said


def parked(root: Path) -> list[tuple[int, str]]:
    with closing(Checkpoint(current(root).path, read_only=True)) as checkpoint:
        return [(p.seq, p.reason) for p in checkpoint.parked()]


def test_what_is_damaged_is_given_up_for_good_and_nothing_else_is(run, root):
    pruned = run("prune", "--older-than-hours", "0", "--yes")
    assert pruned[:2] == (0, "deleted: 3\n"), "of 1 to 6, 5 has gone"
    assert len(parked(root)) == 3
    code, printed, said = run("prune", "--damaged", "--yes")
    assert (code, printed) == (0, "deleted: 0\ndamaged callbacks: 2\n"), said
    assert parked(root) == [(3, "rights")]
    assert run("prune", "--older-than-hours", "0", "--yes")[1] == "deleted: 1\n"
    assert states(run("list")[1]).keys() == {3, 7, 8, 9, 10}


@pytest.mark.parametrize("command", [["prune"], ["prune", "--damaged"], ["downgrade", "journal.db", "3"]])
def test_without_a_terminal_and_yes_nothing_is_touched(run, root, command):
    before = current(root).journal.read_bytes()
    code, printed, said = run(*command)
    assert (code, printed) == (2, ""), said
    assert current(root).journal.read_bytes() == before
    assert len(parked(root)) == 3


@pytest.mark.parametrize(("typed", "left"), [("n\n", 3), ("y\n", 1)])
def test_a_person_is_asked(run, root, monkeypatch, typed, left):
    monkeypatch.setattr(
        "dingbridge.cli.terminal.sys", type("Terminal", (), {"stdin": _Terminal(), "stderr": sys.stderr})
    )
    code, _, said = run("prune", "--damaged", typed=typed)
    assert "Nobody sends it again" in said
    assert code == (0 if left == 1 else 1)
    assert len(parked(root)) == left


class _Terminal:
    def isatty(self) -> bool:
        return True


def test_an_ingress_that_holds_the_journal_is_asked(run, root, monkeypatch):
    monkeypatch.setenv("ADMIN_PORT", "1")
    lock = ingress_lock(root)
    lock.acquire()
    code, _, said = run("prune", "--damaged", "--yes")
    lock.release()
    assert code == 1
    assert "/journal/prune" in said
    assert len(parked(root)) == 3


def test_a_folder_of_an_instance_that_is_gone_comes_in_without_an_ingress(run, root, tmp_path):
    fill(tmp_path / "gone").close()
    for _ in range(2):
        code, printed, said = run("drain", str(tmp_path / "gone"))
        assert code == 1, said
        # 3 that was parked, and 7, 9 and 10 that waited; 4, 5 and 8 the disk has changed
        assert printed.startswith("imported: 4\nunread: 3\nnext: `dingbridge relay --until-empty`")
    assert [seq for seq, state in states(run("list", "-n", "99")[1]).items() if state == "waiting"] == [
        *(7, 9, 10),
        *range(11, 16),
    ]
    code, _, said = run("drain", str(tmp_path))
    assert code == 1
    assert "no journal in" in said


def test_what_is_parked_is_tried_by_a_relay_alone(run, root, monkeypatch):
    code, _, said = run("retry")
    assert code == 1
    assert "dingbridge relay --until-empty" in said
    monkeypatch.setenv("RELAY_ADMIN_PORT", "1")
    lock = relay_lock(current(root).path)
    lock.acquire()
    code, _, said = run("retry")
    lock.release()
    assert code == 1
    assert "/parked/retry" in said

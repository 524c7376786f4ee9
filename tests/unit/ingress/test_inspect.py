"""The journal for an operator, damaged callbacks too; nothing here needs a running ingress."""

import json
from contextlib import closing

import orjson
import pytest
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from dingbridge.errors import BridgeError
from dingbridge.events.facts import NO_FACTS
from dingbridge.ingress.admin.cli import app
from dingbridge.ingress.journal.file import JournalFile
from dingbridge.ingress.journal.folder import current, open_current
from dingbridge.ingress.journal.inspect import journal_status
from dingbridge.ingress.journal.locks import journal_lock
from dingbridge.ingress.journal.rows import DAMAGED, NO_TOPIC, Acknowledgement, NewCallback, Parked
from dingbridge.ingress.metrics import FolderMetrics
from dingbridge.settings import SAMPLE_CREDENTIALS
from tests.unit.ingress.filled import UNDERSTOOD, UNREADABLE_ROWS

NOW = 1_764_000_000_000
TOPIC = "dingtalk.user_add_org"
ACKED = 6
"""Up to here; of them 3 is parked for rights, 4 and 5 are parked as damaged."""


def body(number: int) -> bytes:
    return json.dumps({"EventType": "user_add_org", "UserId": [f"u{number}"], "name": "韩梅梅"}).encode()


@pytest.fixture
def root(tmp_path):
    """Ten callbacks, four of which wait; number 8 is damaged, too, and not noticed yet."""
    root = tmp_path / "journal"
    root.mkdir()
    with closing(open_current(root)) as file:
        callbacks = [NewCallback(NOW + n, "default", "http", body(n), NO_FACTS) for n in range(1, 11)]
        parked = [Parked(3, TOPIC, "rights", NOW), *(Parked(n, NO_TOPIC, DAMAGED, NOW) for n in (4, 5))]
        file.commit(callbacks, None, [Acknowledgement(ACKED, parked)])
        file.db.execute("UPDATE callbacks SET body = ? WHERE seq = 4", (body(4).replace(b"u4", b"u9"),))
        file.db.execute("DELETE FROM callbacks WHERE seq = 5")
        file.db.execute("UPDATE callbacks SET received_ms = 'x' WHERE seq = 8")
    return root


@pytest.fixture
def run(root, monkeypatch):
    """Run ``dingbridge journal …``: its exit code, output and error."""
    for name, value in {**SAMPLE_CREDENTIALS, "DINGTALK_API_BASE": "http://127.0.0.1:1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("JOURNAL_DIR", str(root))
    monkeypatch.setenv("ADMIN_PORT", "1")

    def run(*arguments):
        result = CliRunner().invoke(app, arguments)
        if isinstance(result.exception, BridgeError):
            return result.exception.exit_code, result.stdout, str(result.exception)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.stdout, result.stderr

    return run


def states(printed: str) -> dict[int, str]:
    rows = [line.split("\t") for line in printed.splitlines()[1:]]
    return {int(row[0]): row[5] for row in rows}


def test_the_list_marks_what_is_damaged_and_shows_nothing_more_of_it(run, root):
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
    assert "8\t-\t-\t-\t-\twaiting, damaged\n" in printed
    as_json = [json.loads(line) for line in run("list", "--json")[1].splitlines()]
    assert {line["seq"]: line["state"] for line in as_json} == states(printed)
    with closing(JournalFile(current(root), read_only=True)) as file:
        assert {line["journal"] for line in as_json} == {file.id}
    assert states(run("list", "--waiting")[1]).keys() == {7, 8, 9, 10}
    assert states(run("list", "--parked")[1]).keys() == {3, 4, 5}
    assert states(run("list", "-n", "2")[1]).keys() == {9, 10}


def test_one_that_is_damaged_is_shown_as_it_stands(run):
    assert "u1" in run("show", "1")[1]
    changed = run("show", "4")[1]
    assert "parked: damaged" in changed
    assert "韩梅梅" not in changed
    assert "u9" in changed
    assert "韩梅梅" in run("show", "4", "--reveal")[1]
    assert json.loads(run("show", "5")[1].splitlines()[0])["received"] is None
    assert "waiting, damaged" in run("show", "8")[1]
    assert run("show", "11")[0] == 1


def test_what_is_parked_is_counted_by_topic_and_reason_with_the_first_ones_time(run, root):
    with closing(open_current(root)) as file:
        more = [Parked(6, TOPIC, "rights", NOW + 1), Parked(2, TOPIC, "too_large", NOW + 1000)]
        file.commit([], None, [Acknowledgement(None, more)])
    groups = [tuple(group.values()) for group in json.loads(run("stats", "--json")[1])["parked"]]
    assert groups == [
        (NO_TOPIC, DAMAGED, 2, NOW),
        (TOPIC, "rights", 2, NOW),
        (TOPIC, "too_large", 1, NOW + 1000),
    ]
    words = run("stats")[1]
    assert "parked              2 callback(s): damaged, since 2025-11-24T16:00:00.000Z" in words
    assert f"parked              2 callback(s) for {TOPIC}: rights, since" in words


def test_a_journal_that_cannot_be_opened_is_said(run, root):
    other = root / "damaged-20260101T000000Z"
    other.mkdir()
    (other / "journal.db").write_bytes(b"no database" * 1000)
    assert len(states(run("list")[1])) == 10
    assert "damaged-20260101T000000Z: not drained yet, 0 callback(s) could not be read" in run("stats")[1]
    current(root).write_bytes(b"no database" * 1000)
    for command in (["list"], ["show", "1"], ["stats"]):
        code, printed, said = run(*command)
        assert (code, printed) == (1, ""), command
        assert "cannot be read" in said
        assert "start the ingress again" in said


@pytest.mark.parametrize("command", [["retry"], ["drain", "."]])
def test_without_a_running_ingress_its_verbs_say_what_to_do(run, command):
    code, _, said = run(*command)
    assert code == 1
    assert "`dingbridge journal publish` sends a folder to Kafka" in said


def test_only_a_folder_that_no_ingress_uses_and_that_is_drained_is_published(run, root, tmp_path):
    with journal_lock(root):
        assert "another ingress" in run("publish")[2]
    (root / "damaged-by-hand").mkdir()
    (root / "damaged-by-hand" / "journal.db").touch()
    assert f"{root / 'damaged-by-hand'} is not drained yet" in run("publish", str(root))[2]
    assert "there is no journal in" in run("publish", str(tmp_path / "nowhere"))[2]


@pytest.mark.parametrize("change", [*UNDERSTOOD.values(), *UNREADABLE_ROWS.values()])
def test_a_parked_row_that_has_changed_is_shown_and_ends_nothing(run, root, change):
    with closing(JournalFile(current(root))) as file:
        file.commit([], None, [Acknowledgement(None, [Parked(2, TOPIC, "rights", NOW)])])
        file.db.execute(f"UPDATE parked SET {change} WHERE seq = 2")
    unreadable = change in UNREADABLE_ROWS.values()
    code, printed, _ = run("stats")
    assert code == 0
    assert ("parked              1 callback(s): unreadable" in printed) is unreadable
    for command in (["stats", "--json"], ["list"], ["list", "--parked"], ["show", "2"]):
        assert run(*command)[0] == 0, command
    status = journal_status(root)
    assert sum(group.callbacks for group in status.parked) == 4
    status.show(FolderMetrics(registry := CollectorRegistry()))
    assert registry.get_sample_value("dingbridge_parked", {"reason": "unreadable"}) == (unreadable or None)
    assert orjson.dumps(status.as_json())

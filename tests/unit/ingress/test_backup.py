"""The journal in a back-up: copied while it is written, and imported into a new one, so no number is issued
twice."""

from contextlib import closing
from pathlib import Path

import pytest
from dingbridge.ingress.journal.directory import current, exclusive_locks, ingress_lock
from dingbridge.ingress.journal.startup import open_current

from dingbridge.ingress.admin.backup import refusals, restore, save
from dingbridge.settings import SAMPLE_CREDENTIALS
from tests.unit.ingress.test_importing import EXPECTED, entry, fill, numbers


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The back-up of a journal that is written meanwhile; then ``JOURNAL_DIR`` leads elsewhere."""
    # it is the test's own process, in which others look at what is logged
    monkeypatch.setattr("dingbridge.ingress.admin.client.configure_logging", lambda settings: None)
    for name, value in {**SAMPLE_CREDENTIALS, "DINGTALK_API_BASE": "http://127.0.0.1:1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("JOURNAL_DIR", str(tmp_path / "old"))
    assert save(tmp_path / "nothing") == []
    fill(tmp_path / "old")
    with closing(open_current(tmp_path / "old")) as file:
        [words] = save(tmp_path / "copy")
        assert "with its checkpoint" in words
        file.keep([entry(9_999)])
    monkeypatch.setenv("JOURNAL_DIR", str(tmp_path / "new"))
    return tmp_path / "copy"


def id_of(root: Path) -> str:
    with closing(open_current(root)) as file:
        return file.id


def test_what_waits_and_what_is_parked_comes_into_a_new_journal_once(tmp_path: Path, copy: Path) -> None:
    assert refusals(copy) == []
    assert "imported" in restore(copy)[0]
    assert refusals(copy) == [], "an earlier run may have been killed"
    restore(copy)
    assert numbers(tmp_path / "new") == EXPECTED
    assert id_of(tmp_path / "new") != id_of(tmp_path / "old")


def test_a_journal_that_is_still_there_or_another_one_is_left_alone(
    tmp_path: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "new").mkdir()
    with closing(open_current(tmp_path / "new")) as file:
        file.keep([entry(1)])
    [words] = refusals(copy)
    assert "there is another journal" in words
    assert "dingbridge journal drain" in words
    with exclusive_locks(ingress_lock(tmp_path / "new")):
        assert "another ingress" in refusals(copy)[0]
    monkeypatch.setenv("JOURNAL_DIR", str(tmp_path / "old"))
    assert "is the journal of the back-up" in refusals(copy)[0]
    current(tmp_path / "new").journal.write_bytes(b"x" * 5_000)
    monkeypatch.setenv("JOURNAL_DIR", str(tmp_path / "new"))
    assert "holds something else" in refusals(copy)[0]
    monkeypatch.delenv("DINGTALK_API_BASE")
    assert "needs the settings of its ingress" in refusals(copy)[0]

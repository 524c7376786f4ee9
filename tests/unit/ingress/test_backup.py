"""The journal in a back-up: copied while it is written, and put beside the current one, so that no number is
given twice."""

import shutil
from contextlib import closing
from pathlib import Path

import pytest

from dingbridge.errors import BridgeError
from dingbridge.ingress.admin.backup import refusals, restore, save
from dingbridge.ingress.journal.drain import Drainer
from dingbridge.ingress.journal.folder import current, put_aside
from dingbridge.settings import SAMPLE_CREDENTIALS
from tests.unit.ingress.filled import bodies_below, callback, fill, started


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The back-up of a journal that is written meanwhile; then ``JOURNAL_DIR`` is another folder."""
    for name, value in {**SAMPLE_CREDENTIALS, "DINGTALK_API_BASE": "http://127.0.0.1:1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("JOURNAL_DIR", str(tmp_path / "old"))
    assert save(tmp_path) == []
    (tmp_path / "copy").mkdir()
    with closing(fill(tmp_path / "old", 5, 3, (2,))) as file:
        assert save(tmp_path / "copy") == [str(current(tmp_path / "old"))]
        file.commit([callback(b"after the back-up")])
    monkeypatch.setenv("JOURNAL_DIR", str(tmp_path / "new"))
    return tmp_path / "copy"


async def test_what_waits_and_what_is_parked_comes_into_the_current_journal(
    tmp_path: Path, copy: Path
) -> None:
    async with started(tmp_path / "new") as journal:
        await journal.append(callback(b"6"))
        assert refusals(copy) == []
        [words] = restore(copy)
        assert words.endswith("the ingress drains it within a minute, or when it starts")
        [path] = put_aside(tmp_path / "new")
        assert (await Drainer(journal).drain(path)).kept == 3
    assert bodies_below(tmp_path / "new")[:-1] == [b"6", b"2", b"4", b"5"]


def test_a_copy_that_is_not_whole_yet_is_not_drained(
    tmp_path: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes()[:5_000])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(shutil, "copyfile", half)
        with pytest.raises(BridgeError, match=r"No space left on device.*free or repair the disk"):
            restore(copy)
    assert put_aside(tmp_path / "new") == []

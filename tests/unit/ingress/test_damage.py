"""What counts as damage of the journal, and what passes by itself."""

import errno
from pathlib import Path

import pytest

from dingbridge.ingress.journal.directory import report_damage, reported_damage


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES])
def test_a_machine_that_is_short_of_something_has_no_damaged_journal(tmp_path, monkeypatch, number):
    def fails(*_, **__):
        raise OSError(number, "short of it")

    monkeypatch.setattr(Path, "read_text", fails)
    assert reported_damage(tmp_path) is None


def test_a_disk_on_which_the_report_does_not_read_is_damage(tmp_path, monkeypatch):
    def fails(*_, **__):
        raise OSError(errno.EIO, "I/O error")

    report_damage(tmp_path, "a page is torn")
    assert reported_damage(tmp_path) == "a page is torn"
    monkeypatch.setattr(Path, "read_text", fails)
    assert "I/O error" in (reported_damage(tmp_path) or "")


@pytest.mark.parametrize("room", [True, False])
def test_a_report_is_found_with_its_words_or_not_at_all(tmp_path, monkeypatch, room):
    """The writer looks for one all the time, and ended with "the journal is damaged ()" where it looked while
    the file was made. A disk without room for the words takes the report without them."""
    found = []
    writes = Path.write_text

    def looks(path, *args, **kwargs):
        found.append(reported_damage(tmp_path))
        if not room:
            raise OSError(errno.ENOSPC, "no space left on device")
        return writes(path, *args, **kwargs)

    monkeypatch.setattr(Path, "write_text", looks)
    report_damage(tmp_path, "a page is torn")
    assert found == [None]
    assert reported_damage(tmp_path) == ("a page is torn" if room else "")
    assert [path.name for path in tmp_path.iterdir()] == ["damaged"]

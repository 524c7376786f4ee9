"""Files written whole or not at all: with their mode, through links, and on a disk that takes half of it."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dingbridge.files import new_file, replace_file


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """A disk that takes ``size`` bytes of a file, and then no more."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_the_file_is_replaced_whole_with_its_mode(tmp_path: Path) -> None:
    real, file = tmp_path / "real.toml", tmp_path / "apps.toml"
    real.write_text("old")
    real.chmod(0o640)
    file.symlink_to(real)
    replace_file(file, b"new")
    assert (file.is_symlink(), real.read_text(), real.stat().st_mode & 0o777) == (True, "new", 0o640)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["apps.toml", "real.toml"]


def test_a_new_file_is_private_and_takes_nobodys_place(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "token"
    new_file(path, b"first")
    with pytest.raises(FileExistsError):
        new_file(path, b"second")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"first", 0o600)
    assert list(path.parent.iterdir()) == [path]


def test_what_was_written_in_part_is_not_put_in_place(tmp_path: Path) -> None:
    there = tmp_path / "apps.toml"
    there.write_bytes(b"old")
    with room_for(10):
        for write in (replace_file, new_file):
            with pytest.raises(OSError, match="File too large"):
                write(there if write is replace_file else tmp_path / "token", b"x" * 100)
    assert there.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [there]

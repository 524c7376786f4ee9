"""Delays of retries, places of errors, and files that are written whole or not at all."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.error_location import error_location
from dingbridge.files import new_file, replace_file
from dingbridge.retry import ASKED_MAX_S, UNAVAILABLE_MAX_S, delay


@given(st.integers(1, 10_000))
def test_delays_grow_to_a_bound_and_are_spread(attempt: int) -> None:
    wait = delay(attempt, 0.5, 60)
    exact = min(60, 0.5 * 2 ** min(attempt - 1, 60))
    assert exact * 0.8 <= wait <= exact * 1.2


def test_the_world_is_asked_no_sooner_than_it_said() -> None:
    assert delay(1, asked_s=120) == 120
    assert delay(1, asked_s=10**9) == ASKED_MAX_S
    assert delay(500) <= UNAVAILABLE_MAX_S * 1.2


def test_place_names_type_and_line_of_the_consumers_code_without_the_text() -> None:
    try:
        orjson.loads("private words")
    except ValueError as error:
        text = error_location(error, "tests")
    assert text.startswith("orjson.JSONDecodeError at tests.unit.library.test_small_parts:")
    assert text.endswith("without_the_text")
    assert "private" not in text


# -- Files written whole or not at all: with their mode, through links, and on a disk that takes half of it


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

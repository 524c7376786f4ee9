"""Only the owner of the data folder can read the token, and all of his processes read the same one."""

import os
import stat
import subprocess
import sys

import pytest

from dingbridge.admin_token import FILE, admin_token
from dingbridge.errors import BridgeError


def test_the_first_makes_it_and_the_others_read_it(tmp_path):
    folder = tmp_path / "data"
    token = admin_token(folder)
    assert len(token) > 30
    assert admin_token(folder) == token
    assert stat.S_IMODE((folder / FILE).stat().st_mode) == 0o600


def test_whatever_the_umask_is_it_is_the_owners(tmp_path):
    before = os.umask(0)
    try:
        admin_token(tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


def test_processes_that_begin_at_once_agree(tmp_path):
    code = "import pathlib, sys, dingbridge.admin_token as t; print(t.admin_token(pathlib.Path(sys.argv[1])))"
    command = [sys.executable, "-c", code, str(tmp_path)]
    begun = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    assert len({one.communicate()[0] for one in begun} | {f"{admin_token(tmp_path)}\n".encode()}) == 1


def test_one_that_was_cut_off_while_it_was_made_is_made_again(tmp_path):
    (tmp_path / FILE).touch(mode=0o600)
    assert admin_token(tmp_path) == admin_token(tmp_path) != ""


def test_a_folder_that_cannot_be_is_said_in_words(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BridgeError, match="set DATA_DIR"):
        admin_token(tmp_path / "file")


@pytest.mark.parametrize("mode", [0o644, 0o602])
def test_one_that_others_may_read_or_write_is_refused_with_the_remedy(tmp_path, mode):
    admin_token(tmp_path)
    (tmp_path / FILE).chmod(mode)
    with pytest.raises(BridgeError, match=r"may be read or written by others.*remove it"):
        admin_token(tmp_path)


def test_one_of_a_stranger_is_refused_with_the_remedy(tmp_path, monkeypatch):
    admin_token(tmp_path)
    real = os.fstat

    def fstat(fd):
        found = list(real(fd))
        found[stat.ST_UID] += 1
        return os.stat_result(found)

    monkeypatch.setattr(os, "fstat", fstat)
    with pytest.raises(BridgeError, match=r"belongs to user id .*remove it"):
        admin_token(tmp_path)


def test_the_group_that_kubernetes_gives_a_volume_is_no_stranger(tmp_path):
    token = admin_token(tmp_path)
    (tmp_path / FILE).chmod(0o660)
    assert admin_token(tmp_path) == token

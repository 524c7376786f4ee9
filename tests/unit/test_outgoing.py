"""Consumers that call addresses which others wrote reach none that points inside: one table for all."""

import os
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import uvloop

from dingbridge.admin_token import FILE, admin_token
from dingbridge.consumers.approval.files import downloads
from dingbridge.consumers.approval.files.downloads import Downloads
from dingbridge.consumers.approval.settings import ApprovalSettings
from dingbridge.consumers.forward.delivery import Sender
from dingbridge.consumers.forward.settings import Credentials
from dingbridge.errors import BridgeError
from dingbridge.ssrf import AddressGuard
from tests.unit.forward.support import system
from tests.unit.library.test_addresses import INSIDE

HOSTS = [f"[{address}]" if ":" in address else address for address in INSIDE if "%" not in address]


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that were to be connected to; nothing leaves this machine."""
    addresses: list[str] = []

    async def connect(self: object, sock: object, address: tuple[str, int]) -> None:
        addresses.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(uvloop.Loop, "sock_connect", connect)
    return addresses


async def forwarded(host: str) -> str:
    """What forward says of a system there."""
    sender = Sender(system(url=f"https://{host}/hook"), Credentials((), {}), AddressGuard())
    await sender.open()
    try:
        return (await sender.post("msg_1", "application/json", b"{}")).words
    finally:
        await sender.close()


async def photo(host: str, folder: Path) -> str:
    """What the archive says of a photo there."""
    settings = ApprovalSettings(archive_dir=folder)
    nothing: Any = None
    work = Downloads(nothing, nothing, nothing, settings)
    file: Any = SimpleNamespace(kind="photo", url=f"https://{host}/photo.png", file_size=None)
    with pytest.raises(downloads._Failed) as failed:
        await work._download(nothing, file, nothing)
    return f"{failed.value}, {'refused' if isinstance(failed.value, downloads._Refused) else 'later'}"


@pytest.mark.parametrize("host", HOSTS)
async def test_no_address_that_points_inside_is_connected_to(
    host: str, connected: list[str], tmp_path: Path
) -> None:
    assert "points inside" in await forwarded(host)
    assert await photo(host, tmp_path) == "its address points inside, refused"
    assert connected == []


@pytest.mark.parametrize("host", ["93.184.216.34", "[2606:4700::1111]"])
async def test_public_addresses_are_connected_to(host: str, connected: list[str], tmp_path: Path) -> None:
    assert "points inside" not in await forwarded(host)
    assert await photo(host, tmp_path) == "no answer (ClientConnectorError), later"
    assert connected == [host.strip("[]")] * 2


# -- Only the owner of the data folder can read the token, and all of his processes read the same one


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

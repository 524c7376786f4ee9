"""Consumers that call addresses which others wrote reach none that points inside: one table for all."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import uvloop

from dingbridge.consumers.approval.files import downloads
from dingbridge.consumers.approval.files.downloads import Downloads
from dingbridge.consumers.approval.settings import ApprovalSettings
from dingbridge.consumers.forward.delivery import Sender
from dingbridge.consumers.forward.settings import Credentials
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
    fetcher: Any = SimpleNamespace(database=None, metrics=None, rights=None)
    work = Downloads(fetcher, None, settings)  # type: ignore[arg-type]
    row: Any = SimpleNamespace(kind="photo", url=f"https://{host}/photo.png", file_size=None)
    with pytest.raises(downloads._Failed) as failed:
        await work._download(row)
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

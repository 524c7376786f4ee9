"""The console does not outlive a task that it needs."""

import asyncio
from pathlib import Path

import pytest

from dingbridge.console.app import open_console
from dingbridge.console.index.feed import Feed
from dingbridge.console.server import run
from dingbridge.console.watch import Watch
from dingbridge.tasks import TaskEnded
from tests.unit.console.support import settings_in


@pytest.mark.parametrize(
    ("of", "method", "name"),
    [
        (Feed, "_follow", "fills the index"),
        (Watch, "_look", "looks at the listeners"),
        (Watch, "_look_at_groups", "looks at the groups"),
    ],
)
async def test_a_task_that_ends_ends_the_process_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: type, method: str, name: str
) -> None:
    async def fails(_: object) -> None:
        raise KeyError("张三")

    monkeypatch.setattr(of, method, fails)
    settings = settings_in(
        tmp_path, console_port=0, console_proxy_user_header="X-User", trusted_proxies=["127.0.0.0/8"]
    )
    with pytest.raises(TaskEnded, match=f"{name} has ended") as raised:
        async with asyncio.timeout(60):
            await run(open_console(settings))
    assert "张三" not in str(raised.value)

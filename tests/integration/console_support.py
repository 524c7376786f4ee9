"""A console in this process on real sources, and its forms filled in as a browser without scripts would."""

import asyncio
import html
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse

from dingbridge.console.access.users import Role
from dingbridge.console.settings import ConsoleSettings
from tests.support.waiting import eventually
from tests.support.warm import fits, warm
from tests.unit.console.support import Browser, browser, use_quick_hasher

Fields = list[tuple[str, str]]


class Form(HTMLParser):
    """The fields of the first form that leads to ``action``, and the names of its buttons' values."""

    def __init__(self, text: str, action: str) -> None:
        super().__init__()
        self.action, self.found, self._inside = action, False, False
        self.hidden: Fields = []
        self.boxes: Fields = []
        self.feed(text)
        assert self.found, f"no form for {action}:\n{text}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form" and not self.found and given.get("action") == self.action:
            self.found = self._inside = True
        elif self._inside and tag == "input" and given.get("type") == "hidden":
            self.hidden.append((given["name"], given["value"]))
        elif self._inside and tag == "input" and given.get("type") == "checkbox":
            self.boxes.append((given["name"], given["value"]))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._inside = False


class ForkedCommand:
    """A command of the console, forked from a process that has imported everything: what the console uses of
    ``asyncio.subprocess.Process``."""

    def __init__(self, arguments: list[str], env: Mapping[str, str]) -> None:
        reading, writing = os.pipe()
        with os.fdopen(writing, "wb") as output:
            self._process = warm().start(arguments, env=env, cwd=Path.cwd(), out=output, err=output)
        self._reading = os.fdopen(reading, "rb")
        self.stdout = asyncio.StreamReader()
        self.returncode: int | None = None

    async def connect(self) -> None:
        protocol = asyncio.StreamReaderProtocol(self.stdout)
        await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, self._reading)

    async def wait(self) -> int:
        self.returncode = await asyncio.to_thread(self._process.wait)
        return self.returncode

    def send_signal(self, number: int) -> None:
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


_exec = asyncio.create_subprocess_exec


async def forked(*command: str, env: Mapping[str, str], **pipes: Any) -> Any:
    """``asyncio.create_subprocess_exec`` for the console: ``dingbridge`` is forked."""
    if command[:3] != (sys.executable, "-m", "dingbridge.cli.main") or not fits(env):
        return await _exec(*command, env=env, **pipes)
    process = ForkedCommand([*command[3:]], env)
    await process.connect()
    return process


@asynccontextmanager
async def console_at(
    folder: Path, env: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, role: Role
) -> AsyncIterator[Browser]:
    """Somebody of ``role``, logged in to a console whose environment, and its commands', is ``env``."""
    use_quick_hasher(monkeypatch)
    monkeypatch.setattr(asyncio, "create_subprocess_exec", forked)
    for name, value in {**env, "DATA_DIR": str(folder)}.items():
        monkeypatch.setenv(name, value)
    async with browser(ConsoleSettings.load()) as who:
        await who.log_in(role)
        yield who


def words(text: str) -> str:
    """What a page says, without its tags."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text.replace("<wbr>", ""))).split())


async def page(who: Browser, path: str, query: Any = None, status: int = 200) -> str:
    answer = await who.client.get(path, params=query, allow_redirects=False)
    text = await answer.text()
    assert answer.status == status, text
    return text


async def submit(who: Browser, path: str, fields: Fields, status: int = 200) -> str:
    answer = await who.client.post(path, data=fields, allow_redirects=False)
    text = await answer.text()
    assert answer.status == status, text
    return text


async def confirmed(who: Browser, path: str, fields: Fields) -> str:
    """The page that asks, after ``fields`` were counted."""
    answer = await who.client.post(path, data=[*fields], allow_redirects=False)
    assert answer.status == 303, await answer.text()
    return await page(who, answer.headers["Location"])


async def done(who: Browser, asking: str) -> str:
    """The page of the result, after the one button of the page that asks was pressed."""
    path = re.findall(r'action="(/confirm/[^"]+)"', asking)[0]
    answer = await who.client.post(path, data=Form(asking, path).hidden, allow_redirects=False)
    return await result(who, answer)


async def result(who: Browser, answer: ClientResponse) -> str:
    """What the page says to which an act's POST leads, as soon as it has ended."""
    assert answer.status == 303, await answer.text()
    address = answer.headers["Location"]

    async def ended() -> str:
        text = await page(who, address)
        return "" if "hx-get" in text else text

    return await eventually(ended, 120, "the act has ended")


def audited(who: Browser) -> list[Mapping[str, Any]]:
    import orjson

    return [orjson.loads(line) for line in who.console.audit.path.read_bytes().splitlines()]

"""The simulator's callbacks: registration, pushes, the failed list, a life by itself, the command."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from dingbridge.simulator.pushes import push as push_module
from dingbridge.simulator.server import Simulator
from tests.integration.simulator_support import (
    AES_KEY,
    TAGS,
    TOKEN,
    Answer,
    Api,
    Receiver,
    other_text,
    plain_success,
    redirect,
    serving,
    settings,
    unavailable,
    until_released,
    wrong_signature,
)
from tests.support.waiting import eventually


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    async with serving(receiver):
        yield receiver


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(settings()) as simulator:
        yield simulator


@pytest.fixture
async def api(simulator: Simulator) -> AsyncIterator[Api]:
    async with aiohttp.ClientSession() as session:
        api = Api(simulator.base_url, session)
        await api.login()
        yield api


# -- registration


async def test_a_registration_is_validated(receiver: Receiver, api: Api) -> None:
    body = {"call_back_tag": TAGS, "token": TOKEN, "aes_key": AES_KEY, "url": receiver.url}
    for change, errcode in (
        ({"call_back_tag": ["user_add_org", "no_such_event"]}, 71008),
        ({"call_back_tag": ["check_url"]}, 71008),
        ({"call_back_tag": []}, 71010),
        ({"call_back_tag": "user_add_org"}, 71010),
        ({"token": "short"}, 71010),
        ({"token": "t" * 64}, 71010),
        ({"token": None}, 71010),
        ({"aes_key": "k" * 42}, 71010),
        ({"aes_key": "-" * 43}, 71010),
        ({"url": None}, 71010),
        ({"url": "ftp://example.com/x"}, 71011),
        ({"url": "http://exa mple.com/"}, 71011),
        ({"url": "http://127.0.0.1:99999/"}, 71011),
        ({"url": "https://oapi.dingtalk.com/callback"}, 71013),
        ({"url": "http://127.0.0.1:1/callback"}, 71012),
    ):
        assert (await api.call("/call_back/register_call_back", body | change))["errcode"] == errcode, change
    assert receiver.plaintexts == []


@pytest.mark.parametrize(
    ("answer", "errcode", "words", "outcome"),
    [
        (unavailable, 71012, "http statusCode is:503", "http_503"),
        (plain_success, 71009, "JSON", "reply_not_json"),
        (other_text, 71009, "success", "reply_text"),
        (wrong_signature, 71009, "签名", "reply_signature"),
        (redirect, 71012, "不允许3xx跳转", "redirect"),
        (until_released, 71012, "Read timed out", "timeout"),
    ],
)
async def test_a_wrong_answer_is_named_at_check_url_and_pushed_again_later(
    receiver: Receiver, api: Api, simulator: Simulator, answer: Answer, errcode: int, words: str, outcome: str
) -> None:
    receiver.answers = [answer]
    refused = await api.register(receiver)
    assert refused["errcode"] == errcode
    assert words in refused["errmsg"]
    assert (await api.fetch("/call_back/get_call_back"))["errcode"] == 71007
    await api.register(receiver)
    receiver.answers = [answer]
    await api.post("/_sim/act", {"action": "hire", "follow_up": False})
    await simulator.pusher.drain()
    (push,) = simulator.pusher.pushes()
    assert ([a.outcome for a in push.attempts], push.state) == ([outcome, "success"], "answered")
    assert receiver.plaintexts[-2:] == [push.plaintext] * 2
    assert receiver.queries[-2] != receiver.queries[-1]
    assert len(simulator.failed) == 0


# -- pushes


async def test_only_registered_tags_are_pushed_and_each_once(
    receiver: Receiver, api: Api, simulator: Simulator
) -> None:
    await api.post("/_sim/act", {"action": "hire"})
    await api.register(receiver, ["user_add_org"])
    done = await api.post("/_sim/act", {"action": "hire", "count": 2, "follow_up": True})
    assert [e["event_type"] for e in done["events"]] == ["user_add_org", "user_modify_org"]
    assert len(done["pushes"]) == 1
    await simulator.pusher.drain()
    assert receiver.events[1:] == [done["events"][0]["payload"]]
    listed = await api.get("/_sim/pushes", since=0)
    (entry,) = listed["pushes"]
    assert listed["last_id"] == entry["id"] == done["pushes"][0]
    assert (entry["event_type"], entry["answered_success"]) == ("user_add_org", True)
    assert json.loads(entry["plaintext"]) == done["events"][0]["payload"]
    assert [(a["status"], a["outcome"]) for a in entry["attempts"]] == [(200, "success")]
    assert await api.get("/_sim/pushes", since=entry["id"]) == {"pushes": [], "last_id": entry["id"]}


async def test_pushes_at_once_are_bounded_and_none_is_lost(
    receiver: Receiver, api: Api, simulator: Simulator
) -> None:
    await api.register(receiver, ["user_add_org"])
    receiver.forever = until_released
    for _ in range(100):
        simulator.act("hire", {"count": 1, "follow_up": False})
    await eventually(lambda: receiver.at_once >= push_module.CONCURRENCY)
    receiver.released.set()
    receiver.forever = None
    stats = await api.post("/_sim/drain")
    assert receiver.most_at_once == push_module.CONCURRENCY
    assert (stats["answered"], stats["pending"]) == (100, 0)
    assert 0 < stats["p50_ms"] <= stats["p99_ms"]
    assert stats["api_calls"]["/gettoken"] == 1
    assert set(receiver.plaintexts[1:]) == {p.plaintext for p in simulator.pusher.pushes()}


# -- a life by itself


async def test_a_script_is_acted_out(receiver: Receiver, tmp_path: Path) -> None:
    script = tmp_path / "s.toml"
    script.write_text(
        '[[steps]]\nat = 0\naction = "hire"\nrepeat = 3\nevery = 0.01\n'
        '[[steps]]\nat = 0.05\naction = "leave"\nuserid = "nobody"\n'
        '[[steps]]\nat = 0.06\naction = "create_department"\n'
    )
    async with Simulator(settings(script=script)) as simulator, aiohttp.ClientSession() as session:
        api = Api(simulator.base_url, session)
        await api.login()
        await api.register(receiver, ["user_add_org", "org_dept_create"])
        await eventually(lambda: len(receiver.events) == 1 + 4)
        # in the order of events: pushes may arrive in another
        told = [json.loads(push.plaintext)["EventType"] for push in simulator.pusher.pushes()]
        assert told == ["user_add_org"] * 3 + ["org_dept_create"]


# -- the command


@asynccontextmanager
async def command(folder: Path, *arguments: str, **environment: str) -> AsyncIterator[str]:
    """A simulator as a process, which ends well at SIGTERM; its address."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, env={**os.environ, "LOG_FORMAT": "json", **environment}, cwd=folder,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        async with asyncio.timeout(60):
            listening = json.loads(await process.stderr.readline())
            assert listening["event"] == "simulator.listening"
            yield listening["url"]
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


COMMAND = [sys.executable, "-c", "from dingbridge.cli.main import main; main()", "simulator"]


async def test_the_command_runs_acts_and_ends_at_sigterm(tmp_path: Path) -> None:
    async def act(*arguments: str) -> tuple[int | None, bytes, bytes]:
        process = await asyncio.create_subprocess_exec(
            *COMMAND, "act", *arguments, "--url", url,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, words = await process.communicate()
        return process.returncode, output, words

    async with command(tmp_path, SIMULATOR_PORT="0") as url:
        code, output, _ = await act("hire", "name=王伟", "follow_up=false")
        assert (code, json.loads(output)["EventType"]) == (0, "user_add_org")
        code, _, words = await act("fly")
        assert code == 1
        assert b"no such action" in words
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - pathlib's way is taken for blocking

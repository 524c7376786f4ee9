"""The simulator's pushes over real HTTP: repeats, the failed list, a life by itself, the command."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dingbridge.simulator.company.platform import Platform
from dingbridge.simulator.pushes import push as push_module
from dingbridge.simulator.server import Simulator
from tests.integration.simulator_support import (
    CREDENTIALS,
    OWNER,
    TAGS,
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
    assert entry["event_type"] == "user_add_org"
    assert entry["answered_success"] is True
    assert json.loads(entry["plaintext"]) == done["events"][0]["payload"]
    assert [(a["status"], a["outcome"]) for a in entry["attempts"]] == [(200, "success")]
    assert await api.get("/_sim/pushes", since=entry["id"]) == {"pushes": [], "last_id": entry["id"]}


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (unavailable, "http_503"),
        (plain_success, "reply_not_json"),
        (other_text, "reply_text"),
        (wrong_signature, "reply_signature"),
        (redirect, "redirect"),
        (until_released, "timeout"),
    ],
)
async def test_a_push_that_is_not_answered_is_repeated(
    receiver: Receiver, api: Api, simulator: Simulator, answer: Answer, outcome: str
) -> None:
    await api.register(receiver)
    receiver.answers = [answer]
    await api.post("/_sim/act", {"action": "hire", "follow_up": False})
    await simulator.pusher.drain()
    (push,) = simulator.pusher.pushes()
    assert [a.outcome for a in push.attempts] == [outcome, "success"]
    assert push.state == "answered"
    assert receiver.plaintexts[1] == receiver.plaintexts[2] == push.plaintext
    assert receiver.queries[1] != receiver.queries[2]
    assert len(simulator.failed) == 0


async def test_retries_come_after_10_and_30_scaled_seconds(
    receiver: Receiver, api: Api, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    really = loop.call_later
    delays = []

    def call_later(delay: float, callback: Any, *args: Any, **more: Any) -> asyncio.TimerHandle:
        if getattr(callback, "__func__", None) is push_module.Pusher._retry:
            delays.append(delay)
        return really(delay, callback, *args, **more)

    monkeypatch.setattr(loop, "call_later", call_later)
    await api.register(receiver)
    receiver.forever = unavailable
    await api.post("/_sim/act", {"action": "hire", "follow_up": False})
    await simulator.pusher.drain()
    assert delays == [pytest.approx(0.010), pytest.approx(0.030)]


async def test_what_stays_unanswered_goes_to_the_failed_list(
    receiver: Receiver, api: Api, simulator: Simulator
) -> None:
    await api.register(receiver)
    receiver.forever = unavailable
    hired = await api.post("/_sim/act", {"action": "hire", "count": 2, "follow_up": False})
    started = await api.post("/_sim/act", {"action": "start_approval", "process_code": "PROC-LEAVE"})
    drained = await api.post("/_sim/drain")
    assert drained["drained"] is True
    assert (drained["pushed"], drained["failed"], drained["answered"]) == (3, 3, 0)
    assert [len(p.attempts) for p in simulator.pusher.pushes()] == [3, 3, 3]
    # not at once: some minutes after the last retry, scaled like the retries
    await eventually(lambda: len(simulator.failed) == 3)
    listed = await api.fetch("/call_back/get_call_back_failed_result")
    assert (listed["errcode"], listed["has_more"]) == (0, False)
    by_tag = {item["call_back_tag"]: item for item in listed["failed_list"]}
    payload = hired["events"][0]["payload"]
    assert by_tag["user_add_org"]["user_add_org"] == {
        "userid": payload.get("UserId", payload.get("userId")),
        "corpid": "dingcorpsample01",
    }
    assert isinstance(by_tag["user_add_org"]["event_time"], int)
    instance = by_tag["bpms_instance_change"]["bpms_instance_change"]["bpmsCallBackData"]
    assert instance["processInstanceId"] == started["events"][0]["payload"]["processInstanceId"]
    again = await api.fetch("/call_back/get_call_back_failed_result")
    assert (again["failed_list"], again["has_more"]) == ([], False)


async def test_the_failed_list_comes_in_pages_of_200(
    receiver: Receiver, api: Api, simulator: Simulator
) -> None:
    await api.register(receiver, ["user_add_org"])
    receiver.forever = unavailable
    for _ in range(250):
        simulator.act("hire", {"count": 1, "follow_up": False})
    await simulator.pusher.drain()
    await eventually(lambda: simulator.stats()["failed_unlisted"] == 0)
    first = await api.fetch("/call_back/get_call_back_failed_result")
    assert (len(first["failed_list"]), first["has_more"]) == (200, True)
    second = await api.fetch("/call_back/get_call_back_failed_result")
    assert (len(second["failed_list"]), second["has_more"]) == (50, False)
    assert simulator.stats()["failed_list"] == 50


async def test_after_an_outage_the_push_goes_where_the_callback_is_now(
    receiver: Receiver, api: Api, simulator: Simulator
) -> None:
    await api.register(receiver)
    simulator.pusher.retry_scale = 1000  # waits far longer than this test
    receiver.answers = [unavailable]
    await api.post("/_sim/act", {"action": "hire", "follow_up": False})
    await eventually(lambda: simulator.pusher._timers)
    assert (await api.post("/_sim/drain", {"timeout_s": 0.05}))["drained"] is False
    assert simulator.pusher.pending == 1
    assert (await api.fetch("/call_back/delete_call_back"))["errcode"] == 0
    (push,) = simulator.pusher.pushes()
    simulator.pusher._timers[push.id].cancel()
    simulator.pusher._retry(push)
    await simulator.pusher.drain()
    assert push.state == "dropped"
    assert len(simulator.failed) == 0


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


async def test_now_and_then_a_push_comes_twice(receiver: Receiver) -> None:
    async with Simulator(settings(duplicates=1)) as simulator, aiohttp.ClientSession() as session:
        api = Api(simulator.base_url, session)
        await api.login()
        await api.register(receiver)
        simulator.act("hire", {"count": 1, "follow_up": False})
        await simulator.pusher.drain()
    assert len(receiver.plaintexts) == 3
    assert receiver.plaintexts[1] == receiver.plaintexts[2]


async def test_the_company_lives_at_a_rate_once_somebody_is_registered(
    receiver: Receiver, api: Api, simulator: Simulator
) -> None:
    assert await api.post("/_sim/rate", {"per_second": 500}) == {"per_second": 500.0}
    await api.register(receiver)
    await eventually(lambda: simulator.pusher.counts["answered"] >= 100)
    stats = await api.post("/_sim/drain")
    assert stats["rate"] == 0
    assert stats["pushed"] == stats["answered"] == len(receiver.plaintexts) - 1


ID = "processInstanceId"


async def test_a_script_is_acted_out_and_two_runs_are_alike(tmp_path: Path) -> None:
    script = tmp_path / "s.toml"
    script.write_text(
        '[[steps]]\nat = 0\naction = "hire"\nrepeat = 3\nevery = 0.01\n'
        '[[steps]]\nat = 0.05\naction = "start_approval"\n[[steps]]\nat = 0.06\naction = "refuse"\n'
        '[[steps]]\nat = 0.07\naction = "leave"\nuserid = "nobody"\n'
        '[[steps]]\nat = 0.08\naction = "create_department"\n'
    )

    async def run() -> list[Any]:
        receiver = Receiver()
        options = settings(script=script, generation="old", seed=9)
        async with serving(receiver), Simulator(options) as simulator, aiohttp.ClientSession() as session:
            api = Api(simulator.base_url, session)
            await api.login()
            await api.register(receiver, [*TAGS, "org_dept_create"])
            await eventually(lambda: any(e["EventType"] == "org_dept_create" for e in receiver.events))
            await simulator.pusher.drain()
            keys = ("EventType", "type", "UserId", "DeptId", "staffId", ID)
            # in the order of events: pushes may arrive in another
            events = [json.loads(p.plaintext) for p in simulator.pusher.pushes()]
            # an approval's id ends in the second of its start
            told = [{**event, ID: event.get(ID, "")[:-10]} for event in events]
            return [[event.get(key) for key in keys] for event in told]

    first = await run()
    assert [e[0] for e in first if e[0].startswith("user_add")] == ["user_add_org"] * 3
    assert first == await run()


async def test_build_push_is_accepted_by_a_receiver(receiver: Receiver) -> None:
    event = Platform(users=3, departments=1).act("hire")[0]
    query, body = push_module.build_push(CREDENTIALS, event.plaintext(), OWNER)
    async with (
        aiohttp.ClientSession() as session,
        session.post(receiver.url, params=query, data=body) as response,
    ):
        assert (
            push_module.check_reply(CREDENTIALS, OWNER, response.status, await response.read()) == "success"
        )
    assert receiver.plaintexts == [event.plaintext()]


async def test_the_command_runs_acts_and_ends_at_sigterm(tmp_path: Path) -> None:
    environment = {**os.environ, "LOG_FORMAT": "json", "SIMULATOR_PORT": "0"}
    command = [sys.executable, "-c", "from dingbridge.cli.main import main; main()", "simulator"]
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, cwd=tmp_path, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(60):
            listening = json.loads(await process.stderr.readline())
            assert listening["event"] == "simulator.listening"
            act = await asyncio.create_subprocess_exec(
                *command, "act", "hire", "name=王伟", "follow_up=false", "--url", listening["url"],
                env=environment, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            output, _ = await act.communicate()
            assert act.returncode == 0
            assert json.loads(output)["EventType"] == "user_add_org"
            refused = await asyncio.create_subprocess_exec(
                *command, "act", "fly", "--url", listening["url"],
                env=environment, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            _, words = await refused.communicate()
            assert refused.returncode == 1
            assert b"no such action" in words
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - pathlib's way is taken for blocking

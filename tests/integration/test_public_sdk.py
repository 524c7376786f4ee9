"""The simulator with a public DingTalk SDK, unchanged, as its client.

Neither the SDK's names of calls and parameters nor its reading of answers come from this project.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from dingbridge.simulator.server import Simulator
from tests.integration.simulator_support import AES_KEY, TOKEN, settings
from tests.support.profiles import KIND
from tests.support.waiting import eventually

SDK = Path(sys.prefix) / "sdk"
SCRIPT = Path(__file__).parents[1] / "support" / "public_sdk.py"
CORP = "dingcorpsample01"


class Sdk:
    """The SDK's process: ``call`` returns a result, ``errcode`` what it was refused with."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def call(self, name: str, **arguments: Any) -> Any:
        answer = await self.answer(name, **arguments)
        assert "result" in answer, answer
        return answer["result"]

    async def errcode(self, name: str, **arguments: Any) -> Any:
        answer = await self.answer(name, **arguments)
        assert "errcode" in answer, answer
        return answer["errcode"]

    async def answer(self, name: str, **arguments: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"call": name, "args": arguments}).encode() + b"\n")
        async with asyncio.timeout(60):
            line = await self._process.stdout.readline()
        assert line, "the SDK's process ended"
        answer: dict[str, Any] = json.loads(line)
        return answer


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    # pushes of a callback that was registered by API are encrypted for the corp id, which the SDK expects
    async with Simulator(settings(owner_key=CORP, profile=KIND)) as simulator:  # as the pages have it
        yield simulator


@asynccontextmanager
async def started(base: str) -> AsyncIterator[Sdk]:
    assert SDK.is_dir(), f"{SDK} is missing; `make install` puts the public SDK there"
    app = "dingsampleappkey01", "dingbridge-sample-secret-not-secret"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", str(SCRIPT), str(SDK), base, CORP, *app, TOKEN, AES_KEY,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**24,
    )  # fmt: skip
    try:
        yield Sdk(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.fixture
async def sdk(simulator: Simulator) -> AsyncIterator[Sdk]:
    async with started(simulator.base_url) as sdk:
        yield sdk


class Receiver:
    """A callback URL whose crypto is the SDK's."""

    def __init__(self, sdk: Sdk) -> None:
        self._sdk = sdk
        self._one_at_a_time = asyncio.Lock()
        self.events: list[dict[str, Any]] = []
        self.answers = True
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        body, query = await request.json(), request.query
        if not self.answers:
            return web.Response(status=503)
        async with self._one_at_a_time:
            text = await self._sdk.call(
                "crypto.decrypt_message",
                msg=body,
                signature=query["signature"],
                timestamp=query["timestamp"],
                nonce=query["nonce"],
            )
            self.events.append(json.loads(text))
            return web.json_response(await self._sdk.call("crypto.encrypt_message", msg="success"))


@pytest.fixture
async def receiver(simulator: Simulator) -> AsyncIterator[Receiver]:
    # with an SDK of its own: the other one waits while DingTalk checks the URL
    async with started(simulator.base_url) as sdk:
        receiver = Receiver(sdk)
        await sdk.call("crypto.encrypt_message", msg="warm")  # DingTalk does not wait for imports
        app = web.Application()
        app.router.add_post("/callback", receiver.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/callback"
        try:
            yield receiver
        finally:
            await runner.cleanup()


async def topapi(sdk: Sdk, path: str, **body: Any) -> Any:
    """A call that is newer than the SDK, by the SDK's general way."""
    return (await sdk.call("post", uri=f"/topapi/{path}", data=body))["result"]


async def test_a_callback_from_its_registration_to_its_end(
    simulator: Simulator, sdk: Sdk, receiver: Receiver
) -> None:
    tags = ["user_add_org", "bpms_instance_change", "bpms_task_change"]
    registration = {"call_back_tags": tags, "token": TOKEN, "aes_key": AES_KEY, "url": receiver.url}
    assert await sdk.errcode("callback.get_call_back") == 71007
    await sdk.call("callback.register_call_back", **registration)
    assert [event["EventType"] for event in receiver.events] == ["check_url"]
    assert await sdk.errcode("callback.register_call_back", **registration) == 71006
    shown = await sdk.call("callback.get_call_back")
    assert (shown["call_back_tag"], shown["url"]) == (tags, receiver.url)
    simulator.act("hire", {"count": 2, "follow_up": False})
    simulator.act("start_approval", {"process_code": "PROC-LEAVE"})
    await simulator.pusher.drain()
    assert simulator.pusher.counts["answered"] == 3
    seen = receiver.events[1:]
    assert sorted(event["EventType"] for event in seen) == sorted(tags)
    assert all({"CorpId", "corpId"} & event.keys() for event in seen)
    await sdk.call("callback.update_call_back", **registration | {"call_back_tags": tags[:1]})
    assert (await sdk.call("callback.get_call_back"))["call_back_tag"] == tags[:1]
    await sdk.call("callback.delete_call_back")
    assert await sdk.errcode("callback.delete_call_back") == 71007


async def test_what_was_never_delivered(simulator: Simulator, sdk: Sdk, receiver: Receiver) -> None:
    await sdk.call(
        "callback.register_call_back",
        call_back_tags=["user_add_org"], token=TOKEN, aes_key=AES_KEY, url=receiver.url,
    )  # fmt: skip
    receiver.answers = False
    simulator.act("hire", {"count": 1, "follow_up": False})
    await eventually(lambda: len(simulator.failed) == 1)
    listed = await sdk.call("callback.get_call_back_failed_result")
    assert [item["call_back_tag"] for item in listed["failed_list"]] == ["user_add_org"]
    assert listed["has_more"] is False
    assert (await sdk.call("callback.get_call_back_failed_result"))["failed_list"] == []
    now = int(time.time())
    req = {"tags": ["user_add_org"], "cursor": 0, "status": 1, "page_size": 10}
    req |= {"begin_time": now - 3600, "end_time": now + 3600}
    page = await sdk.call("tbdingding.dingtalk_oapi_callback_failrecord_list", req=req)
    (record,) = page["list"]
    assert json.loads(record["call_back_data"])["EventType"] == "user_add_org"
    await sdk.call("tbdingding.dingtalk_oapi_callback_failrecord_confirm", id_list=[record["id"]])
    assert (await sdk.call("tbdingding.dingtalk_oapi_callback_failrecord_list", req=req))["list"] == []


async def test_people_departments_and_scope(simulator: Simulator, sdk: Sdk) -> None:
    state = simulator.state()
    departments, waiting = {1: await topapi(sdk, "v2/department/get", dept_id=1)}, [1]
    users: dict[str, Any] = {}
    while waiting:
        dept_id = waiting.pop()
        for child in await topapi(sdk, "v2/department/listsub", dept_id=dept_id):
            waiting.append(child["dept_id"])
            departments[child["dept_id"]] = await topapi(sdk, "v2/department/get", dept_id=child["dept_id"])
        cursor, more = 0, True
        while more:
            page = await topapi(sdk, "v2/user/list", dept_id=dept_id, cursor=cursor, size=3)
            for user in page["list"]:
                users[user["userid"]] = await topapi(sdk, "v2/user/get", userid=user["userid"])
            cursor, more = page.get("next_cursor", 0), page["has_more"]
    assert list(departments.values()) != []
    assert {d: departments[d] for d in departments} == {d["dept_id"]: d for d in state["departments"]}
    assert users == {u["userid"]: u for u in state["users"]}
    assert await topapi(sdk, "user/count", only_active=False) == {"count": len(users)}
    scopes = await sdk.call("user.auth_scopes")
    assert scopes["auth_org_scopes"] == {"authed_dept": [1], "authed_user": []}
    simulator.scope.set([], [next(iter(users))])
    assert (await sdk.call("user.auth_scopes"))["auth_org_scopes"]["authed_user"] == [next(iter(users))]
    refused = {"uri": "/topapi/v2/department/get", "data": {"dept_id": 1}}
    assert await sdk.errcode("post", **refused) == 50004


async def test_people_and_departments_are_written(simulator: Simulator, sdk: Sdk) -> None:
    async def errcode(path: str, **body: Any) -> Any:
        return await sdk.errcode("post", uri=f"/topapi/{path}", data=body)

    dept = (await topapi(sdk, "v2/department/create", name="研发", parent_id=1, source_identifier="D-1"))[
        "dept_id"
    ]
    user = {"userid": "oa-1", "name": "张三", "mobile": "13800000001", "dept_id_list": f"{dept},1"}
    assert (await topapi(sdk, "v2/user/create", **user))["userid"] == "oa-1"
    assert await errcode("v2/user/create", **user) == 60102
    assert await errcode("v2/department/create", name="研发", parent_id=1) == 60021
    await sdk.call("post", uri="/topapi/v2/user/update", data={"userid": "oa-1", "title": "主管"})
    await sdk.call(
        "post", uri="/topapi/v2/department/update", data={"dept_id": dept, "dept_manager_userid_list": "oa-1"}
    )
    shown = await topapi(sdk, "v2/user/get", userid="oa-1")
    assert (shown["name"], shown["title"], shown["dept_id_list"]) == ("张三", "主管", [dept, 1])
    assert shown["leader_in_dept"][0] == {"dept_id": dept, "leader": True}
    assert (await topapi(sdk, "v2/user/getbymobile", mobile="13800000001"))["userid"] == "oa-1"
    assert (await topapi(sdk, "v2/department/get", dept_id=dept))["source_identifier"] == "D-1"
    assert await errcode("v2/department/delete", dept_id=dept) == 60005
    await sdk.call("post", uri="/topapi/v2/user/delete", data={"userid": "oa-1"})
    await sdk.call("post", uri="/topapi/v2/department/delete", data={"dept_id": dept})
    assert await errcode("v2/user/get", userid="oa-1") == 60121
    assert dept not in simulator.platform.company.departments


@pytest.mark.parametrize(
    "family", ["role.", "tbdingding.dingtalk_oapi_role_"], ids=["former names", "newer names"]
)
async def test_roles(simulator: Simulator, sdk: Sdk, family: str) -> None:
    groups, offset, more = [], 0, True
    while more:
        page = await sdk.call(f"{family}list", offset=offset, size=1)
        groups += page["list"]
        offset, more = offset + 1, page["hasMore"]
    assert groups == simulator.state()["role_groups"]
    roles = {role["id"] for group in groups for role in group["roles"]}
    for role_id in roles:
        listed = (await sdk.call(f"{family}simplelist", role_id=role_id, offset=0, size=100))["list"]
        wanted = [u for u in simulator.state()["users"] if role_id in ids(u.get("role_list", []))]
        assert {u["userid"]: u["name"] for u in listed} == {u["userid"]: u["name"] for u in wanted}


def ids(roles: list[dict[str, Any]]) -> set[int]:
    return {role["id"] for role in roles}


async def test_the_sdk_renews_a_token_that_has_expired(simulator: Simulator, sdk: Sdk) -> None:
    userid = next(iter(simulator.platform.company.users))
    await topapi(sdk, "v2/user/get", userid=userid)
    tokens = simulator.api.calls["/gettoken"]
    simulator.tokens.expire()
    assert (await topapi(sdk, "v2/user/get", userid=userid))["userid"] == userid
    assert simulator.api.calls["/gettoken"] == tokens + 1


@pytest.mark.parametrize("errcode", [-1, 33012, 60011, 60020, 60121, 90018, 90020, 400002])
async def test_the_sdk_understands_refusals(simulator: Simulator, sdk: Sdk, errcode: int) -> None:
    simulator.faults.add({"api": "v2/user/get", "kind": "errcode", "errcode": errcode})
    simulator.faults.add({"api": "role/list", "kind": "errcode", "errcode": errcode})
    user_get = {"uri": "/topapi/v2/user/get", "data": {"userid": "x"}}
    assert await sdk.errcode("post", **user_get) == errcode
    assert await sdk.errcode("role.list") == errcode


async def test_a_method_that_the_gateway_does_not_know(sdk: Sdk) -> None:
    answer = await sdk.answer("role.getrolegroup", group_id=1)
    assert (answer["errcode"], "dingtalk.corp.role.getrolegroup" in answer["errmsg"]) == (22, True)

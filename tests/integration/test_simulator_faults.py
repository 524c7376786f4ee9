"""Faults of the simulated Open API, its limits, and the calls beyond people and departments, over HTTP."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from dingbridge.simulator.errors import ERRMSG
from dingbridge.simulator.server import Simulator
from tests.integration.simulator_support import Api, settings
from tests.support.waiting import eventually

USER_GET = "/topapi/v2/user/get"
DAY_MS = 86_400_000


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


async def fault(client: Api, /, **wanted: Any) -> int:
    answer = await client.post("/_sim/faults", wanted)
    assert "id" in answer, answer
    return int(answer["id"])


async def somebody(api: Api) -> dict[str, Any]:
    return (await api.get("/_sim/state"))["users"][0]


@pytest.mark.parametrize("errcode", sorted(ERRMSG))
async def test_every_error_code_can_be_answered(api: Api, errcode: int) -> None:
    await fault(api, api="v2/user/get", kind="errcode", errcode=errcode, times=1)
    user = await somebody(api)
    refused = await api.call(USER_GET, {"userid": user["userid"]})
    assert (refused["errcode"], refused["errmsg"]) == (errcode, ERRMSG[errcode])
    assert (await api.call(USER_GET, {"userid": user["userid"]}))["result"] == user


async def test_the_ban_has_no_error_code_and_hits_the_token_too(api: Api) -> None:
    await fault(api, kind="ban")
    for answer in (await api.call(USER_GET, {"userid": "x"}), await api.get("/gettoken")):
        assert answer.keys() == {"status", "wait", "source", "punish", "uuid"}
        assert (answer["status"], answer["punish"]) == (1111, "deny")
    async with api.session.delete(api.base + "/_sim/faults") as response:
        assert await response.json() == {"cleared": 1}
    assert (await api.call(USER_GET, {"userid": "x"}))["errcode"] == 60121
    await fault(api, kind="ban", status=403)
    async with api.session.get(api.base + "/gettoken") as response:
        assert (response.status, response.content_type) == (403, "text/html")


async def test_denied_by_address_or_by_permission(api: Api) -> None:
    await fault(api, api="role/list", kind="deny", times=1)
    refused = await api.call("/topapi/role/list", {})
    assert refused["errcode"] == 60020
    assert "127.0.0.1" in refused["errmsg"]
    await fault(api, api="role/list", kind="deny", errcode=60011)
    refused = await api.call("/topapi/role/list", {})
    assert (refused["errcode"], refused["sub_code"]) == (88, "60011")
    assert "应用尚未开通所需的权限：[qyapi_get_department_list]" in refused["errmsg"]
    assert "appscope/apply?content=dingsampleappkey01%23qyapi_get_department_list" in refused["sub_msg"]
    listed = (await api.get("/_sim/faults"))["faults"]
    assert [(f["kind"], f["hits"], f["times"]) for f in listed] == [("deny", 1, 0), ("deny", 1, None)]


async def test_an_http_error_has_no_json(api: Api) -> None:
    await fault(api, api="auth/scopes", kind="http", status=502, after=1)
    assert (await api.fetch("/auth/scopes"))["auth_org_scopes"] == {"authed_dept": [1], "authed_user": []}
    async with api.session.get(api.base + "/auth/scopes", params={"access_token": api.token}) as response:
        assert (response.status, await response.read()) == (502, b"")


async def test_a_call_that_hangs_ends_when_the_fault_is_cleared(api: Api, simulator: Simulator) -> None:
    await fault(api, api="v2/user/get", kind="hang")
    # a POST, which no HTTP library sends again by itself
    hanging = asyncio.create_task(api.call(USER_GET, {"userid": "x"}))
    await eventually(lambda: [fault for fault in simulator.faults if fault.hits])
    assert not hanging.done()
    async with api.session.delete(api.base + "/_sim/faults") as response:
        assert (await response.json())["cleared"] == 1
    with pytest.raises(aiohttp.ClientError):
        await hanging


async def test_a_token_expires_for_whoever_has_it(api: Api) -> None:
    await api.post("/_sim/tokens/expire")
    assert (await api.call(USER_GET, {"userid": "x"}))["errcode"] == 42001
    await api.login()
    assert (await api.call(USER_GET, {"userid": "x"}))["errcode"] == 60121


async def test_the_plan_is_counted_and_enforced_when_asked_for(api: Api, simulator: Simulator) -> None:
    now = time.time()
    simulator.limits._clock = lambda: now  # a second, and a month, that does not end in the middle
    detail = {"method": "GET", "path": "processInstances", "processInstanceId": "x"}
    spent = (await api.get("/_sim/limits"))["spent"]["calls"]
    await api.workflow(**detail)
    assert (await api.get("/_sim/limits"))["spent"]["calls"] == spent + 1
    await api.post("/_sim/limits", {"calls": spent + 2, "grace_days": 0})
    await api.workflow(**detail)
    over = await api.workflow(**detail)
    assert (over["status"], over["code"]) == (403, "Forbidden.AccessDenied.ApiCountLimitForOrg")
    assert (await api.call(USER_GET, {"userid": "x"}))["errcode"] == 60121  # people are free
    assert (await api.post("/_sim/limits", {"calls": 0}))["spent"]["calls"] == spent + 2
    await api.post("/_sim/limits", {"qps": 1})
    codes = [(await api.call(USER_GET, {"userid": "x"}))["errcode"] for _ in range(3)]
    assert codes == [60121, 90018, 90018]
    await api.post("/_sim/limits", {"qps": 0})
    await api.post("/_sim/limits", {"ban_after": 2})
    bans = ["punish" in await api.call(USER_GET, {"userid": "x"}) for _ in range(4)]
    assert bans == [False, False, True, True]


async def test_the_company_changes_between_two_pages(api: Api) -> None:
    await api.post("/_sim/profile", {"late": 0})  # of whom the pages tell is the subject
    await api.post("/_sim/act", {"action": "hire", "count": 30, "dept_ids": [1], "follow_up": False})
    path, body = "/topapi/v2/user/list", {"dept_id": 1, "size": 10}
    first = (await api.call(path, body | {"cursor": 0}))["result"]
    leaver = first["list"][0]["userid"]
    await fault(api, api="v2/user/list", kind="act", action="leave", arguments={"userid": leaver}, times=1)
    second = (await api.call(path, body | {"cursor": first["next_cursor"]}))["result"]
    third = (await api.call(path, body | {"cursor": second["next_cursor"]}))["result"]
    seen = [u["userid"] for page in (first, second, third) for u in page["list"]]
    there = {u["userid"] for u in (await api.get("/_sim/state"))["users"] if 1 in u["dept_id_list"]}
    # one who is there was pushed past the page's edge by the one who left
    assert len(there - set(seen)) == 1
    assert leaver in seen


async def test_reduced_visibility(api: Api) -> None:
    state = await api.get("/_sim/state")
    dept = next(d for d in state["departments"] if d.get("parent_id") == 1)["dept_id"]
    inside = {dept}
    while more := {d["dept_id"] for d in state["departments"] if d.get("parent_id") in inside} - inside:
        inside |= more
    outside = next(u for u in state["users"] if not inside & set(u["dept_id_list"]))
    member = next(u for u in state["users"] if inside & set(u["dept_id_list"]))
    assert (await api.post("/_sim/scope", {"authed_dept": [dept]}))["authed_dept"] == [dept]
    assert (await api.fetch("/auth/scopes"))["auth_org_scopes"]["authed_dept"] == [dept]
    assert (await api.call(USER_GET, {"userid": outside["userid"]}))["errcode"] == 50002
    assert (await api.call(USER_GET, {"userid": member["userid"]}))["errcode"] == 0
    for path in ("department/get", "department/listsub", "department/listsubid"):
        assert (await api.call(f"/topapi/v2/{path}", {"dept_id": 1}))["errcode"] == 50004
        assert (await api.call(f"/topapi/v2/{path}", {"dept_id": dept}))["errcode"] == 0
    listing = {"dept_id": 1, "cursor": 0, "size": 10}
    assert (await api.call("/topapi/v2/user/list", listing))["errcode"] == 50004
    refused = await api.post("/_sim/scope", {"authed_user": ["nobody"]})
    assert "there is no user" in refused["error"]


async def test_roles_administrators_and_counts(api: Api) -> None:
    state = await api.get("/_sim/state")
    pages = []
    for offset in (0, 1):
        answer = await api.call("/topapi/role/list", {"offset": offset, "size": 1})
        pages.append(answer["result"])
    assert [page["hasMore"] for page in pages] == [True, False]
    groups = [group for page in pages for group in page["list"]]
    assert groups == state["role_groups"]
    held: dict[str, set[int]] = {u["userid"]: set() for u in state["users"]}
    for role in (role for group in groups for role in group["roles"]):
        offset: int | None = 0
        while offset is not None:
            body = {"role_id": role["id"], "offset": offset, "size": 1}
            page = (await api.call("/topapi/role/simplelist", body))["result"]
            for user in page["list"]:
                held[user["userid"]].add(role["id"])
            offset = page.get("nextCursor")
            assert page["hasMore"] is (offset is not None)
    assert held == {u["userid"]: {r["id"] for r in u.get("role_list", [])} for u in state["users"]}
    assert any(held.values())
    admins = (await api.call("/topapi/user/listadmin", {}))["result"]
    assert {a["userid"] for a in admins} == {u["userid"] for u in state["users"] if u["admin"]}
    assert [a["sys_level"] for a in admins].count(1) == 1
    counted = await api.call("/topapi/user/count", {"only_active": False})
    assert counted["result"] == {"count": len(state["users"])}
    assert (await api.call("/topapi/user/count", {}))["errcode"] == 400002
    assert (await api.call("/topapi/role/simplelist", {"role_id": 1}))["errcode"] == 400002


async def test_isv_records_are_whole_until_they_are_confirmed(api: Api, simulator: Simulator) -> None:
    plaintexts = []
    for n in range(5):
        (event,) = simulator.platform.act("hire", {"count": 1, "follow_up": False})
        plaintexts.append(event.plaintext())
        simulator.delivery.records.add(event.event_type, event.plaintext(), event.time_ms + n, "ding1")
    now = int(time.time())
    req = {"tags": ["user_add_org"], "cursor": 0, "status": 1, "page_size": 3, "confirm": False}
    req |= {"begin_time": now - 3600, "end_time": now + 3600}
    path = "/topapi/callback/failrecord/list"
    first = (await api.call(path, {"req": req}))["result"]
    assert [r["call_back_data"].encode() for r in first["list"]] == plaintexts[:3]
    assert first["has_more"] is True
    second = (await api.call(path, {"req": req | {"cursor": first["list"][-1]["id"]}}))["result"]
    assert ([r["id"] for r in second["list"]], second["has_more"]) == ([4, 5], False)
    confirmed = (await api.call(path, {"req": json.dumps(req | {"confirm": True})}))["result"]
    assert confirmed["list"] == first["list"]
    assert [r["id"] for r in (await api.call(path, {"req": req}))["result"]["list"]] == [4, 5]
    done = (await api.call(path, {"req": req | {"status": 0}}))["result"]["list"]
    assert [r["id"] for r in done] == [1, 2, 3]
    await api.call("/topapi/callback/failrecord/confirm", {"id_list": "4,5"})
    assert (await api.call(path, {"req": req}))["result"] == {"list": [], "has_more": False}
    other = req | {"tags": ["user_leave_org"], "status": 0}
    assert (await api.call(path, {"req": other}))["result"]["list"] == []
    assert (await api.call(path, {"req": req | {"page_size": 101}}))["errcode"] == 400002
    assert (await api.call(path, {}))["errcode"] == 400002


async def test_items_of_any_kind_can_be_put_into_the_failed_list(api: Api) -> None:
    poor = {"user_modify_org": "{corpid=ding1}", "call_back_tag": "user_modify_org", "event_time": 1}
    assert await api.post("/_sim/failed", {"items": [poor, "ding1"]}) == {"waiting": 2}
    assert (await api.get("/_sim/failed"))["failed_list"] == [poor, "ding1"]
    path = "/call_back/get_call_back_failed_result"
    assert (await api.fetch(path))["failed_list"] == [poor, "ding1"]
    assert (await api.fetch(path))["failed_list"] == []


async def test_only_the_simulators_own_pages_may_make_things_happen(api: Api, simulator: Simulator) -> None:
    url, before = api.base + "/_sim/act", simulator.stats()["users"]
    body = b'{"action": "hire", "count": 1}'
    for headers, status in [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "application/json", "Origin": "http://evil.example"}, 403),
        ({"Content-Type": "application/json", "Origin": "null"}, 403),
    ]:
        async with api.session.post(url, data=body, headers=headers) as response:
            assert response.status == status
            assert "error" in await response.json()
    # a domain that somebody points at this machine
    rebound = {"Content-Type": "application/json", "Host": "evil.example", "Origin": "http://evil.example"}
    async with api.session.post(url, data=body, headers=rebound) as response:
        assert response.status == 403
    assert simulator.stats()["users"] == before
    port = api.base.rpartition(":")[2]
    for host in (f"127.0.0.1:{port}", f"[::1]:{port}", f"localhost:{port}", "simulator:8090"):
        own = {"Content-Type": "application/json", "Host": host, "Origin": f"http://{host}"}
        async with api.session.post(url, data=body, headers=own) as response:
            assert response.status == 200
    assert simulator.stats()["users"] == before + 4


async def test_control_refuses_faults_and_limits_in_words(api: Api) -> None:
    for path, body, words in [
        ("/_sim/faults", {"kind": "fire"}, "kind must be one of"),
        ("/_sim/faults", {"kind": "ban", "api": "fly"}, "there is no call fly"),
        ("/_sim/faults", {"kind": "act", "action": "fly"}, "action must be one of"),
        ("/_sim/scope", {"authed_dept": 1}, "must be lists"),
        ("/_sim/limits", {"calls": -1}, "whole number"),
        ("/_sim/limits", {"call": 1}, "there are calls, pushes, qps, qpm, ban_after, grace_days"),
        ("/_sim/failed", {"items": {}}, "must be a list"),
        ("/_sim/deliveries", {"reorder": 2}, "0 to 1"),
        ("/_sim/deliveries", {"speed": 2}, "they have duplicates, reorder, retry_scale, deadline_ms"),
        ("/_sim/burst", {"events": 0}, "whole number"),
    ]:
        assert words in (await api.post(path, body))["error"]


async def test_the_page_and_what_holds_it(api: Api) -> None:
    async with api.session.get(api.base + "/_sim") as response:
        assert (response.status, response.url.path) == (200, "/_sim/")
        page = await response.text()
        policy = response.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert page.startswith("<!DOCTYPE html>")
    # what the policy would refuse anyway: scripts, styles and handlers in the page, other hosts
    assert "<script>" not in page
    assert "<style" not in page
    assert not re.search(r"\son[a-z]+=", page)
    assert "://" not in page
    for name, content_type in [("page.js", "text/javascript"), ("page.css", "text/css")]:
        async with api.session.get(f"{api.base}/_sim/{name}") as response:
            assert (response.status, response.content_type) == (200, content_type)
            text = await response.text()
            # values become text nodes, never markup
            assert not any(word in text for word in ("innerHTML", "outerHTML", "insertAdjacent", "eval("))
            assert "://" not in text

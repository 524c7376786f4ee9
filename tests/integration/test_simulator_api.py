"""The simulated Open API over HTTP: people and departments, faults, what no page promises, control."""

import re
from typing import Any

from dingbridge.simulator.server import Simulator
from tests.integration.simulator_support import USER, Api, api, simulator

__all__ = ["api", "simulator"]


# -- reads


async def test_tokens_forms_and_broken_bodies(api: Api) -> None:
    url, query = api.base + "/topapi/v2/department/get", {"access_token": api.token}
    async with api.session.post(url, params=query, data={"dept_id": "1"}) as response:
        assert (await response.json())["result"]["dept_id"] == 1
    for params, body, errcode in (
        (query, b"{no json", 43008),
        ({}, b"{}", 41001),
        ({"access_token": "other"}, b"{}", 40014),
    ):
        async with api.session.post(url, params=params, data=body) as response:
            assert (await response.json())["errcode"] == errcode
    async with api.session.get(url, params=query) as response:
        assert (await response.json())["errcode"] == 404


async def test_reads_refuse_what_is_missing_wrong_or_not_there(api: Api) -> None:
    listing = {"dept_id": 1, "cursor": 0, "size": 10}
    for name, body, errcode in (
        ("user/get", {}, 400002),
        ("user/get", {"userid": "nobody"}, 60121),
        ("department/get", {"dept_id": 7}, 60003),
        ("user/list", {"dept_id": 1, "size": 10}, 400002),
        ("user/list", listing | {"dept_id": 7}, 60003),
        ("user/list", listing | {"size": 101}, 40035),
        ("user/list", listing | {"size": 0}, 40035),
        ("user/list", listing | {"cursor": -1}, 40035),
    ):
        assert await api.code(name, **body) == errcode, (name, body)
    assert (await api.call("/topapi/user/count", {}))["errcode"] == 400002
    assert (await api.call("/topapi/role/simplelist", {"role_id": 1}))["errcode"] == 400002


async def test_roles_and_their_holders_come_page_by_page(api: Api) -> None:
    state = await api.state()
    held = {(u["userid"], r["id"]) for u in state["users"] for r in u.get("role_list", [])}
    seen = set()
    for role in (role for group in state["role_groups"] for role in group["roles"]):
        offset: int | None = 0
        while offset is not None:
            body = {"role_id": role["id"], "offset": offset, "size": 1}
            page = (await api.call("/topapi/role/simplelist", body))["result"]
            seen |= {(user["userid"], role["id"]) for user in page["list"]}
            offset = page.get("nextCursor")
            assert page["hasMore"] is (offset is not None)
    assert seen == held != set()
    pages = [(await api.call("/topapi/role/list", {"offset": n, "size": 1}))["result"] for n in (0, 1)]
    assert [page["hasMore"] for page in pages] == [True, False]
    assert [group for page in pages for group in page["list"]] == state["role_groups"]


async def test_the_company_changes_between_two_pages(api: Api) -> None:
    await api.act("hire", count=30, dept_ids=[1], follow_up=False)
    pages = [(await api.v2("user/list", dept_id=1, size=10, cursor=0))["result"]]
    leaver = pages[0]["list"][0]["userid"]
    await api.fault(api="v2/user/list", kind="act", action="leave", arguments={"userid": leaver}, times=1)
    for _ in range(2):
        cursor = pages[-1]["next_cursor"]
        pages.append((await api.v2("user/list", dept_id=1, size=10, cursor=cursor))["result"])
    seen = [u["userid"] for page in pages for u in page["list"]]
    there = {u["userid"] for u in (await api.state())["users"] if 1 in u["dept_id_list"]}
    # one who is there was pushed past the page's edge by the one who left
    assert len(there - set(seen)) == 1
    assert leaver in seen


async def test_reduced_visibility(api: Api) -> None:
    state = await api.state()
    dept = next(d for d in state["departments"] if d.get("parent_id") == 1)["dept_id"]
    inside = {dept}
    while more := {d["dept_id"] for d in state["departments"] if d.get("parent_id") in inside} - inside:
        inside |= more
    outside = next(u for u in state["users"] if not inside & set(u["dept_id_list"]))["userid"]
    member = next(u for u in state["users"] if inside & set(u["dept_id_list"]))["userid"]
    assert (await api.post("/_sim/scope", {"authed_dept": [dept]}))["authed_dept"] == [dept]
    assert (await api.fetch("/auth/scopes"))["auth_org_scopes"]["authed_dept"] == [dept]
    assert [await api.user_code(u) for u in (outside, member)] == [50002, 0]
    for name in ("department/get", "department/listsub", "department/listsubid"):
        assert [await api.code(name, dept_id=d) for d in (1, dept)] == [50004, 0]
    assert await api.code("user/list", dept_id=1, cursor=0, size=10) == 50004
    assert await api.code("user/update", userid=outside, title="x") == 50002
    assert await api.code("user/create", **USER) == 50004
    assert await api.code("department/create", name="y", parent_id=1) == 50004
    assert await api.code("department/update", dept_id=dept, name="z") == 0


# -- faults


async def test_the_ban_has_no_error_code_and_hits_the_token_too(api: Api) -> None:
    await api.fault(kind="ban")
    for answer in (await api.v2("user/get", userid="x"), await api.get("/gettoken")):
        assert answer.keys() == {"status", "wait", "source", "punish", "uuid"}
        assert (answer["status"], answer["punish"]) == (1111, "deny")
    async with api.session.delete(api.base + "/_sim/faults") as response:
        assert await response.json() == {"cleared": 1}
    await api.fault(kind="ban", status=403)
    async with api.session.get(api.base + "/gettoken") as response:
        assert (response.status, response.content_type) == (403, "text/html")


async def test_one_person_one_department_one_approval_is_refused(api: Api) -> None:
    state = await api.state()
    user, other = (user["userid"] for user in state["users"][:2])
    dept, approval = state["departments"][1]["dept_id"], state["approvals"][0]["process_instance_id"]
    await api.fault(api="v2/user/get", kind="errcode", errcode=50002, match={"userid": user})
    await api.fault(api="v2/department/get", kind="errcode", errcode=50004, match={"dept_id": str(dept)})
    name = "GET /v1.0/workflow/processInstances"
    await api.fault(api=name, kind="errcode", code="noPermission", match={"processInstanceId": approval})
    assert [await api.user_code(u) for u in (user, other)] == [50002, 0]
    assert [await api.code("department/get", dept_id=d) for d in (dept, 1)] == [50004, 0]
    assert dept in (await api.v2("department/listsubid", dept_id=1))["result"]["dept_id_list"]
    for instance, code in ((approval, "noPermission"), (state["approvals"][1]["process_instance_id"], None)):
        answer = await api.workflow("GET", "processInstances", processInstanceId=instance)
        assert answer.get("code") == code
    gateway = {"method": "dingtalk.oapi.v2.user.get", "session": api.token, "userid": user}
    async with api.session.post(api.base + "/router/rest", data=gateway) as response:
        assert (await response.json())["errcode"] == 50002
    assert [f["hits"] for f in (await api.get("/_sim/faults"))["faults"]] == [2, 1, 1]


async def test_the_plan_is_counted_and_enforced_when_asked_for(api: Api) -> None:
    detail = {"method": "GET", "path": "processInstances", "processInstanceId": "x"}
    await api.workflow(**detail)
    spent = (await api.get("/_sim/limits"))["spent"]["calls"]
    assert (await api.post("/_sim/limits", {"calls": spent, "grace_days": 0}))["spent"]["calls"] == spent
    assert (await api.workflow(**detail))["code"] == "Forbidden.AccessDenied.ApiCountLimitForOrg"
    assert await api.user_code("x") == 60121, "people are free"
    await api.post("/_sim/tokens/expire")
    assert await api.user_code("x") == 42001
    await api.post("/_sim/limits", {"calls": 0, "ban_after": 2})
    assert ["punish" in await api.v2("user/get", userid="x") for _ in range(3)][-1]


# -- what DingTalk may do and no page promises


async def test_a_permission_granted_meanwhile_is_seen_with_a_new_token(api: Api) -> None:
    await api.post("/_sim/profile", {"new_token": True, "same_token": False})
    instance = (await api.state())["approvals"][0]["process_instance_id"]
    await api.post("/_sim/rights", {"lacking": ["Workflow.Instance.Read", "qyapi_get_member"]})
    for _ in range(2):
        refused = await api.workflow("GET", "processInstances", processInstanceId=instance)
        assert refused.keys() == {"code", "message", "requestid", "status"}
        assert (refused["status"], refused["code"]) == (
            403, "Forbidden.AccessDenied.AccessTokenPermissionDenied",
        )  # fmt: skip
        assert refused["message"] == "应用尚未开通所需的权限：[Workflow.Instance.Read]"
        older = await api.v2("user/get", userid="x")
        assert (older["errcode"], older["sub_code"]) == (88, "60011")
        assert "requiredScopes=[qyapi_get_member]" in older["errmsg"]
        await api.post("/_sim/rights", {"lacking": []})
    await api.login()
    assert "result" in await api.workflow("GET", "processInstances", processInstanceId=instance)
    assert await api.user_code("x") == 60121


async def test_the_contacts_have_odd_corners_as_real_ones_may(api: Api, simulator: Simulator) -> None:
    company = simulator.platform.company
    await api.post("/_sim/profile", {"family_school": True, "refused": 0.3})
    listed = (await api.v2("department/listsub"))["result"]
    assert listed[0] == {"dept_id": -1, "name": "家校通讯录", "parent_id": 1} | dict.fromkeys(
        ("create_dept_group", "auto_add_user"), False
    )
    children = (await api.v2("department/listsubid", dept_id=1))["result"]["dept_id_list"]
    assert children == [dept["dept_id"] for dept in listed]
    departments = {d: await api.code("department/get", dept_id=d) for d in company.departments}
    assert set(departments.values()) == {0, 50004}
    assert departments[1] == 0
    assert await api.code("department/get", dept_id=-1) == 60003
    listed_ids = set()
    for dept_id, refused in departments.items():
        answer = await api.v2("department/listsubid", dept_id=dept_id)
        assert answer["errcode"] == refused
        listed_ids |= set(answer.get("result", {}).get("dept_id_list", ()))
    # a listing names children that their own reading refuses
    assert 50004 in {departments.get(dept_id) for dept_id in listed_ids}
    people = {u: await api.user_code(u) for u in company.users}
    assert set(people.values()) == {0, 50002}
    listed_people = set()
    for dept_id in (d for d, refused in departments.items() if not refused):
        page = await api.v2("user/list", dept_id=dept_id, cursor=0, size=100)
        listed_people |= {user["userid"] for user in page["result"]["list"]}
    assert 50002 in {people[userid] for userid in listed_people}


async def test_reads_lag_on_both_hosts_and_events_do_not(api: Api, simulator: Simulator) -> None:
    now = 0.0
    simulator.sight._clock = lambda: now
    await api.post("/_sim/profile", {"late": 1, "late_ms": 30_000})
    state = await api.state()
    leaver, userid = (user["userid"] for user in state["users"][:2])
    hired = (await api.act("hire", dept_ids=[1]))["userid"]
    await api.act("leave", userid=leaver)
    approval = (await api.act("start_approval", userid=userid))["processInstanceId"]
    running = state["approvals"][0]["process_instance_id"]
    await api.act("approve", process_instance_id=running)

    async def seen() -> list[Any]:
        page = (await api.v2("user/list", dept_id=1, cursor=0, size=100))["result"]["list"]
        fresh = await api.workflow("GET", "processInstances", processInstanceId=approval)
        ended = await api.workflow("GET", "processInstances", processInstanceId=running)
        listed = hired in {u["userid"] for u in page}
        codes = [await api.user_code(u) for u in (hired, leaver)]
        return [*codes, listed, fresh.get("code"), ended["result"]["status"]]

    assert await seen() == [60121, 0, False, "processInstanceNotExist", "RUNNING"]
    now = 30.0
    assert await seen() == [0, 60121, True, None, "COMPLETED"]


# -- control


async def test_control_refuses_in_words(api: Api) -> None:
    for path, body, words in [
        ("act", {}, "action"),
        ("act", {"action": "fly"}, "no such action"),
        ("act", [1], "JSON object"),
        ("rate", {"per_second": -1}, "per_second"),
        ("drain", {"timeout_s": "x"}, "timeout_s"),
        ("faults", {"kind": "fire"}, "kind must be one of"),
        ("faults", {"kind": "ban", "api": "fly"}, "there is no call fly"),
        ("faults", {"kind": "act", "action": "fly"}, "action must be one of"),
        ("scope", {"authed_dept": 1}, "must be lists"),
        ("scope", {"authed_user": ["nobody"]}, "there is no user"),
        ("limits", {"calls": -1}, "whole number"),
        ("limits", {"call": 1}, "there are calls, pushes, qps, qpm, ban_after, grace_days"),
        ("failed", {"items": {}}, "must be a list"),
        ("deliveries", {"reorder": 2}, "0 to 1"),
        ("deliveries", {"speed": 2}, "they have duplicates, reorder, retry_scale, deadline_ms"),
        ("burst", {"events": 0}, "whole number"),
        ("rights", {"lacking": ["x"]}, "no call needs x"),
        ("profile", {"profile": "unkind"}, "there are"),
        ("writes", {"event_delay_ms": "soon"}, "event_delay_ms"),
        ("writes", {"event_delay_ms": [5, 1]}, "event_delay_ms"),
        ("writes", {"read_lag_ms": -1}, "read_lag_ms"),
        ("writes", {"lag": 1}, "writes have no lag"),
    ]:
        assert words in (await api.post(f"/_sim/{path}", body))["error"], (path, body)
    assert "numbers" in (await api.get("/_sim/pushes", since="x"))["error"]


async def test_only_the_simulators_own_pages_may_make_things_happen(api: Api, simulator: Simulator) -> None:
    url, before = api.base + "/_sim/act", simulator.stats()["users"]
    as_json, port = {"Content-Type": "application/json"}, api.base.rpartition(":")[2]
    hosts = (f"127.0.0.1:{port}", f"[::1]:{port}", f"localhost:{port}", "simulator:8090")
    for headers, status in [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        (as_json | {"Origin": "http://evil.example"}, 403),
        (as_json | {"Origin": "null"}, 403),
        # a domain that somebody points at this machine
        (as_json | {"Host": "evil.example", "Origin": "http://evil.example"}, 403),
        *((as_json | {"Host": host, "Origin": f"http://{host}"}, 200) for host in hosts),
    ]:
        body = b'{"action": "hire", "count": 1}'
        async with api.session.post(url, data=body, headers=headers) as response:
            assert response.status == status, headers
            assert ("error" in await response.json()) is (status != 200)
    assert simulator.stats()["users"] == before + len(hosts)


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
    assert not re.search(r"<script>|<style|\son[a-z]+=|://", page)
    for name, content_type in [("page.js", "text/javascript"), ("page.css", "text/css")]:
        async with api.session.get(f"{api.base}/_sim/{name}") as response:
            assert (response.status, response.content_type) == (200, content_type)
            # values become text nodes, never markup
            assert not re.search(r"innerHTML|outerHTML|insertAdjacent|eval\(|://", await response.text())


async def test_what_cannot_be_read_is_the_callers_mistake(api: Api) -> None:
    form, many = "application/x-www-form-urlencoded", "multipart/form-data; boundary=a"
    bodies: list[tuple[bytes, dict[str, str]]] = [
        (b"\xff", {"Content-Type": form}),
        (b"a=b", {"Content-Type": f"{form}; charset=nope"}),
        (b"x", {"Content-Type": "multipart/form-data"}),
        (b"x", {"Content-Type": many}),
    ]
    for body, headers in bodies:
        for path in ("/topapi/v2/department/get", "/router/rest"):
            async with api.session.post(
                api.base + path, params={"access_token": api.token}, data=body, headers=headers
            ) as response:
                assert response.status == 200, (path, headers)
        async with api.session.post(
            api.base + "/v1.0/gateway/connections/open", data=body, headers=headers
        ) as response:
            assert response.status == 400, headers
    for query in ("limit=-1", "limit=99999999999999999999", "since=x"):
        async with api.session.get(f"{api.base}/_sim/pushes?{query}") as response:
            assert response.status == 400
    async with api.session.post(
        f"{api.base}/_sim/act", data=b"[]", headers={"Content-Type": "application/json"}
    ) as response:
        assert response.status == 400

"""What DingTalk may do and no page promises, over HTTP: one entity refused, contacts with odd corners, a
permission that is seen only with a new token, reads that lag."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from dingbridge.simulator.profile import Profile
from dingbridge.simulator.server import Simulator
from tests.integration.simulator_support import Api, settings
from tests.integration.test_simulator_faults import USER_GET, fault
from tests.support.profiles import KIND


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """Each test has its own switch on."""
    async with Simulator(settings(departments=20, profile=KIND)) as simulator:
        yield simulator


@pytest.fixture
async def api(simulator: Simulator) -> AsyncIterator[Api]:
    async with aiohttp.ClientSession() as session:
        api = Api(simulator.base_url, session)
        await api.login()
        yield api


async def code(api: Api, name: str, **body: Any) -> int:
    return int((await api.call(f"/topapi/v2/{name}", body))["errcode"])


async def test_one_person_one_department_one_approval_is_refused(api: Api) -> None:
    state = await api.get("/_sim/state")
    user, other = (user["userid"] for user in state["users"][:2])
    dept, approval = state["departments"][1]["dept_id"], state["approvals"][0]["process_instance_id"]
    await fault(api, api="v2/user/get", kind="errcode", errcode=50002, match={"userid": user})
    await fault(api, api="v2/department/get", kind="errcode", errcode=50004, match={"dept_id": str(dept)})
    name = "GET /v1.0/workflow/processInstances"
    await fault(api, api=name, kind="errcode", code="noPermission", match={"processInstanceId": approval})
    assert [(await api.call(USER_GET, {"userid": u}))["errcode"] for u in (user, other)] == [50002, 0]
    depts = [(await api.call("/topapi/v2/department/get", {"dept_id": d}))["errcode"] for d in (dept, 1)]
    assert depts == [50004, 0]
    assert (
        dept in (await api.call("/topapi/v2/department/listsubid", {"dept_id": 1}))["result"]["dept_id_list"]
    )
    for instance, code in ((approval, "noPermission"), (state["approvals"][1]["process_instance_id"], None)):
        answer = await api.workflow("GET", "processInstances", processInstanceId=instance)
        assert answer.get("code") == code
    gateway = {"method": "dingtalk.oapi.v2.user.get", "session": api.token, "userid": user}
    async with api.session.post(api.base + "/router/rest", data=gateway) as response:
        assert (await response.json())["errcode"] == 50002
    shown = (await api.get("/_sim/faults"))["faults"]
    assert [(f["match"], f["hits"]) for f in shown] == [
        ({"userid": user}, 2), ({"dept_id": str(dept)}, 1), ({"processInstanceId": approval}, 1)
    ]  # fmt: skip


async def test_a_permission_granted_meanwhile_is_seen_with_a_new_token(api: Api) -> None:
    await api.post("/_sim/profile", {"new_token": True, "same_token": False})
    granted, instance = {"lacking": []}, (await api.get("/_sim/state"))["approvals"][0]["process_instance_id"]

    await api.post("/_sim/rights", {"lacking": ["Workflow.Instance.Read", "qyapi_get_member"]})
    for _ in range(2):
        refused = await api.workflow("GET", "processInstances", processInstanceId=instance)
        assert refused.keys() == {"code", "message", "requestid", "status"}
        assert refused["status"] == 403
        assert refused["code"] == "Forbidden.AccessDenied.AccessTokenPermissionDenied"
        assert refused["message"] == "应用尚未开通所需的权限：[Workflow.Instance.Read]"
        older = await api.call(USER_GET, {"userid": "x"})
        assert (older["errcode"], older["sub_code"]) == (88, "60011")
        assert "requiredScopes=[qyapi_get_member]" in older["errmsg"]
        await api.post("/_sim/rights", granted)
    await api.login()
    assert "result" in await api.workflow("GET", "processInstances", processInstanceId=instance)
    assert (await api.call(USER_GET, {"userid": "x"}))["errcode"] == 60121
    assert "no call needs x" in (await api.post("/_sim/rights", {"lacking": ["x"]}))["error"]


async def test_the_contacts_have_odd_corners_as_real_ones_may(api: Api, simulator: Simulator) -> None:
    company = simulator.platform.company
    await api.post("/_sim/profile", {"family_school": True, "refused": 0.3})
    names, ids = (f"/topapi/v2/department/{call}" for call in ("listsub", "listsubid"))
    listed = (await api.call(names, {}))["result"]
    assert listed[0] == {"dept_id": -1, "name": "家校通讯录", "parent_id": 1} | dict.fromkeys(
        ("create_dept_group", "auto_add_user"), False
    )
    children = (await api.call(ids, {"dept_id": 1}))["result"]["dept_id_list"]
    assert children == [dept["dept_id"] for dept in listed]
    departments = {d: await code(api, "department/get", dept_id=d) for d in company.departments}
    assert set(departments.values()) == {0, 50004}
    assert departments[1] == 0
    assert await code(api, "department/get", dept_id=-1) == 60003
    listed_ids = set()
    for dept_id, refused in departments.items():
        answer = await api.call(ids, {"dept_id": dept_id})
        assert answer["errcode"] == refused
        listed_ids |= set(answer.get("result", {}).get("dept_id_list", ()))
    # a listing names children that their own reading refuses
    assert 50004 in {departments.get(dept_id) for dept_id in listed_ids}
    people = {u: await code(api, "user/get", userid=u) for u in company.users}
    assert set(people.values()) == {0, 50002}
    listed_people = set()
    for dept_id in (d for d, refused in departments.items() if not refused):
        page = await api.call("/topapi/v2/user/list", {"dept_id": dept_id, "cursor": 0, "size": 100})
        listed_people |= {user["userid"] for user in page["result"]["list"]}
    assert 50002 in {people[userid] for userid in listed_people}
    await api.post("/_sim/profile", {"profile": "kind"})
    assert -1 not in (await api.call(ids, {"dept_id": 1}))["result"]["dept_id_list"]


async def test_the_root_is_refused_and_its_children_work(api: Api) -> None:
    children = (await api.call("/topapi/v2/department/listsubid", {"dept_id": 1}))["result"]["dept_id_list"]
    await api.post("/_sim/scope", {"authed_dept": children})
    get = "/topapi/v2/department/get"
    codes = [(await api.call(get, {"dept_id": d}))["errcode"] for d in [1, *children]]
    assert codes == [50004] + [0] * len(children)


async def test_reads_lag_on_both_hosts_and_events_do_not(api: Api, simulator: Simulator) -> None:
    now = 0.0
    simulator.sight._clock = lambda: now
    await api.post("/_sim/profile", {"late": 1, "late_ms": 30_000})
    state = await api.get("/_sim/state")
    leaver, userid = (user["userid"] for user in state["users"][:2])
    hired = (await act(api, "hire", dept_ids=[1]))["userid"]
    await act(api, "leave", userid=leaver)
    (approval,) = {(await act(api, "start_approval", userid=userid))["processInstanceId"]}
    running = state["approvals"][0]["process_instance_id"]
    await act(api, "approve", process_instance_id=running)

    async def seen() -> list[Any]:
        codes = [(await api.call(USER_GET, {"userid": u}))["errcode"] for u in (hired, leaver)]
        listing = {"dept_id": 1, "cursor": 0, "size": 100}
        page = (await api.call("/topapi/v2/user/list", listing))["result"]["list"]
        fresh = await api.workflow("GET", "processInstances", processInstanceId=approval)
        ended = await api.workflow("GET", "processInstances", processInstanceId=running)
        return [*codes, hired in {u["userid"] for u in page}, fresh.get("code"), ended["result"]["status"]]

    assert await seen() == [60121, 0, False, "processInstanceNotExist", "RUNNING"]
    now = 30.0
    assert await seen() == [0, 60121, True, None, "COMPLETED"]


async def act(api: Api, action: str, **arguments: Any) -> dict[str, Any]:
    """Its first event, with what it names by one name."""
    answer = await api.post("/_sim/act", {"action": action, **arguments})
    payload = dict(answer["events"][0]["payload"])
    users = payload.get("UserId") or payload.get("userId") or [None]
    return payload | {"userid": users[0]}


async def test_the_profile_is_one_setting_and_each_switch_can_be_set(api: Api) -> None:
    async with Simulator(settings(profile="reality,late=0,refused=0")) as simulator:
        assert simulator.stats()["profile"] == {
            "late": 0,
            "late_ms": 4_000,
            "refused": 0,
            **dict.fromkeys(("family_school", "new_token", "same_token"), True),
        }
    whole = Profile.parse(settings().simulator_profile).as_json()
    changed = await api.post("/_sim/profile", {"profile": "reality", "late_ms": 500})
    assert changed == whole | {"late_ms": 500}
    assert 0 not in (whole["late"], whole["refused"]), "the default"
    assert "there are" in (await api.post("/_sim/profile", {"profile": "unkind"}))["error"]
    assert await api.get("/_sim/profile") == changed

"""Approvals on the simulator's newer host over HTTP, as pages and captures have them; nothing here is our
client."""

import json
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dingbridge.simulator.company import templates
from dingbridge.simulator.server import Simulator
from tests.integration.simulator_support import Api, api, simulator

__all__ = ["api", "simulator"]

DAY_MS = 86_400_000
DETAIL, IDS = "processInstances", "processes/instanceIds/query"
TEMPLATES, SCHEMAS = "processes/userVisibilities/templates", "forms/schemas/processCodes"
FILE = "processInstances/spaces/files/urls/download"


def act(simulator: Simulator, action: str, **arguments: Any) -> str:
    """Let something happen to an approval; returns its id."""
    return str(simulator.act(action, arguments)[0][0].payload["processInstanceId"])


async def detail(api: Api, instance_id: str) -> dict[str, Any]:
    answer = await api.workflow("GET", DETAIL, processInstanceId=instance_id)
    assert answer["success"] is True
    return dict(answer["result"])


async def test_one_that_runs_and_is_over(simulator: Simulator, api: Api) -> None:
    pid = act(simulator, "start_approval", process_code="PROC-LEAVE")
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}[0-9]{14}", pid)
    assert pid[22:26] == act(simulator, "start_approval")[22:26], "the company's"
    started = datetime.fromtimestamp(int(pid[26:]), UTC) + timedelta(hours=8)
    shown = await detail(api, pid)
    assert shown["createTime"] == started.strftime("%Y-%m-%dT%H:%MZ"), "China's clock, whatever the Z says"
    assert re.fullmatch(started.strftime("%Y%m%d%H%M") + r"[0-9]{9}", shown["businessId"])
    absent = {"finishTime", "approverUserIds", "ccUserIds", "mainProcessInstanceId", "processCode"}
    assert absent.isdisjoint(shown)
    assert (shown["status"], shown["result"], shown["bizAction"], shown["bizData"]) == (
        "RUNNING", "", "NONE", "{}",
    )  # fmt: skip
    (task,) = shown["tasks"]
    assert (task["status"], task["result"], type(task["taskId"])) == ("RUNNING", "NONE", int)
    assert re.fullmatch(r"sid-[0-9A-Fa-f]{4}_[0-9A-Fa-f]{4}", task["activityId"])
    assert f"procInsId={pid}&taskId={task['taskId']}" in task["mobileUrl"]
    assert "processInstanceId" not in task
    assert shown["operationRecords"] == [
        {
            "date": shown["createTime"],
            "images": [],
            "result": "NONE",
            "showName": "提交申请",
            "type": "START_PROCESS_INSTANCE",
            "userId": shown["originatorUserId"],
        }
    ]
    act(simulator, "approve", process_instance_id=pid, remark="好的")
    over = await detail(api, pid)
    assert (over["status"], over["result"], over["tasks"][0]["result"]) == ("COMPLETED", "agree", "AGREE")
    assert over["finishTime"] == over["tasks"][0]["finishTime"]
    record = over["operationRecords"][-1]
    assert (record["activityId"], record["remark"]) == (task["activityId"], "好的")


async def test_a_z_that_is_true_can_be_asked_for(simulator: Simulator, api: Api) -> None:
    pid = act(simulator, "start_approval")
    assert await api.post("/_sim/approvals", {"true_z": True}) == {"true_z": True}
    shown = await detail(api, pid)
    started = datetime.fromtimestamp(int(pid[26:]), UTC)
    assert shown["createTime"] == shown["tasks"][0]["createTime"] == f"{started:%Y-%m-%dT%H:%M}Z"
    assert shown["businessId"].startswith(f"{started + timedelta(hours=8):%Y%m%d%H%M}")


async def test_approvers_and_copies_are_told_of_what_an_app_started(simulator: Simulator, api: Api) -> None:
    first, second, third = list(simulator.platform.company.users)[:3]
    body = {
        "processCode": "PROC-LEAVE",
        "originatorUserId": first,
        "approvers": [{"actionType": "NONE", "userIds": [second]}],
        "ccList": [third],
        "formComponentValues": [{"name": "请假事由", "value": "x"}],
    }
    shown = await detail(api, (await api.workflow("POST", DETAIL, body))["instanceId"])
    assert (shown["approverUserIds"], shown["ccUserIds"]) == ([second], [third])


@pytest.mark.parametrize(
    ("action", "biz_action"), [("modify_approved", "MODIFY"), ("revoke_approved", "REVOKE")]
)
async def test_what_was_approved_is_changed_by_another_approval(
    simulator: Simulator, api: Api, action: str, biz_action: str
) -> None:
    pid = act(simulator, "start_approval", process_code="PROC-LEAVE")
    act(simulator, "approve", process_instance_id=pid)
    before = await detail(api, pid)
    upon = act(simulator, action, process_instance_id=pid)
    act(simulator, "approve", process_instance_id=upon)
    shown = await detail(api, upon)
    assert (shown["bizAction"], shown["mainProcessInstanceId"], shown["result"]) == (biz_action, pid, "agree")
    assert (shown["formComponentValues"] == before["formComponentValues"]) is (biz_action == "REVOKE")
    assert await detail(api, pid) == before | {"attachedProcessInstanceIds": [upon]}


async def test_forms_of_all_kinds(simulator: Simulator, api: Api) -> None:
    fields: list[dict[str, str]] = []
    for code in reversed(templates.TEMPLATES):
        for _ in range(20):
            pid = act(simulator, "start_approval", process_code=code)
            fields += (await detail(api, pid))["formComponentValues"]
            if code == "PROC-PURCHASE":
                act(simulator, "approve", process_instance_id=pid)
    assert all(isinstance(value, str) for field in fields for value in field.values())
    assert "null" in {f["value"] for f in fields if f["componentType"] == "TextareaField"}
    tables = [(f, json.loads(f["value"])) for f in fields if f["componentType"] == "TableField"]
    cells = [cell for f, rows in tables if "extValue" in f for row in rows for cell in row["rowValue"]]
    assert {"DDSelectField", "MoneyField", None} <= {cell.get("componentType") for cell in cells}
    assert all("extendValue" in c for c in cells if c.get("componentType") == "DDSelectField")
    columns = next(rows for f, rows in tables if "extValue" not in f)
    assert [sorted(column) for column in columns] == [["componentName", "componentType", "props"]] * 3
    related = next(json.loads(f["extValue"]) for f in fields if f["componentType"] == "RelateField")
    assert (await detail(api, related["list"][0]["procInstId"]))["result"] == "agree"
    (several,) = {type(json.loads(f["value"])) for f in fields if f["componentType"] == "DDMultiSelectField"}
    assert several is list


async def test_what_the_gateway_refuses(api: Api) -> None:
    url = f"{api.base}/v1.0/workflow/{DETAIL}"
    token, json_type = {"x-acs-dingtalk-access-token": api.token}, {"Content-Type": "application/json"}
    for headers, query, code in (
        (json_type, {"processInstanceId": "x"}, "AuthenticationFailed.MissingParameter"),
        (token | json_type, {"access_token": api.token}, "AuthenticationFailed.MissingParameter"),
        (token | {"Content-Type": "text/plain"}, {"processInstanceId": "x"}, None),
        (token | json_type, {}, "invalidParameter"),
        (token | json_type, {"processInstanceId": "x"}, "processInstanceNotExist"),
    ):
        async with api.session.get(url, headers=headers, params=query) as response:
            assert response.status == 400
            answer = await response.json()
        assert {"code", "message", "requestid"} == set(answer)
        assert code in (answer["code"], None)


async def test_ids_by_template_and_start(simulator: Simulator, api: Api) -> None:
    for _ in range(25):
        act(simulator, "start_approval", process_code="PROC-LEAVE")
    act(simulator, "approve", process_instance_id=act(simulator, "start_approval", process_code="PROC-LEAVE"))
    now = int(time.time() * 1000)
    body = {"processCode": "PROC-LEAVE", "startTime": now - DAY_MS, "nextToken": 0, "maxResults": 20}

    async def listed(**more: Any) -> Any:
        return (await api.workflow("POST", IDS, body | more))["result"]

    first = await listed()
    assert first["nextToken"] == "20", "text in the answer, a number in the request"
    second = await listed(nextToken=20)
    assert "nextToken" not in second
    there = [a for a in (await api.get("/_sim/state"))["approvals"] if a["process_code"] == "PROC-LEAVE"]
    assert first["list"] + second["list"] == [a["process_instance_id"] for a in there]
    who = there[0]["originatorUserId"]
    mine = [a["process_instance_id"] for a in there if a["originatorUserId"] == who]
    assert (await listed(userIds=[who]))["list"] == mine[:20]
    over = [a["process_instance_id"] for a in there if a["status"] == "COMPLETED"]
    assert (await listed(statuses=["COMPLETED"]))["list"] == over != []
    assert (await listed(endTime=now - DAY_MS + 1))["list"] == []
    for wrong, code in (
        ({"processCode": "PROC-X"}, "invalidProcessCode"),
        ({"processCode": None}, "invalidProcessCode"),
        ({"nextToken": "0"}, "invalidNextToken"),
        ({"nextToken": None}, "invalidNextToken"),
        ({"maxResults": 21}, "invalidMaxResults"),
        ({"maxResults": None}, "invalidMaxResults"),
        ({"startTime": None}, "invalidInstanceListIdsStartTime"),
        ({"startTime": now - 121 * DAY_MS}, "invalidInstanceListIdsStartTime"),
        ({"startTime": now - 366 * DAY_MS, "endTime": now - 360 * DAY_MS}, "invalidInstanceListIdsStartTime"),
        ({"endTime": now - 2 * DAY_MS}, "invalidEndTime"),
        ({"startTime": now - 200 * DAY_MS, "endTime": now - 79 * DAY_MS}, "invalidEndTime"),
        ({"userIds": [*"abcdefghijk"]}, "invalidUserIds"),
        ({"statuses": ["CANCELED"]}, "invalidParameter"),
    ):
        answer = await api.workflow("POST", IDS, body | wrong)
        assert (answer.get("status"), answer.get("code")) == (400, code), wrong


async def test_templates(simulator: Simulator, api: Api) -> None:
    first = await api.workflow("GET", TEMPLATES, nextToken=0, maxResults=2)
    rest = await api.workflow("GET", TEMPLATES, nextToken=first["result"]["nextToken"], maxResults=2)
    assert "success" not in first
    assert "nextToken" not in rest["result"]
    for template in first["result"]["processList"] + rest["result"]["processList"]:
        assert sorted(template) == ["dirId", "dirName", "iconUrl", "name", "processCode", "url"]
        found = await api.workflow("GET", "processCentres/schemaNames/processCodes", name=template["name"])
        assert found["result"]["processCode"] == template["processCode"]
        form = (await api.workflow("GET", SCHEMAS, processCode=template["processCode"]))["result"]
        assert (form["name"], form["status"]) == (template["name"], "PUBLISHED")
        shown = await detail(api, act(simulator, "start_approval", process_code=template["processCode"]))
        known = {item["props"]["id"]: item["componentName"] for item in form["schemaContent"]["items"]}
        assert {f["id"]: f["componentType"] for f in shown["formComponentValues"]}.items() <= known.items()
    company = simulator.platform.company
    admin = next(iter(company.roles.admins))
    managed = await api.workflow("GET", "processes/managements/templates", userId=admin)
    assert {t["processCode"] for t in managed["result"]} == templates.TEMPLATES.keys()
    nobody = next(userid for userid in company.users if userid not in company.roles.admins)
    for path, query, code in (
        (TEMPLATES, {"maxResults": 100}, "invalidNextToken"),
        (TEMPLATES, {"nextToken": 0}, "invalidMaxResults"),
        (TEMPLATES, {"nextToken": 0, "maxResults": 101}, "invalidMaxResults"),
        ("processCentres/schemaNames/processCodes", {"name": "没有"}, "process.error"),
        (SCHEMAS, {}, "invalidParameter"),
        (SCHEMAS, {"processCode": "PROC-X"}, "aflowProcessCodeIsError"),
        ("processes/managements/templates", {}, "invalidUserId"),
        ("processes/managements/templates", {"userId": "x"}, "userNotExist"),
        ("processes/managements/templates", {"userId": nobody}, "noPermission"),
    ):
        answer = await api.workflow("GET", path, **query)
        assert (answer.get("status"), answer.get("code")) == (400, code), (path, query)


async def test_a_file_is_downloaded_without_a_token(simulator: Simulator, api: Api) -> None:
    pid = act(simulator, "start_approval", process_code="PROC-EXPENSE")
    fields = (await detail(api, pid))["formComponentValues"]
    (attached,) = json.loads(next(f["value"] for f in fields if f["componentType"] == "DDAttachment"))
    asked = {"processInstanceId": pid, "fileId": attached["fileId"]}
    links = [(await api.workflow("POST", FILE, asked))["result"] for _ in range(2)]
    contents = []
    for link in links:
        assert (link["fileId"], link["spaceId"]) == (attached["fileId"], int(attached["spaceId"]))
        async with api.session.get(link["downloadUri"]) as response:
            contents.append(await response.read())
    assert contents[0] == contents[1]
    assert len(contents[0]) == attached["fileSize"]
    await api.post("/_sim/faults", {"api": "approval-files", "kind": "http", "status": 500, "times": 1})
    for status in (500, 200):
        async with api.session.get(link["downloadUri"]) as response:
            assert response.status == status
    async with api.session.get(simulator.base_url + "/approval-files/other") as response:
        assert response.status == 403
    for wrong, code in (
        ({"processInstanceId": ""}, "invalidProcessInstanceId"),
        ({"processInstanceId": "x"}, "processInstNotExist"),
        ({"fileId": "1"}, "invalidFileId"),
    ):
        assert (await api.workflow("POST", FILE, asked | wrong))["code"] == code
    simulator.act("leave", {"userid": (await detail(api, pid))["originatorUserId"]})
    assert (await api.workflow("POST", FILE, asked))["code"] == "userNotExist"

"""The simulator's approvals with the vendor's own Python SDK, unchanged but for its address, as their client.

Neither the names of calls and parameters nor the reading of answers come from this project.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dingbridge.simulator.company.templates import TEMPLATES
from dingbridge.simulator.server import Simulator
from tests.integration.simulator_support import settings
from tests.support.profiles import KIND

SDK = Path(sys.prefix) / "sdk"
SCRIPT = Path(__file__).parents[1] / "support" / "vendor_workflow_sdk.py"
DAY_MS = 86_400_000


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(settings(profile=KIND)) as simulator:  # as the pages have it
        yield simulator


@pytest.fixture
async def sdk(simulator: Simulator) -> AsyncIterator[Callable[..., Any]]:
    """``await sdk("get_process_instance", processInstanceId="…")``: the answer as the script gives it."""
    assert SDK.is_dir(), f"{SDK} is missing; `make install` puts the SDK there"
    token = simulator.tokens.issue("dingsampleappkey01", "dingbridge-sample-secret-not-secret")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", str(SCRIPT), str(SDK), simulator.base_url.removeprefix("http://"), token,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**24,
    )  # fmt: skip

    async def answer(call: str, **request: Any) -> dict[str, Any]:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"call": call, "request": request}).encode() + b"\n")
        async with asyncio.timeout(60):
            line = await process.stdout.readline()
        assert line, "the SDK's process ended"
        return dict(json.loads(line))

    yield answer
    if process.returncode is None:
        process.kill()
    await process.wait()


def whole(document: dict[str, Any]) -> dict[str, Any]:
    """A detail as the SDK's models hold it: a record without attachments has an empty list of them."""
    records = [{"attachments": []} | record for record in document["operationRecords"]]
    return document | {"operationRecords": records}


async def test_every_instance(simulator: Simulator, sdk: Callable[..., Any]) -> None:
    platform = simulator.platform
    for _ in range(200):
        platform.act_at_random()
    platform.act("comment", {"file_name": "说明.pdf"})
    done = platform.act("start_approval")[0].payload["processInstanceId"]
    platform.act("approve", {"process_instance_id": done})
    for action in ("modify_approved", "revoke_approved"):
        platform.act(action, {"process_instance_id": done})
    assert len(list(platform.approvals)) > 30
    for approval in platform.approvals:
        answer = await sdk("get_process_instance", processInstanceId=approval.instance_id)
        assert answer["result"]["result"] == whole(platform.approvals.result(approval))
        assert answer["result"]["success"] is True
    unknown = await sdk("get_process_instance", processInstanceId="x")
    assert unknown["code"] == "processInstanceNotExist"


async def test_ids(simulator: Simulator, sdk: Callable[..., Any]) -> None:
    for _ in range(45):
        simulator.act("start_approval", {"process_code": "PROC-EXPENSE"})
    span = {"processCode": "PROC-EXPENSE", "startTime": int(time.time() * 1000) - DAY_MS, "maxResults": 20}
    found: list[str] = []
    token: str | None = "0"
    while token is not None:
        answer = await sdk("list_process_instance_ids", **span, nextToken=int(token))
        page = answer["result"]["result"]
        found += page["list"]
        token = page.get("nextToken")
    there = [a.instance_id for a in simulator.platform.approvals if a.process_code == "PROC-EXPENSE"]
    assert found == there
    running = {"statuses": ["RUNNING"], "userIds": ["nobody"], "endTime": span["startTime"] + DAY_MS}
    answer = await sdk("list_process_instance_ids", **span, **running, nextToken=0)
    assert answer["result"]["result"]["list"] == []
    refused = await sdk("list_process_instance_ids", **span | {"maxResults": 21}, nextToken=0)
    assert refused["code"] == "invalidMaxResults"


async def test_templates_and_a_schema(simulator: Simulator, sdk: Callable[..., Any]) -> None:
    answer = await sdk("list_user_visible_bpms_processes", maxResults=100, nextToken=0)
    templates = answer["result"]["result"]["processList"]
    assert {t["processCode"] for t in templates} == TEMPLATES.keys()
    admin = next(iter(simulator.platform.company.roles.admins))
    managed = await sdk("get_manage_process_by_staff_id", userId=admin)
    names = {t["processCode"]: t["flowTitle"] for t in managed["result"]["result"]}
    assert names == {t["processCode"]: t["name"] for t in templates}
    for template in templates:
        named = await sdk("get_process_code_by_name", name=template["name"])
        assert named["result"]["result"]["processCode"] == template["processCode"]
        answer = await sdk("query_schema_by_process_code", processCode=template["processCode"])
        form = answer["result"]["result"]
        assert (form["name"], form["status"]) == (template["name"], "PUBLISHED")
        items = form["schemaContent"]["items"]
        assert all(item["componentName"] and item["props"]["id"] for item in items)
        tables = [item for item in items if item["componentName"] == "TableField"]
        assert all(child["props"]["label"] for table in tables for child in table["children"])


async def test_a_file(simulator: Simulator, sdk: Callable[..., Any]) -> None:
    events, _ = simulator.act("start_approval", {"process_code": "PROC-EXPENSE"})
    pid = events[0].payload["processInstanceId"]
    approval = simulator.platform.approvals.get(pid)
    assert approval is not None
    (file,) = approval.attachments()
    asked = {"processInstanceId": pid, "fileId": file.file_id, "withCommentAttatchment": True}
    link = (await sdk("grant_process_instance_for_download_file", **asked))["result"]["result"]
    assert (link["fileId"], link["spaceId"]) == (file.file_id, int(file.space_id))
    async with aiohttp.ClientSession() as session, session.get(link["downloadUri"]) as response:
        assert await response.read() == file.content()


async def test_a_right_that_is_missing(simulator: Simulator, sdk: Callable[..., Any]) -> None:
    api = "GET /v1.0/workflow/processInstances"
    simulator.faults.add({"api": api, "kind": "deny", "errcode": 60011})
    answer = await sdk("get_process_instance", processInstanceId="x")
    assert answer["code"] == "Forbidden.AccessDenied.AccessTokenPermissionDenied"
    assert "[Workflow.Instance.Read]" in answer["message"]

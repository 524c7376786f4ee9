"""``dingbridge probe`` at a simulated tenant: as it is, with planted differences, with events meanwhile."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from dingbridge.dingtalk.api.approvals import IDS, INSTANCES
from dingbridge.dingtalk.api.shapes import SHAPES
from dingbridge.probe.lag import arriving
from dingbridge.settings import SAMPLE_CREDENTIALS, KafkaSettings
from dingbridge.simulator.server import Simulator
from dingbridge.worker.api.budget import ApiCalls
from dingbridge.worker.api.call_counts import CallCounts
from tests.integration.simulator_support import settings as simulator_settings
from tests.integration.worker_support import event_record, publish
from tests.support.processes import Processes
from tests.support.profiles import KIND
from tests.support.terminal import QUESTION, on_terminal

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "probe.md"
Change = Callable[[dict[str, Any]], Any]


class Tenant:
    """A simulator behind a proxy that changes replies: ``changes`` by path; each gets the reply's JSON, and
    returns another, a ``(status, reply)``, or ``None`` after it has changed it in place."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator, self.changes = simulator, dict[str, Change]()
        self.base = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        url = f"{self.simulator.base_url}{request.path_qs}"
        headers = {n: v for n, v in request.headers.items() if n.lower() not in ("host", "content-length")}
        async with (
            aiohttp.ClientSession() as session,
            session.request(request.method, url, data=await request.read(), headers=headers) as response,
        ):
            status, body = response.status, await response.json(content_type=None)
        if (change := self.changes.get(request.path)) is not None:
            changed = change(body)
            status, body = changed if isinstance(changed, tuple) else (status, changed or body)
        return web.json_response(body, status=status)


@asynccontextmanager
async def serving(tenant: Tenant) -> AsyncIterator[None]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", tenant.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        tenant.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield
    finally:
        await runner.cleanup()


@pytest.fixture
async def tenant() -> AsyncIterator[Tenant]:
    async with Simulator(simulator_settings(approvals=40, profile=KIND)) as simulator:  # a tenant as believed
        tenant = Tenant(simulator)
        async with serving(tenant):
            yield tenant


class Probe:
    """The command, with a report of its own."""

    def __init__(self, processes: Processes, tenant: Tenant, folder: Path) -> None:
        self._processes, self._tenant, self.folder = processes, tenant, folder

    async def run(self, *arguments: str, **environment: str) -> Any:
        arguments = ("probe", "--report", str(self.path), *arguments)
        return await asyncio.to_thread(self._processes.run, *arguments, env=self.environment | environment)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **SAMPLE_CREDENTIALS,
            "DINGTALK_API_BASE": self._tenant.base,
            "DATA_DIR": str(self.folder),
            "ARCHIVE_DIR": str(self.folder / "archive"),
            "LC_ALL": "C.UTF-8",
        }

    @property
    def path(self) -> Path:
        return self.folder / "report.json"

    @property
    def report(self) -> dict[str, Any]:
        return json.loads(self.path.read_text("utf-8"))

    def codes(self) -> list[str]:
        return [finding["code"] for finding in self.report["findings"]]


@pytest.fixture
def probe(processes: Processes, tenant: Tenant, tmp_path: Path) -> Iterator[Probe]:
    return Probe(processes, tenant, tmp_path)


# -- a tenant as the tables have it


async def test_a_tenant_as_believed_is_clean_and_its_calls_were_announced(probe: Probe) -> None:
    done = await probe.run("--yes", "--events", "0")
    assert done.returncode == 0, done.stdout
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    report = probe.report
    assert probe.codes() == ["read.ok", "time.ok"], done.stdout
    assert {api for api, call in report["calls"].items() if not call["requests"]} == set()
    assert report["calls"].keys() == SHAPES.keys() - CALLED_BY_NO_SAMPLE
    assert {clock["zone"] for clock in report["clocks"]} == {"false"}
    [announced, counted] = re.search(r"about (\d+) calls, of which at most (\d+) count", done.stderr).groups()  # type: ignore[union-attr]
    made = {api: call["requests"] for api, call in report["calls"].items()}
    spent = await ApiCalls(
        CallCounts(f"sqlite:///{probe.folder / 'api-calls.db'}"),
        app=SAMPLE_CREDENTIALS["DINGTALK_APP_KEY"],
        limit=0,
    ).spent()
    # what the table says of the quota is what the client counts
    assert spent["by_api"] == {api: n for api, n in sorted(made.items()) if report["calls"][api]["counted"]}
    assert f"that is {announced}, of which {counted} count" in GUIDE.read_text("utf-8")
    assert sum(made.values()) <= int(announced)
    assert spent["calls"] <= int(counted)


async def test_on_a_terminal_it_asks_and_no_calls_nothing(probe: Probe, tenant: Tenant) -> None:
    arguments = ("probe", "--report", str(probe.path), "--events", "0")
    unneeded = ("DINGTALK_TOKEN", "DINGTALK_AES_KEY", "DINGTALK_OWNER_KEY")  # on the day they may be to come
    environment = {name: value for name, value in probe.environment.items() if name not in unneeded}
    code, shown = await asyncio.to_thread(on_terminal, environment, probe.folder, *arguments, answer="n")
    assert code == 1
    assert QUESTION in shown
    assert not tenant.simulator.api.calls


# -- planted differences


def without(*path: str) -> Change:
    """Takes the field of this path out of ``result``."""

    def change(reply: dict[str, Any]) -> None:
        inside = reply["result"]
        for name in path[:-1]:
            inside = inside[name]
        del inside[path[-1]]

    return change


CALLED_BY_NO_SAMPLE = {"role/simplelist", "user/count", "user/listadmin", "v2/user/getbymobile"}


def nowhere_to_be_found(reply: dict[str, Any]) -> dict[str, Any]:
    return {"errcode": 987654, "errmsg": "张三不可读"}


def no_right_before(reply: dict[str, Any]) -> dict[str, Any]:
    words = "应用尚未开通所需的权限：[qyapi_get_department_list]"
    return {"errcode": 88, "errmsg": words, "sub_code": "60011", "sub_msg": words}


def family_school(reply: dict[str, Any]) -> None:
    if reply["result"]:
        reply["result"].append({"dept_id": -1, "name": "家校通讯录", "parent_id": 1})


def strange_approvals() -> Change:
    """Of the two details that are read the first has seconds, the second a Z that is true; both have task
    ids as text."""
    read = iter((False, True))

    def change(reply: dict[str, Any]) -> None:
        detail = reply["result"]
        for task in detail["tasks"]:
            task["taskId"] = str(task["taskId"])
        moment = datetime.strptime(detail["createTime"], "%Y-%m-%dT%H:%MZ")
        if next(read):
            detail["createTime"] = f"{moment - timedelta(hours=8):%Y-%m-%dT%H:%MZ}"
        else:
            detail["createTime"] = f"{moment:%Y-%m-%dT%H:%M:07Z}"

    return change


def next_token_as_a_number(reply: dict[str, Any]) -> None:
    reply["result"]["nextToken"] = 20


async def test_each_planted_difference_is_named_by_its_own_finding(probe: Probe, tenant: Tenant) -> None:
    tenant.changes = {
        "/topapi/v2/user/list": without("has_more"),
        "/topapi/v2/department/get": without("name"),
        "/topapi/v2/department/listsub": family_school,
        "/topapi/v2/user/get": nowhere_to_be_found,
        "/topapi/role/list": no_right_before,
        f"/{INSTANCES}": strange_approvals(),
        f"/{IDS}": next_token_as_a_number,
    }
    done = await probe.run("--yes", "--events", "0")
    assert done.returncode == 1
    named = {
        (finding["code"], finding.get("api"), finding.get("field"))
        for finding in probe.report["findings"]
        if finding["level"] in ("warning", "error")
    }
    assert named == {
        ("listing.more", "v2/user/list", "result.has_more"),
        ("shape.missing", "v2/department/get", "result.name"),
        ("department.id", "v2/department/listsub", None),
        ("refusal.unknown", "v2/user/get", None),
        ("api.permission", "role/list", None),
        ("shape.loose", INSTANCES, "result.tasks[].taskId"),
        ("shape.loose", IDS, "result.nextToken"),
        ("time.form", None, None),
        ("time.z_true", None, None),
    }
    for code, *_ in named:
        assert re.search(
            rf"^(error|warning) +{re.escape(code)} .*\n( .*\n)*? +do: ", done.stdout, re.MULTILINE
        )
    text = probe.path.read_text("utf-8")
    assert "张三" not in text
    assert "家校" not in text


# -- events meanwhile


async def test_events_that_arrive_are_those_from_now_on(kafka_settings: KafkaSettings) -> None:
    ready = asyncio.Event()
    await publish(kafka_settings, [event_record("e1", "before")])
    events = arriving(kafka_settings, ready.set, poll_s=0.01)
    async with asyncio.timeout(60):
        arrived = asyncio.ensure_future(anext(events))
        await ready.wait()
        await publish(kafka_settings, [event_record("e2", "meanwhile")])
        assert (await arrived).subject == "meanwhile"
        await publish(kafka_settings, [event_record("e3", "of a new topic", "user_leave_org")])
        assert (await anext(events)).subject == "of a new topic"

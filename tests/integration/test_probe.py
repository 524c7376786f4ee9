"""``dingbridge probe`` at a simulated tenant: as it is, with planted differences, with events meanwhile."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from dingbridge.settings import SAMPLE_CREDENTIALS
from simulator.server import Simulator
from tests.integration.simulator_support import settings as simulator_settings
from tests.support.processes import Processes

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
    async with Simulator(simulator_settings(approvals=40)) as simulator:
        tenant = Tenant(simulator)
        async with serving(tenant):
            yield tenant


class Probe:
    """The command, with a report of its own."""

    def __init__(self, processes: Processes, tenant: Tenant, folder: Path) -> None:
        self._processes, self._tenant, self._folder = processes, tenant, folder

    async def run(self, *arguments: str, **environment: str) -> Any:
        env = {
            **SAMPLE_CREDENTIALS,
            "DINGTALK_API_BASE": self._tenant.base,
            "DATA_DIR": str(self._folder),
            "ARCHIVE_DIR": str(self._folder / "archive"),
            "LC_ALL": "C.UTF-8",
            **environment,
        }
        arguments = ("probe", "--report", str(self.path), *arguments)
        return await asyncio.to_thread(self._processes.run, *arguments, env=env)

    @property
    def path(self) -> Path:
        return self._folder / "report.json"

    @property
    def report(self) -> dict[str, Any]:
        return json.loads(self.path.read_text("utf-8"))

    def codes(self) -> list[str]:
        return [finding["code"] for finding in self.report["findings"]]


@pytest.fixture
def probe(processes: Processes, tenant: Tenant, tmp_path: Path) -> Iterator[Probe]:
    return Probe(processes, tenant, tmp_path)


async def test_a_tenant_as_believed_is_clean(probe: Probe) -> None:
    done = await probe.run("--yes", "--events", "0")
    print(done.stdout, done.stderr)
    print(json.dumps(probe.report, ensure_ascii=False)[:6000])
    assert done.returncode == 0, done.stdout

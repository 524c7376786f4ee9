"""The doctor on the console's page, with the environment that each deployment gives the console."""

import os
import shlex
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from dingbridge.console.access.users import Role
from dingbridge.console.settings import ConsoleSettings
from dingbridge.simulator.kafka.ports import free_port
from tests.support.compose_files import TRIAL, example_env, rendered
from tests.support.manifests import container, documents
from tests.support.units import unit
from tests.unit.console.support import browser, use_quick_hasher

APP = {
    "DINGTALK_APP_KEY": "dingkey",
    "DINGTALK_APP_SECRET": "secret of the app",
    "DINGTALK_TOKEN": "secretToken",
    "DINGTALK_AES_KEY": "k" * 43,
    "DINGTALK_OWNER_KEY": "dingkey",
    "DINGTALK_CORP_ID": "dingcorp",
    "POSTGRES_PASSWORD": "secretOfTheDatabase",
}
METRICS = "dingbridge_journal_oldest_waiting_seconds 3.0\ndingbridge_parked 0.0\n"


def by_compose() -> dict[str, str]:
    return rendered(TRIAL)["console"]["environment"]


def by_compose_for_a_real_app() -> dict[str, str]:
    env = example_env(**APP)
    return rendered(tuple(env["COMPOSE_FILE"].split(":")), env)["console"]["environment"]


def by_the_chart() -> dict[str, str]:
    [console] = [d for d in documents("console.example.yaml") if d["kind"] == "StatefulSet"]
    [shared] = documents("settings.yaml")
    own = {item["name"]: item["value"] for item in container(console)["env"]}
    return {**shared["data"], **own}


def by_systemd() -> dict[str, str]:
    """``/etc/dingbridge/env`` as the guide has it; ``ingress.env`` with the keys is not the console's."""
    [given] = unit("dingbridge-console.service")["Service"]["Environment"]
    names = ("DINGTALK_APP_KEY", "DINGTALK_APP_SECRET", "DINGTALK_CORP_ID")
    return dict(item.split("=", 1) for item in shlex.split(given)) | {name: APP[name] for name in names}


DEPLOYMENTS = {
    "compose": by_compose,
    "compose, a real app": by_compose_for_a_real_app,
    "the chart": by_the_chart,
    "systemd": by_systemd,
}
WITH_ITS_INGRESS = {"compose", "compose, a real app", "systemd"}


class Listeners:
    """The private listener of an ingress."""

    def __init__(self) -> None:
        self.port = 0
        self.relay: dict[str, Any] = {"state": "up"}

    async def answer(self, request: web.Request) -> web.Response:
        if request.path == "/metrics":
            return web.Response(text=METRICS)
        return web.json_response({"kafka": self.relay, "owners": [], "status": "ok"})


@pytest.fixture
async def listeners() -> AsyncIterator[Listeners]:
    found, app = Listeners(), web.Application()
    app.router.add_get("/{path:.*}", found.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    [(_, found.port)] = runner.addresses
    yield found
    await runner.cleanup()


def here(given: Mapping[str, str], port: int, folder: Path) -> dict[str, str]:
    """``given``, with the addresses and folders of this test in place of those of the deployment."""
    env = {name: str(value) for name, value in given.items()}
    for name in [name for name in env if name.endswith("_FILE") or name == "JOURNAL_DIR"]:
        del env[name]
    hosts = {"DATABASE_URL": f"sqlite:///{folder}/none.db", "DATA_DIR": str(folder)}
    hosts["KAFKA_BOOTSTRAP_SERVERS"] = f"127.0.0.1:{free_port()}"
    hosts["KAFKA_SECURITY_PROTOCOL"] = "PLAINTEXT"
    if "ADMIN_HOST" in env or "CONSOLE_LISTENERS" not in env:  # compose, and systemd
        hosts |= {"ADMIN_HOST": "127.0.0.1", "ADMIN_PORT": str(port)}
        hosts["CONSOLE_LISTENERS"] = f"ingress=http://127.0.0.1:{port}"
    return env | hosts


@pytest.fixture(params=DEPLOYMENTS)
def deployed(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def looked(env: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> tuple[set[str], str]:
    """The errors and warnings of one look with this environment, and Now as a reader sees it."""
    use_quick_hasher(monkeypatch)
    for name in [name for name in os.environ if name.split("_")[0] in ("DINGTALK", "KAFKA", "CONSOLE")]:
        monkeypatch.delenv(name)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    async with browser(ConsoleSettings.load()) as who:
        await who.log_in(Role.READER)
        await who.console.doctor._look()
        return {one.code for one in who.console.doctor.findings}, await (await who.get("/")).text()


async def test_the_doctor_looks_in_each_deployment_and_says_what_it_did_not(
    deployed: str, listeners: Listeners, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It said "errors: 0", and had made no check: only the ingress has the callback's settings."""
    env = here(DEPLOYMENTS[deployed](), listeners.port, tmp_path)
    found, page = await looked(env, monkeypatch)
    assert found == {"kafka.unreachable"}, "and nothing that is not so"
    assert "Errors: 1." in page
    assert "Not checked, since the app&#39;s settings are missing" in page
    listeners.relay = {"state": "stalled", "words": "it has not acknowledged for 5 s"}
    found, _ = await looked(env, monkeypatch)
    assert ("relay.kafka" in found) == (deployed in WITH_ITS_INGRESS)


async def test_a_doctor_that_cannot_run_counts_nothing_and_now_is_not_green(
    listeners: Listeners, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = here(by_compose(), listeners.port, tmp_path) | {"DEDUPE_WINDOW_DAYS": "many"}
    found, page = await looked(env, monkeypatch)
    assert found == set()
    assert "Errors:" not in page
    assert page.count("it cannot run with the console&#39;s settings") == 1
    assert "other checks need settings that work" in page

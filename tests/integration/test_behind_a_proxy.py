"""The whole bridge in a network whose only way out is a proxy: a real tinyproxy, behind which another proxy
opens TLS with a certificate of its own. DingTalk's hosts resolve there and nowhere else.
"""

import asyncio
import os
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from yarl import URL

from dingbridge import open_database
from dingbridge.settings import SAMPLE_CREDENTIALS
from dingbridge.simulator.server import Simulator
from dingbridge.simulator.settings import SimulatorSettings
from tests.integration.sync_support import differences, synced_ms
from tests.support import self_signed
from tests.support.forward_proxy import ForwardProxy
from tests.support.ingress import IngressUnderTest
from tests.support.processes import Process, Processes, free_port, wait_until
from tests.support.sizes import on_one_database
from tests.support.waiting import eventually

pytestmark = on_one_database

ROOT = Path(__file__).parents[2]
OLD, NEW, STREAM = "oapi.dingtalk.test", "api.dingtalk.test", "wss-open-connection.dingtalk.test"
USER, PASSWORD = "svc-7731", "s3cret-of-the-proxy"


def tinyproxy() -> str:
    """The program: ``$TINYPROXY``, the PATH's, or Debian's. Fails with words on how to get one."""
    command = [
        ROOT / "scripts" / "debian-program",
        "tinyproxy",
        "usr/bin/tinyproxy",
        "TINYPROXY",
        "tinyproxy-bin",
    ]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not found.returncode, f"no tinyproxy: {found.stderr}"
    return found.stdout.strip()


class CompanyProxy:
    """tinyproxy, which allows CONNECT to port 443 alone, and passes it on to ``upstream``."""

    def __init__(self, processes: Processes, folder: Path, upstream: int, *, credentials: bool) -> None:
        self.port, self.log = free_port(), folder / "tinyproxy.log"
        config = folder / "tinyproxy.conf"
        lines = [
            f"Port {self.port}",
            "Listen 127.0.0.1",
            "Timeout 600",
            f'LogFile "{self.log}"',
            "LogLevel Connect",
            "ConnectPort 443",
            f"Upstream http 127.0.0.1:{upstream}",
            f"BasicAuth {USER} {PASSWORD}" if credentials else "",
        ]
        config.write_text("\n".join(lines) + "\n")
        process = Process(
            "tinyproxy",
            [tinyproxy(), "-d", "-c", str(config)],
            log=folder / "tinyproxy.out",
            env=os.environ,
            cwd=folder,
        )
        processes.all.append(process)

        def listens() -> bool:
            assert process.running, process.log_text()
            with socket.socket() as probe:
                return not probe.connect_ex(("127.0.0.1", self.port))

        wait_until(listens, what="tinyproxy listens")

    def hosts(self) -> set[str]:
        """The hosts that were asked for."""
        return {host for host in (OLD, NEW, STREAM) if f"CONNECT {host}:443" in self.log.read_text()}


@asynccontextmanager
async def world(
    mode: str, credentials: bool, processes: Processes, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Simulator, CompanyProxy, dict[str, str]]]:
    """DingTalk, the proxy, and the settings of whoever is behind it."""
    settings = SimulatorSettings.load(
        simulator_port=0, simulator_users=8, simulator_departments=3, simulator_mode=mode
    )
    server_pem, authority = self_signed.write(folder, hosts=(OLD, NEW, STREAM))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(server_pem)
    async with Simulator(settings) as simulator:
        opened = simulator.gateway.open
        monkeypatch.setattr(
            simulator.gateway,
            "open",
            lambda call: (
                (answer := opened(call)) | {"endpoint": f"wss://{STREAM}{URL(answer['endpoint']).path}"}
            ),  # a host of its own, as DingTalk's
        )
        port = URL(simulator.base_url).port or 0
        async with ForwardProxy({OLD: port, NEW: port, STREAM: port}, tls=tls) as outer:
            proxy = await asyncio.to_thread(
                CompanyProxy, processes, folder, outer.port, credentials=credentials
            )
            user = f"{USER}:{PASSWORD}@" if credentials else ""
            yield (
                simulator,
                proxy,
                {
                    "DINGTALK_MODE": mode,
                    "DINGTALK_API_BASE": f"https://{OLD}",
                    "DINGTALK_NEW_API_BASE": f"https://{NEW}",
                    "HTTPS_PROXY": f"http://{user}127.0.0.1:{proxy.port}",
                    "SSL_CERT_FILE": str(authority),
                },
            )


@pytest.mark.parametrize(
    ("mode", "credentials", "hosts"),
    [("http", False, {OLD, NEW}), ("stream", True, {OLD, NEW, STREAM})],
)
async def test_the_bridge_works_behind_a_proxy_alone(
    mode: str,
    credentials: bool,
    hosts: set[str],
    processes: Processes,
    kafka_env: Mapping[str, str],
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world(mode, credentials, processes, tmp_path, monkeypatch) as (simulator, proxy, behind):
        ingress = IngressUnderTest(processes, tmp_path, kafka_env, behind)
        env = {
            **SAMPLE_CREDENTIALS,
            **kafka_env,
            **behind,
            "TOPIC_PARTITIONS": "2",
            "DATABASE_URL": database_url,
            "DATA_DIR": str(tmp_path / "data"),
            "RESYNC_CALLS_PER_S": "10000",
            "API_CALLS_PER_S": "10000",
        }
        consumer = processes.start("consume", "address-sync", env=env)
        await asyncio.to_thread(ingress.start)
        asking = {**ingress.env, "ADMIN_PORT": str(ingress.admin_port)}
        if mode == "http":
            command = ("callback", "register", "--url", ingress.url)
            done = await asyncio.to_thread(processes.run, *command, env=asking)
            assert done.returncode == 0, done.stderr
        else:
            await eventually(lambda: simulator.gateway.connections, what="Stream is connected")
        database = open_database(database_url)
        try:

            async def first_is_done() -> bool:
                assert consumer.running, consumer.log_tail(40)
                return await synced_ms(database) > 0

            await eventually(first_is_done, 180, "the first sync")
            simulator.act("hire")
            await simulator.pusher.drain()

            async def equal() -> bool:
                return not await differences(database, simulator)

            await eventually(equal, 180, "the tables are the company")
        finally:
            await database.close()
        found = await asyncio.to_thread(processes.run, "doctor", "--lang", "en", env=asking)
        named = f"is asked through the proxy http://127.0.0.1:{proxy.port}"
        assert named in " ".join(found.stdout.split()), found.stdout
        assert proxy.hosts() == hosts
        written = found.stdout + "".join(process.log_text() for process in processes.all)
        assert PASSWORD not in written

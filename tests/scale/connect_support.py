"""Kafka Connect as ``examples/scale/connect`` starts it, with the test's topics, port and database."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from dev.servers import GuardedProcess, free_port
from dingbridge.simulator.kafka.jars import Jars, fetch_jars, java
from tests.support.processes import environment
from tests.support.waiting import eventually

EXAMPLE = Path(__file__).parents[2] / "examples" / "scale" / "connect"
JARS = Jars("Kafka Connect", "4.4.0", EXAMPLE / "pom.xml", 95_000_000)

SESSIONS = """
session.timeout.ms=6000
heartbeat.interval.ms=2000
consumer.session.timeout.ms=6000
consumer.heartbeat.interval.ms=2000
"""
"""Who was killed is missed after 6 s, and not after 45 s, before which nobody else reads his partitions."""


def lines_of_readme(begin: str) -> list[str]:
    """The commands that the example's README gives, of those that begin with ``begin``."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", (EXAMPLE / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith(begin)]


class Connect:
    """One worker. Raises ``ServerStartError`` if Java or Maven is missing."""

    def __init__(self, folder: Path, bootstrap: str, prefix: str, database_url: str) -> None:
        self.folder, self.prefix = folder / "connect", prefix
        shutil.copytree(EXAMPLE, self.folder, ignore=shutil.ignore_patterns("jars", "plugins"))
        (self.folder / "jars").symlink_to(fetch_jars(jars=JARS))
        [unpack] = lines_of_readme("mkdir -p plugins")
        subprocess.run(unpack, shell=True, check=True, cwd=self.folder)
        port = free_port()
        self._url = f"http://127.0.0.1:{port}"
        worker = self._read("worker.properties").replace(":8085", f":{port}")
        self._write("worker.properties", worker + SESSIONS)
        database = urlsplit(database_url)
        self._env = environment(
            {
                "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
                "SINK_URL": f"jdbc:postgresql://{database.hostname}:{database.port}{database.path}",
                "SINK_USER": database.username or "",
                "SINK_PASSWORD": database.password or "",
            }
        )
        self._process: GuardedProcess | None = None

    async def start(self) -> None:
        """Starts it, and waits until it answers with its connectors."""
        [line] = lines_of_readme("java ")
        command = [java(), "-XX:TieredStopAtLevel=1", *shlex.split(line)[1:]]
        log = self.folder / "connect.log"
        process = GuardedProcess(command, log=log, env=self._env, cwd=self.folder)
        self._process = process

        async def answers() -> bool:
            assert process.running, process.log_tail(40)
            try:
                return isinstance(await self._ask("GET", "/connectors"), list)
            except (aiohttp.ClientError, TimeoutError):
                return False

        await eventually(answers, 180, "Kafka Connect answers")

    async def configure(self, name: str) -> None:
        """What the README does with curl, with a task for each partition of a topic here."""
        config = json.loads(self._read(f"{name}.json")) | {"tasks.max": "2"}
        await self._ask("PUT", f"/connectors/{name}/config", config)

    async def failures(self) -> list[str]:
        """Why connectors and tasks have failed."""
        found: dict[str, Any] = await self._ask("GET", "/connectors?expand=status")
        parts = [
            part for one in found.values() for part in (one["status"]["connector"], *one["status"]["tasks"])
        ]
        return [part.get("trace", "") for part in parts if part["state"] == "FAILED"]

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()

    def log_tail(self) -> str:
        return "" if self._process is None else self._process.log_tail(40)

    def _read(self, name: str) -> str:
        """A file of the example, with the topics of this test."""
        return (self.folder / name).read_text(encoding="utf-8").replace("dingtalk.", self.prefix)

    def _write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30), raise_for_status=True) as session,
            session.request(method, self._url + path, json=body) as answer,
        ):
            return await answer.json()

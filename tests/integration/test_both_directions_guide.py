"""docs/guide/both-directions.md: its tables are the code's, its OA in Java runs."""

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest

from dev.servers import GuardedProcess
from dingbridge.consumers.outbound.forms import MODELS
from dingbridge.consumers.outbound.ledger import ConflictReason, PendingReason, ResultName
from dingbridge.consumers.outbound.owners import load_owners
from dingbridge.errors import ServerStartError
from dingbridge.settings import SAMPLE_CREDENTIALS
from dingbridge.simulator.kafka.jars import fetch_jars, java
from dingbridge.simulator.server import Simulator
from dingbridge.simulator.settings import SimulatorSettings
from tests.support.ingress import IngressUnderTest
from tests.support.processes import Processes, environment
from tests.support.waiting import eventually

GUIDE = (Path(__file__).parents[2] / "docs" / "guide" / "both-directions.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


def cells(heading: str) -> list[list[str]]:
    """The table that begins with ``heading``, without its head."""
    table = GUIDE.split(f"\n| {heading} |", 1)[1].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[2:]]


def names(text: str) -> set[str]:
    return set(re.findall(r"`([\w.-]+)`", text))


def test_the_guide_lists_every_message_with_its_fields() -> None:
    rows = {next(iter(names(row[0]))): names(row[2]) for row in cells("`type` is `com.dingbridge.` and")}
    assert rows.keys() == MODELS.keys()
    for type_, model in MODELS.items():
        data = model.model_fields["data"].annotation
        fields = {field.alias for field in data.model_fields.values()} - {"corpId", "app"}
        assert fields <= rows[type_], type_


def test_the_guide_lists_every_result_and_reason() -> None:
    assert {next(iter(names(row[0]))) for row in cells("`result`")} == set(get_args(ResultName))
    reasons = set().union(*(names(row[0]) for row in cells("`reason` of `pending`")))
    assert reasons == set(get_args(PendingReason))
    [of_conflicts] = re.findall(r"The `reason` of a `conflict` is (.*?);", GUIDE, re.DOTALL)
    assert names(of_conflicts) == set(get_args(ConflictReason))


def test_the_owners_file_in_the_guide_is_one(tmp_path: Path) -> None:
    file = tmp_path / "owners.toml"
    file.write_text(blocks("toml")[0], encoding="utf-8")
    owners = load_owners(file)
    assert owners.owner_of("user", "title") == "dingtalk"
    assert owners.owner_of("user", "name") == "oa"
    assert owners.template("PROC-LEAVE").request_id_field


# -- the OA in Java, where a JDK is


def compiler() -> Path | None:
    try:
        beside = Path(java()).resolve().with_name("javac")
    except ServerStartError:
        return None
    return beside if beside.exists() else None


@dataclass
class Bridge:
    """A simulated DingTalk, the ingress and outbound, and the environment that leads to them."""

    simulator: Simulator
    env: dict[str, str]


@pytest.fixture
async def bridge(processes: Processes, kafka_env: dict[str, str], tmp_path: Path) -> AsyncIterator[Bridge]:
    settings = SimulatorSettings.load(simulator_port=0, simulator_users=3, simulator_departments=2)
    owners = tmp_path / "owners.toml"
    owners.write_text(blocks("toml")[0], encoding="utf-8")
    async with Simulator(settings) as simulator:
        ingress = IngressUnderTest(processes, tmp_path, kafka_env, {"DINGTALK_API_BASE": simulator.base_url})
        await asyncio.to_thread(ingress.start)
        env = {
            **SAMPLE_CREDENTIALS,
            **kafka_env,
            "TOPIC_PARTITIONS": "2",
            "DINGTALK_API_BASE": simulator.base_url,
            "DINGTALK_CORP_ID": settings.simulator_corp_id,
            "DATA_DIR": str(tmp_path),
            "OUTBOUND_OWNERS": str(owners),
            "OUTBOUND_SETTLE_S": "1",
        }
        asking = {**env, "ADMIN_PORT": str(ingress.admin_port)}
        done = await asyncio.to_thread(
            processes.run, "callback", "register", "--url", ingress.url, env=asking
        )
        assert done.returncode == 0, done.stderr
        outbound = processes.start("consume", "outbound", env=env)
        await asyncio.to_thread(outbound.wait_for_log, "consumer.assigned")
        yield Bridge(simulator, env)


if compiler() is not None:

    async def test_the_oa_in_java_writes_to_dingtalk_and_hears_what_people_change(
        bridge: Bridge, tmp_path: Path
    ) -> None:
        source = tmp_path / "Oa.java"
        source.write_text(blocks("java")[0], encoding="utf-8")
        jars = fetch_jars()
        [named] = [block for block in blocks("sh") if "Oa.java" in block]
        wanted = re.findall(r"([a-z0-9-]+)\.jar", named)
        path = ":".join(str(next(jars.glob(f"{name}-[0-9]*.jar"))) for name in wanted)
        sparing = "-XX:TieredStopAtLevel=1"  # it lives for seconds: compiling itself well costs more
        compiler_ = [str(compiler()), f"-J{sparing}", "-J-XX:+UseSerialGC", "-Werror"]
        compiled = [*compiler_, "-cp", path, "-d", str(tmp_path), str(source)]
        await asyncio.to_thread(subprocess.run, compiled, check=True)
        log = tmp_path / "oa.log"
        command = [java(), sparing, "-XX:+UseSerialGC", "-cp", f"{path}:{tmp_path}", "Oa"]
        oa = GuardedProcess(command, log=log, env=environment(bridge.env), cwd=tmp_path)

        def said(words: str) -> bool:
            assert oa.running, log.read_text(encoding="utf-8")
            return words in log.read_text(encoding="utf-8")

        try:
            await eventually(lambda: said("E1024: done"), 60, "the OA is told that DingTalk was written")
            assert bridge.simulator.platform.company.users["E1024"].title == "工程师"
            bridge.simulator.act("edit", {"userid": "E1024", "title": "高级工程师"})
            words = "E1024: in DingTalk title is now 高级工程师"
            await eventually(lambda: said(words), 60, "the OA is told of the change")
            assert log.read_text(encoding="utf-8").count("in DingTalk") == 1, (
                "and of nothing that it did itself"
            )
        finally:
            oa.stop()

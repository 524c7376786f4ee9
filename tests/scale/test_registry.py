"""`dingbridge schema publish` into a real Apicurio, which then judges changes as our own rules do."""

import asyncio
import json
import subprocess
import tarfile
from collections.abc import AsyncIterator, Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dev.schemas.subset import differences
from dev.servers import GuardedProcess, free_port
from dingbridge.events import catalogue
from dingbridge.schema.registry import Registry, schema_text, subject_of
from dingbridge.simulator.kafka.jars import Jars, fetch_jars
from tests.scale.tools import java_of_wheel
from tests.support.processes import Processes, environment
from tests.support.waiting import eventually

JARS = Jars("Apicurio", "3.3.3", Path(__file__).with_name("registry") / "pom.xml", 160_000_000)
TYPE = "user_add_org"
SUBJECT = subject_of(f"dingtalk.{TYPE}")
Json = dict[str, Any]


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    """The address of its Confluent-compatible API; what it holds is gone afterwards."""
    process, address = await asyncio.to_thread(start, tmp_path)

    async def answers() -> bool:
        assert process.running, process.log_tail(40)
        async with aiohttp.ClientSession() as session:
            try:
                async with session.get(f"{address}/subjects") as answer:
                    return answer.status == 200
            except aiohttp.ClientError:
                return False

    try:
        await eventually(answers, 180, "Apicurio answers")
        yield address
    finally:
        process.kill()


def start(folder: Path) -> tuple[GuardedProcess, str]:
    [archive] = fetch_jars(jars=JARS).glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder / "apicurio", filter="data")
    port = free_port()
    options = ["-XX:TieredStopAtLevel=1", "-Xmx512m", "-Dquarkus.http.host=127.0.0.1"]
    command = [java_of_wheel(), *options, f"-Dquarkus.http.port={port}", "-jar", "quarkus-run.jar"]
    process = GuardedProcess(
        command, log=folder / "apicurio.log", env=environment({}), cwd=folder / "apicurio"
    )
    return process, f"http://127.0.0.1:{port}/apis/ccompat/v7"


async def test_all_types_are_published_and_nothing_changes_the_second_time(
    url: str, processes: Processes
) -> None:
    async def outcomes() -> dict[str, str]:
        done: subprocess.CompletedProcess[str] = await asyncio.to_thread(
            processes.run, "schema", "publish", "--json", env={"SCHEMA_REGISTRY_URL": url}
        )
        assert done.returncode == 0, done.stderr
        return {one["subject"]: one["outcome"] for one in map(json.loads, done.stdout.splitlines())}

    subjects = {subject_of(f"dingtalk.{event_type}") for event_type in catalogue}
    assert await outcomes() == dict.fromkeys(subjects, "new")
    assert await outcomes() == dict.fromkeys(subjects, "unchanged")
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        async with session.get(f"{url}/subjects") as answer:
            assert set(await answer.json()) == subjects
        async with session.get(f"{url}/subjects/{SUBJECT}/versions/latest") as answer:
            latest = await answer.json(content_type=None)
    assert latest["schemaType"] == "JSON"
    assert json.loads(latest["schema"])["$schema"].startswith("http://json-schema.org/draft-07")


def data(schema: Json) -> Json:
    found: Json = schema["properties"]["data"]
    return found


CHANGES: dict[str, Callable[[Json], Any]] = {
    "a new optional field": lambda s: data(s)["properties"].update(brandNew={"type": "string"}),
    "a field is promised": lambda s: data(s)["required"].append("optStaffId"),
    "a field is removed": lambda s: data(s)["properties"].pop("optStaffId"),
    "a field is retyped": lambda s: data(s)["properties"].update(corpId={"type": "integer"}),
    "an enum has grown": lambda s: s["properties"]["form"]["enum"].append("newer"),
    "an enum has shrunk": lambda s: s["properties"]["form"]["enum"].pop(),
    "a required field may be absent": lambda s: s["required"].remove("sequence"),
}


async def test_it_refuses_what_we_call_a_break_and_takes_the_rest(url: str) -> None:
    spec = catalogue.get(TYPE)
    assert spec is not None
    committed = json.loads(schema_text(spec))
    async with Registry(url) as registry:
        for name, change in CHANGES.items():
            subject = subject_of(name.replace(" ", "-"))
            assert (await registry.publish(subject, json.dumps(committed))).outcome == "new"
            changed = deepcopy(committed)
            change(changed)
            published = await registry.publish(subject, json.dumps(changed))
            breaks = bool([*differences(changed, committed)])
            assert published.outcome == ("refused" if breaks else "new version"), (name, published.words)

"""outbound as its process runs it, on real Kafka and PostgreSQL, with its commands: from a file of messages
to DingTalk, and from a person's change there to the topic of changes."""

import asyncio
import json

import orjson
import pytest

from dingbridge.kafka.topic_policy import control_topic
from dingbridge.settings import SAMPLE_CREDENTIALS
from dingbridge.simulator.server import Simulator
from dingbridge.simulator.settings import SimulatorSettings
from tests.integration.outbound_support import CORP, department, message, user
from tests.support.ingress import IngressUnderTest
from tests.support.kafka_reader import read_topic
from tests.support.waiting import eventually


@pytest.fixture
async def simulator():
    settings = SimulatorSettings(
        simulator_port=0, simulator_users=6, simulator_departments=2, simulator_profile="reality,late_ms=900"
    )
    async with Simulator(settings) as running:
        yield running


@pytest.fixture
def env(simulator, kafka_env, postgres_url, tmp_path):
    return {
        **SAMPLE_CREDENTIALS,
        **kafka_env,
        "TOPIC_PARTITIONS": "2",
        "DINGTALK_API_BASE": simulator.base_url,
        "DATABASE_URL": postgres_url,
        "DATA_DIR": str(tmp_path / "data"),
        "OUTBOUND_SETTLE_S": "1",  # longer than any late read
    }


@pytest.fixture
def command(processes, env):
    """Runs ``dingbridge outbound …``; returns its exit code and standard output, of --json its objects."""

    async def run(*arguments):
        result = await asyncio.to_thread(processes.run, "outbound", *arguments, env=env)
        if "--json" in arguments:
            return result.returncode, [json.loads(line) for line in result.stdout.splitlines()]
        return result.returncode, result.stdout + result.stderr

    return run


async def test_a_file_becomes_so_and_a_persons_change_comes_back(
    simulator, processes, kafka_env, kafka_settings, env, command, tmp_path
):
    ingress = IngressUnderTest(processes, tmp_path, kafka_env, {"DINGTALK_API_BASE": simulator.base_url})
    await asyncio.to_thread(ingress.start)
    asking = {**env, "ADMIN_PORT": str(ingress.admin_port)}
    result = await asyncio.to_thread(processes.run, "callback", "register", "--url", ingress.url, env=asking)
    assert result.returncode == 0, result.stderr

    async def data(topic):
        records = await read_topic(kafka_settings, control_topic(kafka_settings, topic))
        return [orjson.loads(record.value)["data"] for record in records]

    async def last_results():
        return {one["id"]: one["result"] for one in await data("outbound-results")}

    # a file with faults is not sent, and each fault has its line
    there = next(
        one for one in simulator.platform.company.users.values() if simulator.scope.sees_user(one.userid)
    )
    wanted = [
        user("u1", 1, departments=["d1"], title="工程师"),
        user("u2", 1, userid=there.userid, name=there.name, mobile=there.mobile, title="改过的"),
        {name: value for name, value in department("d1", 1).items() if name not in ("specversion", "id")},
    ]
    file = tmp_path / "wanted.jsonl"
    faulty = [*map(json.dumps, wanted), "{", json.dumps(user("u3", 1, name="", salary="1"))]
    file.write_text("\n".join(faulty), encoding="utf-8")
    code, words = await command("send", str(file))
    assert (code, "line 4" in words, "line 5" in words, "line 1" in words) == (2, True, True, False), words
    assert "data.salary" in words
    assert "data.name" in words
    # a plan before anything runs, which writes nothing
    file.write_text("\n".join(map(json.dumps, wanted)), encoding="utf-8")
    consumer = processes.start("consume", "outbound", env=env)
    await eventually(lambda: "consumer.assigned" in consumer.log_text(), what="outbound takes part")
    code, planned = await command("plan", str(file), "--json", "--reveal")
    assert code == 0
    assert [(one["op"], one["id"], one["reason"]) for one in planned] == [
        ("create", "d1", None),
        ("create", "u1", None),
        ("wait", "u2", "adopted"),
    ]
    assert planned[1]["fields"]["departments"] == {"old": None, "new": ["d1"]}
    assert planned[2]["fields"]["title"] == {"old": there.title, "new": "改过的"}
    assert list(simulator.writes.log) == []
    assert await data("outbound") == []

    assert (await command("send", str(file)))[0] == 0
    expected = {"d1": "done", "u1": "done", "u2": "pending"}

    async def told():
        return await last_results() == expected

    await eventually(told, what="the answers")
    code, listed = await command("status", "--json")
    assert [(one["id"], one["reason"]) for one in listed] == [("u2", "adopted")]
    assert (await command("release"))[0] == 2
    assert (await command("release", "u2", "--yes"))[0] == 0
    expected["u2"] = "done"
    await eventually(told, what="u2 is written")
    assert there.title == "改过的"

    # killed, it misses nothing: neither what the OA says nor what a person does meanwhile
    consumer.kill()
    simulator.act("edit", {"userid": "u1", "title": "总监"})
    await simulator.pusher.drain()
    file.write_text(json.dumps([user("u1", 2, departments=["d1", "root"])]), encoding="utf-8")
    assert (await command("send", str(file)))[0] == 0
    consumer = processes.start("consume", "outbound", env=env)

    async def has_changes(count):
        found = await data("changes")
        return found if len(found) == count else None

    [change] = await eventually(lambda: has_changes(1), what="the change")
    assert (change["corpId"], change["id"], change["fields"]) == (
        CORP,
        "u1",
        {"title": {"old": "工程师", "new": "总监"}},
    )
    # and what no event told is found by a reconcile
    simulator.platform.act("edit", {"userid": "u1", "remark": "实习"})
    assert (await command("reconcile"))[0] == 0
    await eventually(lambda: has_changes(2), what="the change that no event told")
    code, planned = await command("plan", "--json")
    assert (code, planned) == (0, [])

    file.write_text(json.dumps([message("user.absent", "u1", version=3)]), encoding="utf-8")
    assert (await command("send", str(file)))[0] == 0

    async def waits():
        return [one["reason"] for one in (await command("status", "--json"))[1]] == ["grace"]

    await eventually(waits, what="the grace days")
    assert {name for name, count in _counts(simulator).items() if count > 1} == {"user/update"}
    assert all(one["changed"] for one in simulator.writes.log)


def _counts(simulator):
    names = [one["path"].removeprefix("/topapi/v2/") for one in simulator.writes.log]
    return {name: names.count(name) for name in names}

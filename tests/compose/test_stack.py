"""``docker compose up``: healthy, with events flowing, seen from outside the containers."""

import asyncio
import html
import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from dingbridge.events.event import decode
from dingbridge.settings import SAMPLE_CREDENTIALS, KafkaSettings
from tests.compose.conftest import kafka_settings
from tests.compose.stack import Stack, run_docker
from tests.support.hostile import exchange, raw_push
from tests.support.kafka_reader import read_topic, topics
from tests.support.pusher import is_success
from tests.support.visitor import Visitor
from tests.support.waiting import eventually, wait_until

pytestmark = pytest.mark.compose

OURS = {"ingress", "address-sync", "approval", "outbound", "simulator", "console"}
ONCE = {"register", "console-user"}
SERVERS = {"kafka", "postgres"}


async def query(stack: Stack, statement: str) -> list[Any]:
    url = f"postgresql://dingbridge:dingbridge@127.0.0.1:{stack.ports['POSTGRES']}/dingbridge"
    connection = await asyncpg.connect(url)
    try:
        return [row[0] for row in await connection.fetch(statement)]
    finally:
        await connection.close()


def test_every_service_is_healthy_and_the_callback_was_registered_once(stack: Stack) -> None:
    containers = stack.containers()
    assert set(containers) == OURS | SERVERS | ONCE
    health = {name: containers[name]["State"].get("Health", {}).get("Status") for name in OURS | SERVERS}
    assert set(health.values()) == {"healthy"}, health
    for name in ONCE:
        assert (containers[name]["State"]["ExitCode"], containers[name]["State"]["Status"]) == (0, "exited")


async def test_callbacks_are_rows_in_postgresql_and_records_in_topics(
    stack: Stack, stack_settings: KafkaSettings
) -> None:
    hired = stack.simulator("/_sim/act", {"action": "hire"})["events"][0]["payload"]
    userid = next(value for name, value in hired.items() if name.lower() == "userid")[0]

    async def hired_record() -> bool:
        records = await read_topic(stack_settings, "dingtalk.user_add_org")
        return userid in {decode(record.value).subject for record in records}

    async def hired_row() -> bool:
        with suppress(asyncpg.UndefinedTableError):  # a consumer is healthy before it has made its tables
            return userid in await query(stack, "SELECT userid FROM users WHERE left_at IS NULL")
        return False

    await eventually(hired_record, 60, "the new employee's record in Kafka")
    await eventually(hired_row, 60, "the new employee's row in PostgreSQL")

    async def finished() -> set[str | None]:
        events = [decode(r.value) for r in await read_topic(stack_settings, "dingtalk.bpms_instance_change")]
        return {event.subject for event in events if event.data.get("type") in ("finish", "terminate")}

    ended = await eventually(finished, 120, "an approval that came to its end")

    async def archived() -> bool:
        return ended.issubset(await query(stack, "SELECT instance_id FROM approval_instances"))

    await eventually(archived, 60, "every ended approval in the archive")


def test_the_console_finds_an_event_in_the_index_the_journal_and_a_consumers_database(stack: Stack) -> None:
    hired = stack.simulator("/_sim/act", {"action": "hire"})["events"][0]["payload"]
    userid = next(value for name, value in hired.items() if name.lower() == "userid")[0]
    somebody = Visitor(f"http://127.0.0.1:{stack.ports['CONSOLE']}/")
    somebody.go("/login")
    somebody.submit("/login", name="dingbridge", password="dingbridge-dingbridge")

    def handled() -> bool:
        found = re.findall(r'href="(/event\?[^"]+)"', somebody.go(f"/find?q={userid}&lang=en"))
        life = somebody.go(html.unescape(found[-1])) if found else ""
        return (
            '<pre id="came"' in life
            and re.search(r"address-sync</code></th>\s*<td[^>]*>\s*<span class=.state good", life) is not None
        )

    wait_until(handled, what="the new employee's event, handled")


async def test_the_journal_outlives_the_ingress(stack: Stack, stack_settings: KafkaSettings) -> None:
    async def journals_of(userid: str) -> set[str]:
        events = [decode(r.value) for r in await read_topic(stack_settings, "dingtalk.user_add_org")]
        return {event.journal for event in events if event.subject == userid}

    async def hire() -> set[str]:
        payload = stack.simulator("/_sim/act", {"action": "hire"})["events"][0]["payload"]
        userid = next(value for name, value in payload.items() if name.lower() == "userid")[0]
        return await eventually(lambda: journals_of(userid), 60, "the new employee's record")

    before = await hire()
    await asyncio.to_thread(stack.compose, "kill", "--signal=SIGKILL", "ingress")
    await asyncio.to_thread(stack.up)
    assert await hire() == before


async def test_the_broker_answers_in_its_container_as_it_does_outside(
    stack: Stack, stack_settings: KafkaSettings
) -> None:
    tool = ("/opt/kafka/bin/kafka-topics.sh", "--bootstrap-server", "localhost:9092", "--list")
    inside = await asyncio.to_thread(stack.compose, "exec", "-T", "kafka", *tool)
    assert set(await topics(stack_settings)) <= set(inside.split())
    assert "dingtalk.user_add_org" in inside.split()


def test_no_process_of_ours_is_root_or_may_write_outside_its_volume(stack: Stack) -> None:
    containers = stack.containers()
    for service in OURS:
        assert containers[service]["HostConfig"]["ReadonlyRootfs"], service
        assert stack.compose("exec", "-T", service, "id", "-u").strip() == "10001", service
    for service in SERVERS:
        assert stack.compose("exec", "-T", service, "id", "-u").strip() != "0", service


def test_ports_are_on_the_loopback_address_and_stopping_is_given_time(stack: Stack) -> None:
    services = stack.config()["services"]
    published = {(name, port["host_ip"]) for name in services for port in services[name].get("ports", [])}
    assert published == {(name, "127.0.0.1") for name in SERVERS | {"ingress", "simulator", "console"}}
    assert {services[name]["stop_grace_period"] for name in OURS} == {"15s"}


def test_compose_takes_prometheus_and_grafana_with_what_they_read(stack: Stack) -> None:
    services = json.loads(stack.compose("--profile=observe", "config", "--format=json"))["services"]
    assert set(services) - set(stack.config()["services"]) == {"prometheus", "grafana"}
    for name in ("prometheus", "grafana"):
        binds = [volume["source"] for volume in services[name]["volumes"] if volume["type"] == "bind"]
        assert binds
        assert all(any(Path(folder).iterdir()) for folder in binds)
        assert {port["host_ip"] for port in services[name]["ports"]} == {"127.0.0.1"}


def test_the_sample_credentials_are_the_public_ones(stack: Stack) -> None:
    environment = stack.config()["services"]["ingress"]["environment"]
    assert {name: environment[name] for name in SAMPLE_CREDENTIALS} == SAMPLE_CREDENTIALS


def test_the_sample_credentials_are_refused_against_dingtalk_itself(stack: Stack, image: str) -> None:
    variables = [f"--env={name}={value}" for name, value in SAMPLE_CREDENTIALS.items()]
    done = run_docker(["run", "--rm", *variables, image, "ingress"])
    assert done.returncode == 2
    assert "sample" in done.stderr


def test_a_real_app_comes_up_without_the_simulator(app_stack: Stack) -> None:
    files = ("-f", "docker-compose.yml", "-f", "docker-compose.app.yml")
    services = app_stack.compose(*files, "config", "--services").split()
    assert set(services) == (OURS | SERVERS) - {"simulator", "console"}
    app_stack.up()  # COMPOSE_FILE of the .env names both files
    containers = app_stack.containers()
    assert set(containers) == set(services)
    environment = dict(item.split("=", 1) for item in containers["ingress"]["Config"]["Env"])
    assert not set(environment.values()) & set(SAMPLE_CREDENTIALS.values())
    assert environment["JOURNAL_ALLOW_UNSAFE"] == "0"


def test_a_real_app_that_is_not_filled_in_is_refused_by_name(app_stack: Stack) -> None:
    env_file = app_stack.folder / ".env"
    env_file.write_text(env_file.read_text().replace("DINGTALK_TOKEN=made-up", "DINGTALK_TOKEN="))
    with pytest.raises(AssertionError, match="DINGTALK_TOKEN"):  # by the ingress: Stream needs none
        app_stack.compose("run", "--rm", "--no-deps", "ingress")


async def test_the_edge_comes_up_before_two_ingresses_and_a_push_through_it_is_a_record(
    edge_stack: Stack,
) -> None:
    containers = edge_stack.containers()
    ingresses = [containers[name] for name in ("ingress", "ingress-2")]
    journals = {mount["Name"] for one in ingresses for mount in one["Mounts"] if mount["Type"] == "volume"}
    assert len(journals) == 2
    settings = kafka_settings(edge_stack)
    names = [f"edge-{number}" for number in range(4)]
    for name in names:
        body = (
            b'{"EventType":"check_in","eventId":"%b","CorpId":"dingcorpsample01","StaffId":"u"}'
            % name.encode()
        )
        reply = await exchange(edge_stack.ports["EDGE"], raw_push(body), 30)
        assert reply.status == 200
        assert is_success(reply.body)

    async def journals_of_all() -> set[str] | None:
        events = [decode(record.value) for record in await read_topic(settings, "dingtalk.check_in")]
        found = {event.data.get("eventId"): event.journal for event in events}
        return {found[name] for name in names} if found.keys() >= set(names) else None

    assert len(await eventually(journals_of_all, 60, "the records of what came through the edge")) == 2


def test_down_leaves_no_trace(stack: Stack) -> None:
    before = stack.leftovers()
    assert all(before[kind] for kind in ("containers", "volumes", "networks"))
    stack.down()
    assert not any(stack.leftovers().values()), stack.leftovers()

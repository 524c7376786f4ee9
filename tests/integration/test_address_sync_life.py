"""address-sync as its process runs it, on real Kafka: the first sync by itself, events after it, and a job of
an OA system that writes back."""

import asyncio

import pytest
from sqlalchemy import select

from dingbridge import open_database
from dingbridge.consumers.address_sync import AddressSync
from dingbridge.consumers.address_sync.tables import users
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.events.envelope import Received, to_records
from dingbridge.ingress.journal.rows import StoredCallback
from dingbridge.ingress.relay import messages as messages_module
from dingbridge.ingress.relay.messages import MessageBuilder
from dingbridge.settings import SAMPLE_CREDENTIALS, IngressSettings
from dingbridge.simulator.company.platform import now_ms
from dingbridge.simulator.server import Simulator
from dingbridge.simulator.settings import SimulatorSettings
from dingbridge.testing import MemoryRuntime
from dingbridge.worker.store.inbox import inbox
from tests.integration.sync_support import differences, ended
from tests.integration.worker_support import consumer_settings, named, publish, serving
from tests.support.ingress import IngressUnderTest
from tests.support.sizes import on_one_database, sized
from tests.support.waiting import eventually
from tests.unit.address_sync.company import Company, event
from tests.unit.address_sync.syncing import full

pytestmark = on_one_database

CORP = "dingcorpsample01"
LIFE = (
    *("hire", "move", "rename", "leave", "create_department", "rename_department", "move_department"),
    *("lead", "report_to", "create_role", "give_role", "give_role", "rename_role", "appoint_admin"),
    *("remove_department", "hire", "take_role", "remove_role", "dismiss_admin", "come_back", "move", "leave"),
)


@pytest.fixture
async def simulator():
    settings = SimulatorSettings(simulator_port=0, simulator_users=sized(12, 24), simulator_departments=6)
    async with Simulator(settings) as running:
        yield running


@pytest.fixture
async def database(database_url):
    opened = open_database(database_url)
    yield opened
    await opened.close()


@pytest.fixture
def env(simulator, kafka_env, database_url, tmp_path):
    return {
        **SAMPLE_CREDENTIALS,
        **kafka_env,
        "TOPIC_PARTITIONS": "2",
        "DINGTALK_API_BASE": simulator.base_url,
        "DINGTALK_CORP_ID": CORP,
        "DATABASE_URL": database_url,
        "DATA_DIR": str(tmp_path / "data"),
        "RESYNC_CALLS_PER_S": "10000",
        "API_CALLS_PER_S": "10000",
    }


async def test_a_company_lives_and_the_tables_are_exactly_it(
    simulator, processes, kafka_env, env, database, tmp_path
):
    """First start on an empty database, a life told by events, one that nobody told, and a full sync."""
    ingress = IngressUnderTest(processes, tmp_path, kafka_env, {"DINGTALK_API_BASE": simulator.base_url})
    await asyncio.to_thread(ingress.start)
    asking = {**env, "ADMIN_PORT": str(ingress.admin_port)}
    result = await asyncio.to_thread(processes.run, "callback", "register", "--url", ingress.url, env=asking)
    assert result.returncode == 0, result.stderr
    consumer = processes.start("consume", "address-sync", env=env)

    async def first_is_done():
        assert consumer.running, consumer.log_tail(40)
        return "address_sync.resynced" in consumer.log_text() and await ended(database) == [("order", "done")]

    await eventually(first_is_done, 180, "the first sync")
    assert await differences(database, simulator) == []
    for _ in range(sized(1, 3)):
        for action in LIFE:
            simulator.act(action, {})
    await simulator.pusher.drain()
    assert simulator.stats()["failed"] == 0

    async def equal():
        return not await differences(database, simulator)

    await eventually(equal, 180, "the tables equal the company, by events alone")

    # what happens while nobody is told is found by a full sync, which reads once
    simulator.profile.set(late=0)
    await asyncio.to_thread(processes.run, "callback", "delete", "--yes", env=env)
    for action in ("hire", "rename", "leave", "come_back", "rename_department", "give_role", "rename_role"):
        simulator.platform.act(action)
    assert await differences(database, simulator) != []
    repaired = await asyncio.to_thread(processes.run, "resync", env=env)
    assert repaired.returncode == 0, repaired.stderr
    assert await differences(database, simulator) == []
    assert await ended(database) == [("order", "done"), ("command", "done")]


async def test_an_event_without_ids_makes_the_running_consumer_resync(
    simulator, env, kafka_env, database_url, database, monkeypatch
):
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    settings = consumer_settings(kafka_env, database_url)
    consumer = named(AddressSync)()
    async with serving(consumer, settings):

        async def done(count):
            return await ended(database) == [("order", "done")] * count

        await eventually(lambda: done(1), 120, "the first sync")
        simulator.platform.act("rename_department")
        monkeypatch.setattr(messages_module, "RESYNC_EVERY_MS", 1000)
        monkeypatch.setattr(messages_module, "SETTLED_MS", 0)
        body = b'{"EventType":"org_dept_modify","TimeStamp":"1731000000000","CorpId":"%s"}' % CORP.encode()
        builder = MessageBuilder(IngressSettings.load(resync_consumers=[consumer.name]), "j1")
        for message in builder.messages(StoredCallback(1, now_ms(), "default", "http", body)):
            await publish(settings, [message.record], message.inbox)
        await eventually(lambda: done(2), 120, "the resync that was asked for")
    assert await differences(database, simulator) == []


async def test_of_two_members_one_does_the_full_sync_and_the_other_goes_on_with_it(
    simulator, processes, env, database
):
    calls = simulator.api.calls
    simulator.faults.add({"api": "v2/user/list", "kind": "hang", "after": 3})
    first = processes.start("consume", "address-sync", env=env)
    await eventually(lambda: calls["/topapi/v2/user/list"] >= 4, 120, "it hangs at a department")
    before = calls.copy()
    processes.start("consume", "address-sync", env=env)
    first.kill()
    simulator.faults.clear()

    async def done():
        return await ended(database) == [("order", "done")]

    await eventually(done, 120, "the other goes on")
    assert await differences(database, simulator) == []
    assert (calls - before)["/topapi/v2/department/listsub"] == 0, "the tree was read already"


async def test_many_events_for_one_user_in_kafka_cost_few_calls(
    kafka_env, database_url, database, monkeypatch
):
    """Fifty that wait in the topic when the consumer comes: they come together, or nearly so."""
    monkeypatch.setenv("RECONCILE_EVERY_DAYS", "0")
    company = Company()
    company.hire("u1")
    settings = consumer_settings(kafka_env, database_url)
    records = []
    for number in range(50):
        one = event("user_modify_org", "u1", at_ms=1731000000000 + number)
        received = Received(
            seq=number,
            journal="j1",
            received_ms=1731000000000 + number,
            app="default",
            via="http",
            body=b'{"EventType":"user_modify_org","TimeStamp":"%d","CorpId":"%s","UserId":["u1"]}'
            % (1731000000000 + number, one.corp_id.encode()),
        )
        records += to_records(received)
    await publish(settings, records)

    class Quiet(AddressSync):
        async def background(self):
            return None

    consumer = named(Quiet)()
    consumer.dingtalk = company
    async with serving(consumer, settings) as service:
        await eventually(lambda: service.worker.state()[0], 120, "it takes part")

        async def all_are_done():
            return len((await database.reader().execute(select(inbox.c.hash))).all()) == 50

        await eventually(all_are_done, 120, "all fifty are handled")
    assert 1 <= company.calls["v2/user/get"] < 10


async def test_a_job_that_writes_the_oas_changes_back_starts_no_loop(simulator, database_url):
    """The OA system owns people's names: its job polls ``updated_at``, and changes DingTalk where it differs;
    DingTalk tells of that by an event, which must end the matter."""
    async with (
        DingTalkClient(
            app_key=SAMPLE_CREDENTIALS["DINGTALK_APP_KEY"],
            app_secret=SAMPLE_CREDENTIALS["DINGTALK_APP_SECRET"],
            base=simulator.base_url,
        ) as client,
        MemoryRuntime(AddressSync(), database_url=database_url, dingtalk=client) as sync,
    ):
        simulator.profile.set(late=0)  # no background looks again
        await full(sync, client, corp_id=CORP)
        people = await sync.rows(select(users.c.userid))
        own = {row.userid: f"员工{number}" for number, row in enumerate(people)}  # as the OA has them
        told = written = 0
        cursor = None
        events, rounds = [], 0
        while rounds < 20:
            rounds += 1
            # the job: what moved since it last looked, and differs from the OA's own
            polled = select(users.c.userid, users.c.name, users.c.updated_at).where(users.c.left_at.is_(None))
            if cursor is not None:
                polled = polled.where(users.c.updated_at > cursor)
            moved = await sync.rows(polled)
            cursor = max([row.updated_at for row in moved], default=cursor)
            for row in moved:
                if row.name != own[row.userid]:
                    events += simulator.platform.act(
                        "rename", {"userid": row.userid, "name": own[row.userid]}
                    )
                    written += 1
            if not moved and not events:
                break
            # and what DingTalk says of it, each told twice
            for one in [*events, *events]:
                told += 1
                received = Received(
                    seq=told,
                    journal=f"j{told}",
                    received_ms=one.time_ms + told,
                    app="default",
                    via="http",
                    body=one.plaintext(),
                )
                for record in to_records(received):
                    assert (await sync.deliver(record, replay_id=f"t{told}")).kind == "done"
            events = []
        assert rounds < 5, "it came to rest"
        assert written == len(own)
        assert told == 2 * written
        before = await sync.rows(select(users).order_by(users.c.userid))
        run = await full(sync, client, corp_id=CORP)
        assert run.changed == {}
        assert await sync.rows(select(users).order_by(users.c.userid)) == before
        assert await differences(sync.database, simulator) == []

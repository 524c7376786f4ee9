"""Data of earlier releases: this version brings them up while callbacks come, and reads all of them; a
made-up next version brings them up as well."""

import asyncio
import sqlite3
from contextlib import asynccontextmanager, closing, suppress

import pytest
from sqlalchemy import insert, select

from dev.stack import PASSWORDS
from dev.system_a import SystemA
from dingbridge import open_database
from dingbridge.apps.file import read_apps
from dingbridge.console.access.users import UsersFile
from dingbridge.console.audit import Audit
from dingbridge.console.index.store import VERSION as INDEX_VERSION
from dingbridge.console.index.store import Index
from dingbridge.consumers.address_sync.tables import users
from dingbridge.consumers.approval.tables import approval_instances
from dingbridge.consumers.forward.settings import ForwardSettings, load_systems
from dingbridge.consumers.outbound.owners import load_owners
from dingbridge.consumers.outbound.requests.tables import outbound_requests as requests
from dingbridge.consumers.outbound.tables import outbound_entity
from dingbridge.errors import BridgeError
from dingbridge.events import decode
from dingbridge.kafka.group_lag import look
from dingbridge.migrations.upgrade import MigrationError
from dingbridge.settings import SAMPLE_CREDENTIALS, ConsumerSettings
from dingbridge.simulator.server import Simulator
from dingbridge.simulator.settings import SimulatorSettings
from dingbridge.worker.api.budget import ApiCalls
from dingbridge.worker.registry import known_consumers
from dingbridge.worker.store.migrations import WorkerTables, migrate
from tests.support.ingress import IngressUnderTest
from tests.support.kafka_reader import read_all
from tests.support.load import Load
from tests.support.next_version import next_of
from tests.support.processes import free_port
from tests.support.pusher import Pusher
from tests.support.release_data import RELEASES, ReleaseData
from tests.support.sizes import sized
from tests.support.waiting import eventually

CONSUMERS = ("address-sync", "approval", "outbound", "forward-a")
DATABASES = ("sqlite", "postgres")
NEW_TITLE = "首席升级官"
NEW_TYPE = "of_the_upgrade"
"""An EventType that nobody reads, of the callbacks that come meanwhile."""


@pytest.fixture(params=RELEASES)
def release(request):
    return request.param


@pytest.fixture(params=DATABASES)
async def data(request, release, tmp_path):
    """``(data, DATA_DIR, url)``: ``url`` is the consumers' PostgreSQL, or None."""
    found, folder = ReleaseData(release, request.param), tmp_path / "data"
    found.unpack(folder)
    url = None
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
        await found.restore_postgres(url)
    return found, folder, url


@asynccontextmanager
async def opened(folder, url, name):
    database = open_database(url or f"sqlite:///{folder}/{name}.db")
    try:
        yield database
    finally:
        await database.close()


async def rows(database, table):
    found = await database.reader().execute(select(table))
    return sorted((dict(row._mapping) for row in found), key=repr)


async def test_the_next_version_of_the_tables_goes_up_beside_members_of_this_one(data, tmp_path, monkeypatch):
    _, folder, url = data
    monkeypatch.syspath_prepend(tmp_path)
    with_revisions = [c for c in known_consumers().values() if c.migrations is not None]
    for tables, name in [(WorkerTables, "outbound"), *((c, c.name) for c in with_revisions)]:
        async with opened(folder, url, name) as database:
            await migrate(database, tables)
            content = {table: await rows(database, table) for table in tables.metadata.sorted_tables}
            assert any(content.values()), "the release has written something"
            await migrate(database, next_of(tables, tmp_path))
            changed = tables.metadata.tables[min(tables.own_tables)]
            async with database.transaction() as tx:  # a member of this version that still runs goes on
                await tx.execute(changed.delete())
                for row in content[changed]:
                    await tx.execute(insert(changed).values(row))
            assert {table: await rows(database, table) for table in content} == content
            with pytest.raises(MigrationError, match="at revision 9999, which this version does not know"):
                await migrate(database, tables)


async def keys_of(folder, url):
    """The primary keys of what consumers never delete by themselves."""
    found = set()
    for name, table in (
        ("address-sync", users),
        ("approval", approval_instances),
        ("outbound", outbound_entity),
        ("outbound", requests),
    ):
        async with opened(folder, url, name) as database:
            keys = await database.reader().execute(select(*table.primary_key.columns))
            found |= {(table.name, *key) for key in keys}
    return found


def asked_for(simulator):
    return {approval["process_instance_id"] for approval in simulator.state()["approvals"]}


@pytest.mark.parametrize("data", sized(DATABASES, DATABASES, quick=("sqlite",)), indirect=True)
async def test_all_of_it_is_read_while_callbacks_come(data, kafka_env, kafka_settings, processes, tmp_path):
    found, folder, url = data
    prefixes = {"TOPIC_PREFIX": found.prefix, "CONTROL_PREFIX": f"ctl-{found.prefix}"}
    settings = kafka_settings.model_copy(update={name.lower(): value for name, value in prefixes.items()})
    before = await keys_of(folder, url)
    assert {table for table, *_ in before} == {
        "users", "approval_instances", "outbound_entity", "outbound_requests"
    }  # fmt: skip
    system_a = SystemA()
    simulated = SimulatorSettings.load(simulator_port=0, simulator_users=20)
    async with found.in_kafka(settings), Simulator(simulated) as simulator:
        env = {
            **SAMPLE_CREDENTIALS,
            **kafka_env,
            **prefixes,
            "DATA_DIR": str(folder),
            "DINGTALK_API_BASE": simulator.base_url,
            "OUTBOUND_OWNERS": str(folder / "owners.toml"),
            "RECONCILE_EVERY_DAYS": "0",
            **system_a.settings(tmp_path, "bpms_instance_change", "user_modify_org"),
            **({} if url is None else {"DATABASE_URL": url}),
        }
        ingress = IngressUnderTest(processes, folder, env)
        pusher = Pusher(ingress.url)
        async with Load(pusher, lanes=4, per_second=40, event_type=NEW_TYPE) as load:
            consumers = [processes.start("consume", name, env=env) for name in CONSUMERS]
            await asyncio.to_thread(ingress.start)
            asking = {**env, "ADMIN_PORT": str(ingress.admin_port)}
            registered = await asyncio.to_thread(
                processes.run, "callback", "register", "--url", ingress.url, env=asking
            )
            assert registered.returncode == 0, registered.stderr
            await load.more(20)
        somebody = next(iter(simulator.platform.company.users))
        simulator.act("edit", {"userid": somebody, "title": NEW_TITLE})
        old = asked_for(simulator)
        simulator.act("start_approval", {"process_code": "PROC-LEAVE"})
        (asked,) = asked_for(simulator) - old
        await simulator.pusher.drain()
        await eventually(lambda: asyncio.to_thread(ingress.drained), 60, "the journal is published")

        async def went_on() -> bool:
            after = await keys_of(folder, url)
            assert after >= before
            new = {key[-1] for key in after}
            taken = len(system_a.taken)
            groups = await look(settings, dict.fromkeys(CONSUMERS, ()))
            behind = [name for name, group in groups.items() if group.lag]
            return {somebody, asked} <= new and taken >= 2 and not behind

        await eventually(went_on, 60, "each consumer goes on where it was")
        async with opened(folder, url, "address-sync") as database:
            titles = select(users.c.title).where(users.c.userid == somebody)
            assert await database.reader().scalar(titles) == NEW_TITLE

        seen = [decode(r.value) for records in (await read_all(settings)).values() for r in records]
        kept = {event.data["number"] for event in seen if event.type == f"com.dingtalk.{NEW_TYPE}"}
        assert kept >= pusher.succeeded

        console = processes.start("console", env={**env, "CONSOLE_PORT": str(free_port())})
        await asyncio.to_thread(console.wait_for_log, "console.ready")
        index = Index(folder / "console-index.db")
        wanted = len({(event.source, event.id) for event in seen})

        def indexed() -> bool:
            with suppress(BridgeError):  # it is made anew just now, for another cluster
                return sum(each.count for each in index.seen().values()) >= wanted
            return False

        await eventually(lambda: asyncio.to_thread(indexed), 60, "the console's index has all events")
        for process in (*consumers, console):
            process.terminate()
        for process in (*consumers, console):
            assert await asyncio.to_thread(process.wait, 30) == 0
    system_a.stop()


@pytest.mark.parametrize("data", ["sqlite"], indirect=True)
async def test_files_and_old_records_are_understood(data):
    found, folder, url = data
    apps, mistakes = read_apps(folder / "apps.toml")
    (mistake,) = mistakes  # 0.1.0 asked for no company
    assert mistake.startswith("DINGTALK_APPS_FILE: apps.sales.corp_id: not set")
    with (folder / "apps.toml").open("a", encoding="utf-8") as file:
        file.write('corp_id = "dingcorpsample01"\n')
    apps, mistakes = read_apps(folder / "apps.toml")
    assert (sorted(apps), mistakes) == (["hr", "sales"], [])
    assert load_owners(folder / "owners.toml").owner_of("user", "title") == "dingtalk"
    forwarded = ForwardSettings.load(
        forward_file=folder / "forward.toml", forward_allow_networks="127.0.0.0/8"
    )
    assert [*load_systems(forwarded)] == ["a"]
    entries = await Audit(folder / "console-audit.jsonl").read()
    assert [entry.act for entry in entries] == ["command", "login"]
    assert UsersFile(folder / "console-users.toml").verify("viewer", PASSWORDS["viewer"]) is not None
    sample = {name.lower(): value for name, value in SAMPLE_CREDENTIALS.items()}
    sample["dingtalk_api_base"] = "http://127.0.0.1:1"
    budget = ApiCalls.of(ConsumerSettings.load(data_dir=folder, database_url=url, **sample))
    try:
        assert await budget._counts.counts(sample["dingtalk_app_key"], f"{entries[0].at:%Y-%m}")
    finally:
        await budget.close()
    in_topics = [line for line in found.records if line["topic"].startswith(found.prefix)]
    events = [decode(line["value"]) for line in in_topics]
    assert {event.type.removeprefix("com.dingtalk.") for event in events} >= {
        "user_add_org", "user_leave_org", "bpms_instance_change", "org_dept_create"
    }  # fmt: skip
    with closing(sqlite3.connect(folder / "console-index.db")) as file:
        [version] = file.execute("PRAGMA user_version").fetchone()
    with closing(Index(folder / "console-index.db")) as index:
        index.open()
        # an index of another version is made anew, and filled again from Kafka
        expected = len(events) if version == INDEX_VERSION else 0
        assert sum(each.count for each in index.seen().values()) == expected

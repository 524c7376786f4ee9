"""address-sync on SQLite and PostgreSQL, and with the real client against the simulator over HTTP."""

import asyncio
from random import Random

import pytest
from sqlalchemy import func, select

from dingbridge import Conflict
from dingbridge.consumers.address_sync import AddressSync
from dingbridge.consumers.address_sync.mapping import department_row, user_state
from dingbridge.consumers.address_sync.tables import departments, memberships, users
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.events.envelope import Received, to_records
from dingbridge.settings import SAMPLE_CREDENTIALS
from dingbridge.simulator.server import Simulator
from dingbridge.simulator.settings import SimulatorSettings
from dingbridge.testing.memory import MemoryRuntime
from tests.support.profiles import AT_ONCE
from tests.support.sizes import on_one_database, sized
from tests.unit.address_sync.company import Company, event
from tests.unit.address_sync.syncing import differences, full

pytestmark = on_one_database


@pytest.fixture
def company():
    return Company()


@pytest.fixture
async def sync(company, database_url):
    async with MemoryRuntime(AddressSync(), database_url=database_url, dingtalk=company) as runtime:
        yield runtime


async def deliver(sync, an_event):
    outcome = await sync.deliver(an_event)
    assert outcome.kind == "done", outcome


async def test_the_life_of_a_user(sync, company):
    company.department_of(2, "研发部")
    company.hire("u1", dept_id_list=[1, 2], name="名\0字", role_list=[{"id": 7, "name": "财务"}])
    await deliver(sync, event("user_add_org", "u1"))
    (row,) = await sync.rows(select(users))
    assert (row.hired_at.isoformat(), row.active) == ("2020-08-16", True)
    await deliver(sync, event("user_modify_org", "u1", OptStaffId="equal"))
    assert await sync.rows(select(users)) == [row]
    back = company.users.pop("u1")
    await deliver(sync, event("user_leave_org", "u1"))
    (left,) = await sync.rows(select(users))
    assert left.left_at.isoformat() == "2024-11-07T17:20:00.123000+00:00"
    assert await sync.rows(select(memberships)) == []
    company.users["u1"] = back
    await deliver(sync, event("user_add_org", "u1", at_ms=1731000000999))
    (again,) = await sync.rows(select(users))
    assert again.left_at is None
    assert len(await sync.rows(select(memberships))) == 2
    title, _, _ = (await sync.consumer.show(sync.database.reader()))[0]
    assert title.startswith("employees: 1, and 0 who left")


async def test_fetch_a_fetch_b_write_b_write_a(sync, company):
    consumer, modified = sync.consumer, event("user_modify_org", "u1")
    ctx = sync.context(modified)
    company.hire("u1", name="旧")
    a = await consumer.prepare(modified, ctx)
    company.users["u1"]["name"] = "新"
    b = await consumer.prepare(modified, ctx)
    async with sync.database.transaction(ctx) as tx:
        await consumer.handle(modified, tx, b)
    with pytest.raises(Conflict):
        async with sync.database.transaction(ctx) as tx:
            await consumer.handle(modified, tx, a)
    (row,) = await sync.rows(select(users))
    assert row.name == "新"


async def test_handlers_that_run_at_once_end_with_the_state_of_the_source(sync, company):
    """Several processes at work on the same few entities, each event delivered twice, the source moving."""
    rng = Random(7)
    for number in range(2, 6):
        company.department_of(number, f"部门{number}")
    told = []
    for number in range(sized(30, 60)):
        userid = f"u{rng.randrange(4)}"
        if rng.random() < 0.2:
            company.users.pop(userid, None)
        else:
            company.hire(userid, name=f"名{number}", dept_id_list=rng.sample([1, 2, 3, 4, 5], 2))
        told.append(event("user_modify_org", userid, at_ms=1731000000000 + number))
        if number % 5 == 0:
            dept_id = rng.randrange(2, 6)
            company.department_of(dept_id, f"部门{dept_id}-{number}")
            told.append(event("org_dept_modify", dept_id, at_ms=1731000000000 + number))
    todo = asyncio.Queue()
    for number, an_event in enumerate(told):
        todo.put_nowait((an_event, f"first{number}"))
        todo.put_nowait((an_event, f"second{number}"))

    async def work():
        while not todo.empty():
            an_event, replay_id = todo.get_nowait()
            outcome = await sync.deliver(an_event)
            outcome = await sync.attempt(an_event, replay_id=replay_id)
            if outcome.kind == "retry":
                todo.put_nowait((an_event, replay_id))
            else:
                assert outcome.kind == "done", outcome

    await asyncio.gather(*(work() for _ in range(8)))
    await same_as(
        sync,
        {userid: result for userid, result in company.users.items()},
        {dept_id: row for dept_id, row in company.departments.items()},
    )


async def test_full_syncs_beside_handlers_end_with_the_state_of_the_source(sync, company):
    """The source moves while eight handlers and one full sync after the other write what they saw of it."""
    rng = Random(11)
    company.roles |= {7: "财务", 8: "人事"}
    for number in range(2, 6):
        company.department_of(number, f"部门{number}")
    for number in range(30):
        company.hire(f"u{number}", dept_id_list=[rng.randrange(1, 6)])
    todo, moving = asyncio.Queue(), True

    async def move():
        nonlocal moving
        for number in range(sized(60, 120)):
            at_ms = 1731000000000 + number
            userid = f"u{rng.randrange(30)}"
            if number % 40 == 39:
                name = f"职务{number}"
                company.roles[8] = name
                for user in company.users.values():
                    for role in user.get("role_list", []):
                        role["name"] = company.roles[role["id"]]
                todo.put_nowait(event("label_conf_modify", 8, at_ms=at_ms))
            elif rng.random() < 0.1 and len(company.users) > 25:
                company.users.pop(userid, None)
                todo.put_nowait(event("user_leave_org", userid, at_ms=at_ms))
            else:
                dept_ids = rng.sample([1, 2, 3, 4, 5], 2)
                leads = [{"dept_id": dept_id, "leader": False} for dept_id in dept_ids]
                company.hire(userid, name=f"名{number}", dept_id_list=dept_ids, leader_in_dept=leads)
                company.grant(userid, *rng.sample([7, 8], rng.randrange(3)))
                todo.put_nowait(event("user_modify_org", userid, at_ms=at_ms))
            await asyncio.sleep(0)
            await sync.rows(select(func.count()).select_from(users))
        moving = False

    async def work():
        while moving or not todo.empty():
            if todo.empty():
                await sync.rows(select(func.count()).select_from(users))
                continue
            an_event = todo.get_nowait()
            outcome = await sync.attempt(an_event)
            if outcome.kind == "retry":
                todo.put_nowait(an_event)
            else:
                assert outcome.kind == "done", outcome

    async def read():
        runs = 0
        while moving or not todo.empty() or runs == 0:
            assert (await full(sync, company)).state == "done"
            runs += 1

    await asyncio.gather(move(), read(), *(work() for _ in range(8)))
    assert await differences(sync, company) == []


async def same_as(sync, people, tree):
    """The tables hold ``people`` and ``tree``, and nobody and nothing else that is current."""
    found = {
        row.userid: row._mapping for row in await sync.rows(select(users).where(users.c.left_at.is_(None)))
    }
    assert set(found) <= set(people)
    members = set()
    for userid, row in found.items():
        state = user_state(people[userid])
        assert {name: row[name] for name in state.row} == state.row
        members |= {(userid, dept_id) for dept_id in state.memberships or ()}
    rows = await sync.rows(select(memberships.c.userid, memberships.c.dept_id))
    assert {tuple(row) for row in rows} == members
    for row in await sync.rows(select(departments).where(departments.c.deleted_at.is_(None))):
        state = department_row(tree[row.dept_id])
        assert {name: row._mapping[name] for name in state} == state
    return found


async def test_a_company_lives_over_http_and_the_tables_follow(database_url):
    settings = SimulatorSettings(  # each event is fetched for once: no background looks again
        simulator_port=0, simulator_users=12, simulator_departments=4, simulator_profile=AT_ONCE
    )
    rng = Random(3)
    async with (
        Simulator(settings) as simulator,
        DingTalkClient(
            app_key=SAMPLE_CREDENTIALS["DINGTALK_APP_KEY"],
            app_secret=SAMPLE_CREDENTIALS["DINGTALK_APP_SECRET"],
            base=simulator.base_url,
        ) as client,
        MemoryRuntime(AddressSync(), database_url=database_url, dingtalk=client) as sync,
    ):
        told = []
        for number in range(25):
            told += simulator.platform.act(
                rng.choice(
                    ["hire", "hire", "move", "rename", "leave", "create_department", "rename_department"]
                )
            )
            if number == 20:
                dept_id = max(simulator.platform.company.departments)
                told += simulator.platform.act("remove_department", {"dept_id": dept_id})
        records = []
        for seq, one in enumerate(told, start=1):
            if one.event_type in AddressSync.topics:
                body = one.plaintext()
                received = Received(
                    seq=seq, journal="j1", received_ms=one.time_ms, app="default", via="http", body=body
                )
                records += to_records(received)
        for record in rng.sample(records, len(records)):
            assert (await sync.deliver(record)).kind == "done"

        state = simulator.state()
        people = {user["userid"]: user for user in state["users"]}
        found = await same_as(sync, people, {dept["dept_id"]: dept for dept in state["departments"]})
        assert found
        # what a membership points at is there to be joined
        joined = select(func.count()).select_from(
            memberships.join(departments, memberships.c.dept_id == departments.c.dept_id)
        )
        assert await sync.rows(joined) == await sync.rows(select(func.count()).select_from(memberships))

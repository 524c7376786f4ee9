"""outbound when something else is wrong: another company's app, a desired state that changes meanwhile, a
lease that ends. Over HTTP against the simulated DingTalk."""

import pytest

from dingbridge import Conflict
from dingbridge.consumers.outbound.contacts import agent as agents
from dingbridge.consumers.outbound.contacts import rows
from dingbridge.consumers.outbound.contacts.rows import QUEUE, Entity, entity_of, save
from dingbridge.consumers.outbound.ledger import Decision
from dingbridge.consumers.outbound.store import now_ms
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.settings import SAMPLE_CREDENTIALS
from dingbridge.simulator.company.company import Department
from dingbridge.simulator.server import Simulator
from dingbridge.simulator.settings import SimulatorSettings
from tests.integration.outbound_support import CORP, department, message, office, user
from tests.support.waiting import eventually
from tests.unit.outbound.hands import once

KEYS = {
    "app_key": SAMPLE_CREDENTIALS["DINGTALK_APP_KEY"],
    "app_secret": SAMPLE_CREDENTIALS["DINGTALK_APP_SECRET"],
}


@pytest.fixture
async def oa(monkeypatch, tmp_path):
    async with office(monkeypatch, f"sqlite:///{tmp_path / 'test.db'}") as found:
        yield found


def of(corp_id, one, **data):
    """The message ``one`` for another company."""
    key = one["partitionkey"].replace(CORP, corp_id)
    return {**one, "partitionkey": key, "data": {**one["data"], "corpId": corp_id, **data}}


async def test_a_company_whose_dingtalk_does_not_answer_holds_up_its_own_alone(oa):
    ours = oa.consumer.dingtalk
    async with DingTalkClient(**KEYS, base="http://127.0.0.1:9") as dead:
        oa.consumer.clients = lambda app, corp_id: dead if app == "dead" else ours
        theirs = [of("dingcorpdead", department(f"x{n}", 1), app="dead") for n in range(20)]
        await oa.say(*theirs, user("u1", 1))

        async def done():
            await once(oa.agent)
            return await oa.results("u1") == ["done"]

        await eventually(done, what="ours is done")
    # and their turn comes when it answers again
    assert await oa.results("x1") == []


async def test_companies_may_have_departments_of_the_same_number(oa):
    ours = oa.consumer.dingtalk
    settings = SimulatorSettings(simulator_port=0, simulator_users=3, simulator_departments=1)
    async with Simulator(settings) as simulator, DingTalkClient(**KEYS, base=simulator.base_url) as theirs:
        oa.consumer.clients = lambda app, corp_id: ours if corp_id == CORP else theirs
        await oa.say(department("d1", 1))
        await oa.settle()
        await oa.say(department("d0", 1))  # looks for it among all that are there
        await oa.settle()
        number = next(
            d.dept_id
            for d in oa.simulator.platform.company.departments.values()
            if d.source_identifier == "d1"
        )
        other = simulator.platform.company.departments
        other[number] = Department(number, "另一个", 1, 9)
        await oa.say(of("dingcorpother", department("d1", 1)))
        await oa.settle()
        assert [d.dept_id != number for d in other.values() if d.source_identifier == "d1"] == [True]


@pytest.mark.parametrize("moved", [True, False])
async def test_a_department_whose_creation_got_no_answer_is_found_where_it_was_to_be(oa, moved):
    """The OA says something else before the outcome is known: it is moved, or removed, and not lost."""
    await oa.say(department("d0", 1))
    await oa.settle()
    oa.simulator.faults.add({"api": "v2/department/create", "kind": "cut", "times": 1})
    await oa.say(department("d1", 1))
    await once(oa.agent)
    await oa.say(department("d1", 2, parent="d0") if moved else message("department.absent", "d1", version=2))
    await oa.settle()
    there = [d for d in oa.simulator.platform.company.departments.values() if d.source_identifier == "d1"]
    above = [oa.simulator.platform.company.departments[d.parent].source_identifier for d in there]
    assert above == (["d0"] if moved else [])
    assert [name for name, _ in oa.writes()].count("department/create") == 2


async def test_nobody_is_removed_whom_the_oa_wants_again(oa, monkeypatch):
    """The message comes between the read and the call."""
    await oa.say(user("u1", 1))
    await oa.settle()
    real = agents.is_left
    later = [user("u1", 3)]

    async def meanwhile(*arguments):
        while later:
            await oa.say(later.pop())
        return await real(*arguments)

    monkeypatch.setattr(agents, "is_left", meanwhile)
    await oa.say(message("user.absent", "u1", version=2))
    await oa.settle()
    assert "user/delete" not in [name for name, _ in oa.writes()]
    assert (await oa.results("u1"))[-2:] == ["superseded", "unchanged"]


async def test_a_call_begins_with_a_whole_lease_and_only_by_who_holds_it(oa, monkeypatch):
    await oa.say(user("u1", 1))
    database = oa.runtime.database

    async def claim() -> list[Entity]:
        return [entity_of(row) for row in await QUEUE.claim(database, 8)]

    later_s = 1
    monkeypatch.setattr(rows, "now_ms", lambda: now_ms() + later_s * 1000)
    [first] = await claim()
    later_s += 40
    assert await claim() == []
    async with database.transaction() as tx:
        await save(tx, first, Decision(first.ledger), keep=True)
    later_s += 40
    assert await claim() == []
    later_s += 40
    [second] = await claim()
    with pytest.raises(Conflict):
        async with database.transaction() as tx:
            await save(tx, first, Decision(first.ledger), keep=True)
    assert second.row.claims == first.row.claims + 1

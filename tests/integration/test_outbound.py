"""outbound against the simulated DingTalk over HTTP, on both databases: what the OA wants becomes so, what
people change comes back, and what holds it back. Real Kafka: ``test_outbound_life.py``."""

import json
import re
from pathlib import Path

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
from tests.support.sizes import on_one_database
from tests.support.waiting import eventually
from tests.unit.outbound.hands import once

pytestmark = on_one_database


@pytest.fixture
async def oa(monkeypatch, database_url):
    async with office(monkeypatch, database_url) as found:
        yield found


async def test_what_the_oa_wants_becomes_so_in_whatever_order_it_comes(oa):
    """Children come before their parents, people before their departments and their manager."""
    await oa.say(
        user("u2", 1, departments=["d2"], manager="u1", title="工程师", extension={"工位": "A3"}),
        department("d2", 1, parent="d1", managers=["u2"]),
        user("u3", 1, departments=["nowhere"]),
        department("d1", 1),
        user("u1", 1, departments=["d1", "root"], hiredOn="2020-08-16"),
    )
    await oa.settle()
    company = oa.simulator.platform.company
    d1 = next(d for d in company.departments.values() if d.source_identifier == "d1")
    d2 = next(d for d in company.departments.values() if d.source_identifier == "d2")
    assert (d2.parent, d2.managers) == (d1.dept_id, ["u2"])
    found = oa.person("u2")
    assert (found["dept_id_list"], found["manager_userid"], found["title"]) == ([d2.dept_id], "u1", "工程师")
    assert "u3" not in company.users
    assert [(await oa.results(own_id))[-1] for own_id in ("u1", "u2", "d1", "d2", "u3")] == [
        *("done", "done", "done", "done"),
        "pending/department-missing",
    ]
    # each creation once, the department's manager afterwards, and nothing that changed nothing; u2's manager
    # is a write of its own where u2 was created before u1
    changes = sorted(name for name, changed in oa.writes() if changed)
    assert changes[:5] == ["department/create"] * 2 + ["department/update"] + ["user/create"] * 2
    assert changes[5:] in ([], ["user/update"])
    assert oa.metric("changes_total", verdict="written-back") == 0
    assert oa.metric("echoes_total") > 0

    # the same again costs nothing; what differs is written, and nothing else
    before = len(oa.writes())
    again = user("u2", 2, departments=["d2"], manager="u1", title="工程师", extension={"工位": "A3"})
    await oa.say(again, message("user.absent", "u1", version=0))
    await oa.settle()
    await oa.say({**again, "id": "asked again"})
    await oa.settle()
    assert len(oa.writes()) == before
    assert (await oa.results("u2"))[-2:] == ["unchanged", "unchanged"]
    assert (await oa.sent())[-1]["answers"] == {"source": "/oa", "id": "asked again"}
    assert (await oa.results("u1"))[-1] == "superseded"
    await oa.say(user("u2", 3, departments=["d2"], title="架构师", manager=None))
    await oa.settle()
    assert oa.writes()[before:] == [("user/update", True)]
    found = oa.person("u2")
    assert (found["title"], found.get("manager_userid", ""), "A3" in found["extension"]) == (
        "架构师",
        "",
        True,
    )

    # who is to manage a department must be in it: until then everything else is done
    await oa.say(department("d2", 2, parent="d1", managers=["u1"], order=7))
    await oa.settle()
    assert ((await oa.results("d2"))[-1], d2.order) == ("pending/manager-missing", 7)
    await oa.say(user("u1", 2, departments=["d1", "d2"]))
    await oa.settle()
    assert (await oa.results("d2"))[-1] == "done"
    assert d2.managers == ["u1"]

    # an older word revives nothing, and removals go from the leaves up
    gone = [message("department.absent", own_id, version=9) for own_id in ("d1", "d2")]
    await oa.say(*gone, *(message("user.absent", own_id, version=9) for own_id in ("u1", "u2")))
    await oa.settle()
    await oa.say(user("u2", 3, departments=["root"]))
    await oa.settle()
    assert not {"u1", "u2"} & company.users.keys()
    assert not {d1.dept_id, d2.dept_id} & company.departments.keys()
    assert (await oa.results("d1"))[-1] == "done"
    assert (await oa.results("u2"))[-1] == "superseded"


async def test_a_persons_change_is_judged_by_the_fields_owner(monkeypatch, database_url, tmp_path):
    owners = tmp_path / "owners.toml"
    owners.write_text('[users]\ntitle = "dingtalk"\nworkPlace = "report"\n', encoding="utf-8")
    async with office(monkeypatch, database_url, OUTBOUND_OWNERS=str(owners)) as oa:
        await oa.say(department("d1", 1))
        wanted = {"title": "工程师", "workPlace": "杭州", "remark": "正式"}
        await oa.say(user("u1", 1, departments=["d1"], **wanted))
        await oa.settle()
        before = len(oa.writes())
        oa.act("edit", userid="u1", title="总监", work_place="上海", remark="实习")
        await oa.settle()
        found = oa.person("u1")
        assert (found["title"], found["work_place"], found["remark"]) == ("总监", "上海", "正式")
        assert oa.writes()[before:] == [("user/update", True)]
        changes = await oa.sent("changes")
        assert {(name, one["verdict"]) for one in changes for name in one["fields"]} == {
            ("title", "accepted"),
            ("workPlace", "reported"),
            ("remark", "written-back"),
        }
        assert {one["corpId"] for one in changes} == {CORP}
        [remark] = [one["fields"]["remark"] for one in changes if "remark" in one["fields"]]
        assert remark == {"old": "正式", "new": "实习"}
        # nothing of it echoes, and of somebody whom the OA never named it is told that something has changed
        unnamed = oa.founder().userid
        oa.act("edit", userid=unnamed, title="无关")
        oa.act("leave", userid=unnamed)
        await oa.settle()
        *same, edited, gone = await oa.sent("changes")
        assert same == changes
        whose = {"corpId": CORP, "kind": "user", "id": None, "dingtalkId": unnamed, "verdict": "reported"}
        assert {**edited, **whose} == edited
        assert "fields" not in edited
        assert {**gone, **whose, "fields": {"exists": {"old": True, "new": False}}} == gone
        # a move is told in the OA's own ids
        oa.act("move", userid="u1")
        await oa.settle()
        [moved] = [one for one in await oa.sent("changes") if "departments" in one.get("fields", ())]
        assert (moved["fields"]["departments"]["old"], moved["verdict"]) == (["d1"], "written-back")


async def test_a_reply_that_is_lost_creates_nobody_twice(oa):
    faults = oa.simulator.faults
    for api, kind in (("v2/department/create", "cut"), ("v2/user/create", "cut")):
        faults.add({"api": api, "kind": kind, "times": 1})
    faults.add({"api": "v2/user/create", "kind": "errcode", "errcode": 15, "times": 1, "after": 1})
    faults.add({"api": "v2/user/update", "kind": "http", "status": 504, "done": True, "times": 1})
    await oa.say(department("d1", 1), user("u1", 1, departments=["d1"]), user("u2", 1, departments=["d1"]))
    await oa.settle()
    await oa.say(user("u1", 2, departments=["d1"], title="经理"))
    await oa.settle()
    company = oa.simulator.platform.company
    assert len([d for d in company.departments.values() if d.source_identifier == "d1"]) == 1
    assert {"u1", "u2"} <= company.users.keys()
    assert oa.person("u1")["title"] == "经理"
    assert all(changed for _, changed in oa.writes())
    assert [(await oa.results(own_id))[-1] for own_id in ("d1", "u1", "u2")] == ["done"] * 3


async def test_one_field_is_synced_both_ways_and_moves_nobody(monkeypatch, database_url, tmp_path):
    """As docs/guide/one-field-both-ways.md says it, with its owners file and its message."""
    page = (Path(__file__).parents[2] / "docs/guide/one-field-both-ways.md").read_text(encoding="utf-8")
    [shown, _] = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    [owned] = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (owners := tmp_path / "owners.toml").write_text(owned, encoding="utf-8")
    assert json.loads(shown)["data"].keys() == {"corpId", "version", "userid", "title"}

    async with office(monkeypatch, database_url, OUTBOUND_OWNERS=str(owners)) as oa:
        person = oa.founder()

        def title(value, version):
            return message("user.desired", "u1", version=version, userid=person.userid, title=value)

        await oa.say(title("工程师", 1))
        await oa.settle()
        assert await oa.results("u1") == ["pending/adopted"]
        await oa.release("u1")
        await oa.settle()
        assert (await oa.results("u1"))[-1] == "done"
        as_it_was = oa.person(person.userid)
        assert (as_it_was["title"], oa.writes()) == ("工程师", [("user/update", True)])

        # people move and promote the person: the OA is told, nothing is written back, no echo is sent back
        elsewhere = next(d for d in oa.simulator.platform.company.departments if d != 1)
        oa.act("edit", userid=person.userid, title="高级工程师")
        oa.act("move", userid=person.userid, dept_ids=[elsewhere])
        await oa.settle()
        [told] = [one for one in await oa.sent("changes") if "title" in one["fields"]]
        assert (told["verdict"], told["fields"]["title"]["new"]) == ("reported", "高级工程师")
        await oa.say(title("高级工程师", 2))
        await oa.settle()
        assert (await oa.results("u1"))[-1] == "unchanged"
        await oa.say(title("架构师", 3))
        await oa.settle()
        now = oa.person(person.userid)
        assert (now["title"], now["dept_id_list"]) == ("架构师", [elsewhere])
        assert {name for name in now if now[name] != as_it_was[name]} <= {
            "title", "dept_id_list", "dept_order_list", "leader_in_dept",
        }  # fmt: skip
        assert len(oa.writes()) == 2

        # a message that says too little to create somebody creates nobody, whoever left or never came
        oa.act("leave", userid=person.userid)
        await oa.say(message("user.desired", "u2", version=1, title="工程师"))
        await oa.settle()
        assert (await oa.results("u1"))[-1] == "conflict/removed"
        assert (await oa.results("u2"))[-1] == "pending/user-missing"
        assert len(oa.writes()) == 2


async def test_one_field_of_a_department_moves_none_and_makes_none(oa):
    """As docs/guide/one-field-both-ways.md says it, with its message."""
    page = (Path(__file__).parents[2] / "docs/guide/one-field-both-ways.md").read_text(encoding="utf-8")
    [_, shown] = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert json.loads(shown)["data"].keys() == {"corpId", "version", "deptId", "name"}
    company = oa.simulator.platform.company
    there = next(d for d in company.departments.values() if d.parent == 1)
    oa.act("create_department", name="总部", parent_id=1)
    headquarters = max(company.departments)

    def named(version, **fields):
        return message("department.desired", "D7", version=version, deptId=str(there.dept_id), **fields)

    async def last(own_id):
        await oa.settle()
        return (await oa.results(own_id))[-1]

    await oa.say(named(1, name="研发一部"))
    assert (await last("D7"), oa.writes()) == ("pending/adopted", [])
    await oa.release("D7")
    assert (await last("D7"), there.name, there.parent) == ("done", "研发一部", 1)

    # people move it, and neither the next name nor another field moves it back
    oa.act("move_department", dept_id=there.dept_id, parent_id=headquarters)
    await oa.settle()
    [moved] = [one for one in await oa.sent("changes") if "parent" in one.get("fields", ())]
    assert (moved["id"], moved["verdict"]) == ("D7", "accepted")
    await oa.say(named(2, name="研发二部"))
    assert await last("D7") == "done"
    await oa.say(named(3, order=7))
    assert (await last("D7"), there.name, there.order) == ("done", "研发二部", 7)
    assert there.parent == headquarters
    assert oa.writes() == [("department/update", True)] * 3

    # what says too little to create one creates none, whether it never came or has gone
    oa.act("remove_department", dept_id=there.dept_id)
    await oa.say(message("department.desired", "D8", version=1, deptId="99", parent="root"))
    await oa.say(message("department.desired", "D9", version=1, name="新部门"))
    assert await last("D7") == "conflict/removed"
    assert await last("D8") == await last("D9") == "pending/department-missing"
    assert len(oa.writes()) == 3
    await oa.say(message("department.desired", "D9", version=2, name="新部门", parent="root"))
    assert await last("D9") == "done"
    assert oa.writes()[3:] == [("department/create", True)]


# -- outbound when something else is wrong: another company's app, a desired state that changes meanwhile, a


KEYS = {
    "app_key": SAMPLE_CREDENTIALS["DINGTALK_APP_KEY"],
    "app_secret": SAMPLE_CREDENTIALS["DINGTALK_APP_SECRET"],
}


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

"""What an author of a ``Mirror`` writes, and what the tables of it then are."""

import asyncio
import re
from collections import Counter
from datetime import date
from pathlib import Path
from types import ModuleType

import pytest
from sqlalchemy import BigInteger, Boolean, Column, Date, MetaData, Table, Text, func, select

from dingbridge import Mirror, Person, people_table
from dingbridge.dingtalk.errors import IpNotAllowed, TokenInvalid, Unavailable
from dingbridge.dingtalk.replies import read
from dingbridge.mirror import full_sync
from dingbridge.mirror.entities import LEASE_S, LISTING
from dingbridge.mirror.loop import FOR_SYNCS
from dingbridge.testing import MemoryRuntime
from dingbridge.throttle import Throttle
from dingbridge.work_queue import PEOPLE_WAIT
from tests.support.waiting import eventually
from tests.unit.address_sync.company import event, order
from tests.unit.address_sync.late import LateCompany


class Staff(Mirror):
    name = "staff"
    table = people_table("staff", MetaData(), Column("name", Text), Column("title", Text))


@pytest.fixture
def company():
    return LateCompany(0)


@pytest.fixture
async def staff(company):
    consumer = Staff()
    consumer.clock = company.clock
    async with MemoryRuntime(consumer, dingtalk=company) as runtime:
        consumer.engine.pace = Throttle(1e6)
        yield runtime


async def deliver(staff, *events):
    """Each event, and the read that it makes due."""
    for one in events:
        outcome = await staff.deliver(one)
        assert outcome.kind == "done", outcome
        await staff.consumer.look_due()


async def pass_by(staff, company, seconds):
    """Let so many pass, and whatever is due on the way be read."""
    end = company.clock.now + seconds
    first = select(func.min(staff.consumer.entities.c.due_ms))
    while company.clock.now <= end and (due := (await staff.rows(first))[0][0]) and due / 1000 <= end:
        company.clock.now = max(company.clock.now, due / 1000)
        if not await staff.consumer.look_due():
            company.clock.now += 15
    company.clock.now = end


async def people(staff):
    table = staff.consumer.table
    found = await staff.rows(select(table.c.userid, table.c.name, table.c.left_at).order_by(table.c.userid))
    return {row.userid: (row.name, row.left_at is None) for row in found}


async def test_hires_edits_leavers_and_who_comes_back(staff, company):
    await deliver(staff, company.hires("u1", name="甲"), company.hires("u2", name="乙"))
    await deliver(staff, company.edits("u1", name="丙"), company.leaves("u2"))
    assert await people(staff) == {"u1": ("丙", True), "u2": ("乙", False)}
    company.clock.now += 100
    await deliver(staff, company.hires("u2", name="又乙"))
    assert (await people(staff))["u2"] == ("又乙", True)


async def test_late_answers_are_its_business_not_the_authors(staff, company):
    await deliver(staff, company.hires("u1", name="甲"), company.hires("u2", name="乙"))
    company.clock.now += 100
    await staff.consumer.look_due()
    company.lag_s = 4
    await deliver(staff, company.edits("u1", name="丙"), company.leaves("u2"), company.hires("u3", name="丁"))
    assert await people(staff) == {"u1": ("甲", True), "u2": ("乙", True)}
    for _ in range(2):
        company.clock.now += 13
        await staff.consumer.look_due()
    assert await people(staff) == {"u1": ("丙", True), "u2": ("乙", False), "u3": ("丁", True)}


async def test_equal_state_moves_no_updated_at(staff, company):
    await deliver(staff, company.hires("u1"))
    [before] = await staff.rows(select(staff.consumer.table))
    company.clock.now += 100
    await deliver(staff, company.edits("u1"))
    assert await staff.rows(select(staff.consumer.table)) == [before]


async def test_the_columns_say_what_their_values_are(company):
    columns = (
        Column("name", Text),
        Column("active", Boolean),
        Column("hired_date", Date),
        Column("dept_id_list", Text),
        Column("telephone", BigInteger),
    )

    class Typed(Mirror):
        name = "typed"
        table = people_table("typed", MetaData(), *columns)

    consumer = Typed()
    consumer.clock = company.clock
    async with MemoryRuntime(consumer, dingtalk=company) as runtime:
        await deliver(runtime, company.hires("u1", name="甲", active="true"))
        [row] = await runtime.rows(select(consumer.table))
    assert (row.name, row.active, row.hired_date) == ("甲", True, date(2020, 8, 16))
    assert (row.dept_id_list, row.telephone) == ("[1]", None)


async def test_an_author_may_say_what_stands_in_a_row(company):
    class Phones(Mirror):
        name = "phones"
        table = people_table("phones", MetaData(), Column("last_digits", Text))

        def row(self, user):
            return {"last_digits": user["mobile"][-4:]}

    async with MemoryRuntime(Phones(), dingtalk=company) as runtime:
        await deliver(runtime, company.hires("u1", mobile="13000001234"))
        [row] = await runtime.rows(select(Phones.table))
    assert row.last_digits == "1234"


def test_a_table_of_another_kind_is_refused_in_words():
    with pytest.raises(ValueError, match="has no left_at and no updated_at; make it with people_table"):

        class Wrong(Mirror):
            name = "wrong"
            table = Table("wrong", MetaData(), Column("corp_id", Text), Column("userid", Text))


def test_a_column_that_is_no_field_is_refused_with_the_nearest_and_without_a_table_there_is_no_mirror():
    def made(**attributes):
        return type("Bad", (Mirror,), {"name": "bad", **attributes})

    table = people_table("bad", MetaData(), Column("nmae", Text))
    with pytest.raises(ValueError, match=r"a column nmae, .*\(name is near it\).*override `row`"):
        made(table=table)
    made(table=table, row=lambda self, user: {"nmae": user["name"]})
    with pytest.raises(ValueError, match="Bad has no table; make it with people_table"):
        made()


async def test_everybody_is_compared_at_the_first_event_of_a_company(staff, company):
    for userid in ("u1", "u2", "u3"):
        company.hires(userid, dept_id_list=[2])
    company.department_of(2, "研发部")
    await deliver(staff, event("user_modify_org", "u1"))
    await staff.consumer.look_due()
    assert set(await people(staff)) == {"u1", "u2", "u3"}


async def test_a_resync_finds_who_came_changed_and_left_untold(staff, company):
    await deliver(staff, company.hires("u1", name="甲"), company.hires("u2"), company.hires("u3", name="丙"))
    await pass_by(staff, company, 100)
    company.edits("u1", name="又甲")
    company.leaves("u2")
    company.hires("u4", name="丁")
    await deliver(staff, order("resync-1").value)
    await pass_by(staff, company, 4000)
    found = await people(staff)
    assert found == {"u1": ("又甲", True), "u2": ("张u2", False), "u3": ("丙", True), "u4": ("丁", True)}


async def test_a_comparison_comes_again_after_its_days(staff, company):
    await deliver(staff, company.hires("u1"))
    await pass_by(staff, company, 100)
    company.hires("u2")
    await pass_by(staff, company, 6 * 86_400)
    assert set(await people(staff)) == {"u1"}
    await pass_by(staff, company, 2 * 86_400)
    assert set(await people(staff)) == {"u1", "u2"}


async def test_a_listing_that_takes_longer_than_its_lease_is_one_processs(staff, company, monkeypatch):
    hired = [company.hires(f"u{number:02}") for number in range(40)]
    monkeypatch.setattr(full_sync, "AT_ONCE", 10)
    listing, taken, queue = company.department_users, [], staff.consumer.engine.entities.queue

    async def slow(dept_id):
        async for user in listing(dept_id):
            company.clock.now += LEASE_S / 15
            taken.extend(await queue.claim(staff.database, 1, queue.table.c.kind == LISTING))
            yield user

    monkeypatch.setattr(company, "department_users", slow)
    await deliver(staff, hired[0])
    await pass_by(staff, company, 100)
    assert taken == []
    assert len(await people(staff)) == 40


async def test_a_comparison_that_could_not_begin_is_tried_again(staff, company, monkeypatch):
    scope = company.visible_scope

    async def refused():
        raise Unavailable("busy", api="auth/scopes")

    monkeypatch.setattr(company, "visible_scope", refused)
    await deliver(staff, company.hires("u1"))
    company.hires("u2")
    await pass_by(staff, company, 7200)
    monkeypatch.setattr(company, "visible_scope", scope)
    await pass_by(staff, company, 7200)
    assert set(await people(staff)) == {"u1", "u2"}


async def test_an_event_that_comes_between_a_claim_and_its_read_begins_the_reads_again(staff, company):
    company.lag_s = 30
    await deliver(staff, company.hires("u1"))
    company.clock.now += 2
    await staff.consumer.look_due()
    company.clock.now += 10
    engine = staff.consumer.engine
    [row] = await engine.entities.queue.claim(staff.database, 8, engine.entities.table.c.kind == "user")
    assert (await staff.deliver(company.edits("u1", name="乙"))).kind == "done"
    await engine.read(row)
    [row] = await staff.rows(select(engine.entities.table).where(engine.entities.table.c.kind == "user"))
    assert (row.reads, row.reported) == (0, "present")
    await pass_by(staff, company, 200)
    assert (await people(staff))["u1"] == ("乙", True)


async def test_a_refused_department_marks_nobody(staff, company):
    company.department_of(2, "研发部")
    await deliver(staff, company.hires("u1", dept_id_list=[2]), company.hires("u2"))
    company.hidden |= {1, 2}
    await deliver(staff, order("resync-1").value)
    await pass_by(staff, company, 7200)
    assert {userid: here for userid, (_, here) in (await people(staff)).items()} == {"u1": True, "u2": True}


async def test_another_companys_credentials_mark_nobody(staff, company):
    """Nor do edits meanwhile; in the end a person says that they left."""
    await deliver(staff, *[company.hires(f"u{number:02}") for number in range(30)])
    await pass_by(staff, company, 100)
    names = [f"u{number:02}" for number in range(15)]
    edits = [company.edits(userid, title="经理") for userid in names[:8]]
    for userid in names:
        company.leaves(userid)
    for one in edits:
        await staff.deliver(one)
    await deliver(staff, order("resync-1").value)
    await pass_by(staff, company, 8000)
    assert sum(here for _, here in (await people(staff)).values()) == 30
    assert await staff.consumer.engine.leavers.confirm(staff.database, None, 14) == 15
    assert await staff.consumer.engine.leavers.confirm(staff.database, None, 15) == 15
    await pass_by(staff, company, 100)
    assert sum(here for _, here in (await people(staff)).values()) == 15


@pytest.mark.parametrize("error", [Unavailable, IpNotAllowed])
async def test_while_dingtalk_is_down_few_are_asked_for_and_nobody_is_given_up(
    staff, company, monkeypatch, error
):
    hired = [company.hires(f"u{number:02}") for number in range(16)]
    answers, asked = company.user, []
    asked_at = []

    async def down(userid):
        asked.append(userid)
        asked_at.append(company.clock.now)
        raise error("no answer", api="v2/user/get")

    await staff.deliver(hired[0])
    monkeypatch.setattr(company, "user", down)
    await pass_by(staff, company, 7200)
    assert len(asked) < 150
    assert len(set(asked)) == 16
    monkeypatch.setattr(company, "user", answers)
    await pass_by(staff, company, 1200)
    assert len(await people(staff)) == 16


async def test_a_page_in_place_of_one_persons_answer_holds_up_nobody_else(staff, company, monkeypatch):
    """As the page of a proxy that blocks what this one answer has in it."""
    answers, asked = company.user, Counter()

    async def user(userid):
        asked[userid] += 1
        if userid == "u1":
            read("v2/user/get", 200, b"<html></html>")
        return await answers(userid)

    monkeypatch.setattr(company, "user", user)
    await deliver(staff, company.hires("u1"))
    waited = []
    for number in range(50):
        await staff.deliver(company.hires(f"h{number}"))
        await pass_by(staff, company, 20)
        waited += [] if f"h{number}" in await people(staff) else [number]
        await pass_by(staff, company, 80)
    assert waited == []
    assert asked["u1"] < 80
    refused = select(staff.consumer.entities.c.entity_id).where(staff.consumer.entities.c.state == "refused")
    assert [row.entity_id for row in await staff.rows(refused)] == ["u1"]


async def test_a_pause_for_one_apps_api_does_not_hold_up_anothers(staff, company, monkeypatch):
    """As with a wrong secret of the first app."""
    other = LateCompany(0)
    other.clock = company.clock
    other.hires("b1")
    monkeypatch.setattr(staff.consumer, "clients", lambda app, _: {"default": company, "hr": other}[app])

    async def user(userid):
        raise TokenInvalid("the secret is refused", api="v2/user/get")

    monkeypatch.setattr(company, "user", user)
    for number in range(5):
        await staff.deliver(company.hires(f"a{number}"))
    await pass_by(staff, company, 600)
    entities = staff.consumer.engine.entities
    async with staff.database.transaction() as tx:
        await entities.ask(tx, "hr", "dingother", "user", ["b1"], priority=PEOPLE_WAIT)
    await pass_by(staff, company, 20)
    assert "b1" in await people(staff)


async def test_one_who_is_always_refused_holds_up_nobody(staff, company, monkeypatch):
    hired = [company.hires(f"u{number:02}") for number in range(40)]
    answers = company.user

    async def user(userid):
        if userid == "u07":
            raise Unavailable("busy", api="v2/user/get")
        return await answers(userid)

    monkeypatch.setattr(company, "user", user)
    await deliver(staff, hired[0])
    await pass_by(staff, company, 10)
    table = staff.consumer.table
    read = await staff.rows(select(table.c.userid).where(table.c.title == "工程师"))
    assert len(read) == 40  # the one by the listing alone
    pending = select(staff.consumer.entities.c.entity_id).where(staff.consumer.entities.c.read_ms.is_(None))
    assert "u07" in {row.entity_id for row in await staff.rows(pending)}


async def test_a_hire_is_read_beside_a_full_sync_of_any_size(staff, company):
    """Reads for full syncs leave places free, and wait for their own pace."""
    hired = [company.hires(f"u{number:03}") for number in range(200)]
    await staff.deliver(hired[0])
    loop, waits = staff.consumer.engine.loop, asyncio.Event()
    real, under_way = company.user, []

    async def user(userid):
        if userid not in ("new", hired[0].subject):
            under_way.append(userid)
            await waits.wait()
        return await real(userid)

    async def is_there():
        table = staff.consumer.table
        found = await staff.rows(select(table.c.title).where(table.c.userid == "new"))
        return found != []

    company.user = user
    task = asyncio.create_task(loop.run())
    try:
        await eventually(lambda: len(under_way) == FOR_SYNCS, 60, "as many as full syncs may have")
        await staff.deliver(company.hires("new"))
        await eventually(is_there, 60, "the hire is read")
    finally:
        waits.set()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert len(under_way) >= FOR_SYNCS


async def test_the_mirror_in_the_guide_does_what_its_test_says():
    guide = Path(__file__).parents[3] / "docs" / "guide" / "mirror.md"
    mirror, _, its_test = re.findall(r"^```python\n(.*?)^```", guide.read_text(encoding="utf-8"), re.M | re.S)
    module = ModuleType("my_staff")
    exec(compile(mirror + its_test, str(guide), "exec"), module.__dict__)
    await module.test_a_hire_whom_dingtalk_shows_a_moment_later()


async def test_a_person_is_forgotten_by_every_mirror_and_stays_away(staff, company):
    await deliver(staff, company.hires("u1", name="甲"), company.hires("u2", name="乙"))
    left = company.leaves("u1")
    async with staff.database.transaction() as tx:
        found = await staff.consumer.forget(Person(left.corp_id, "u1"), tx)
    assert (found.deleted, found.texts) == ({"staff": 1}, {"甲"})
    company.clock.now += 100
    await deliver(staff, left)
    assert await people(staff) == {"u2": ("乙", True)}

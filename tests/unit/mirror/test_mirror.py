"""What an author of a ``Mirror`` writes, and what the tables of it then are."""

import re
from datetime import date
from pathlib import Path
from types import ModuleType

import pytest
from sqlalchemy import BigInteger, Boolean, Column, Date, MetaData, Table, Text, func, select

from dingbridge import Mirror, Person, people_table
from dingbridge.dingtalk.errors import Unavailable
from dingbridge.mirror.entities import LEASE_S
from dingbridge.testing import MemoryRuntime
from dingbridge.throttle import Throttle
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
    due_ms = select(func.min(staff.consumer.entities.c.due_ms))
    while (due := (await staff.rows(due_ms))[0][0]) is not None and due / 1000 <= end:
        company.clock.now = max(company.clock.now, due / 1000)
        if not await staff.consumer.look_due():
            company.clock.now += 1
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
    await staff.consumer.look_due()
    company.edits("u1", name="又甲")
    company.leaves("u2")
    company.hires("u4", name="丁")
    await deliver(staff, order("resync-1").value)
    await staff.consumer.look_due()
    found = await people(staff)
    assert found == {"u1": ("又甲", True), "u2": ("张u2", False), "u3": ("丙", True), "u4": ("丁", True)}


async def test_a_comparison_comes_again_after_its_days(staff, company):
    await deliver(staff, company.hires("u1"))
    await staff.consumer.look_due()
    company.hires("u2")
    company.clock.now += 6 * 86_400
    assert await staff.consumer.look_due() == 0
    company.clock.now += 2 * 86_400
    await staff.consumer.look_due()
    assert set(await people(staff)) == {"u1", "u2"}


async def test_a_listing_that_takes_longer_than_its_lease_is_one_processs(staff, company, monkeypatch):
    hired = [company.hires(f"u{number:02}") for number in range(40)]
    monkeypatch.setattr(comparison, "_AT_ONCE", 10)
    listed, taken, queue = company.department_users, [], staff.consumer.looks.queue

    async def slow(dept_id):
        async for user in listed(dept_id):
            company.clock.now += LEASE_S / 15
            taken.extend(await queue.claim(staff.database, 1, queue.table.c.kind == comparison.LISTING))
            yield user

    monkeypatch.setattr(company, "department_users", slow)
    await deliver(staff, hired[0])
    await staff.consumer.look_due()
    assert taken == []
    assert len(await people(staff)) == 40


async def test_a_comparison_that_was_given_up_is_asked_for_again(staff, company, monkeypatch):
    count = company.user_count

    async def refused(only_active):
        raise Unavailable("busy", api="user/count")

    monkeypatch.setattr(company, "user_count", refused)
    await deliver(staff, company.hires("u1"))
    company.hires("u2")
    for _ in range(20):
        company.clock.now += 300
        await deliver(staff, company.edits("u1"))
        await staff.consumer.look_due()
    monkeypatch.setattr(company, "user_count", count)
    for _ in range(13):
        company.clock.now += 300
        await deliver(staff, company.edits("u1"))
        await staff.consumer.look_due()
    assert set(await people(staff)) == {"u1", "u2"}


async def test_an_event_that_comes_between_a_claim_and_its_look_begins_the_looks_again(staff, company):
    company.lag_s = 30
    await deliver(staff, company.hires("u1"))
    company.clock.now += 2
    await staff.consumer.look_due()
    company.clock.now += 10
    queue = staff.consumer.looks.queue
    [row] = await queue.claim(staff.database, 8, queue.table.c.kind == "user")
    await deliver(staff, company.edits("u1", name="乙"))
    await staff.consumer._look(row)
    [row] = await staff.rows(select(queue.table).where(queue.table.c.kind == "user"))
    assert row.looks == 1


async def test_a_refused_department_marks_nobody(staff, company):
    company.department_of(2, "研发部")
    await deliver(staff, company.hires("u1", dept_id_list=[2]), company.hires("u2"))
    company.hidden |= {1, 2}
    await deliver(staff, order("resync-1").value)
    await staff.consumer.look_due()
    assert {userid: here for userid, (_, here) in (await people(staff)).items()} == {"u1": True, "u2": True}


async def test_another_companys_credentials_mark_nobody(staff, company):
    hired = [company.hires(f"u{number:02}") for number in range(40)]
    await deliver(staff, hired[0])
    await staff.consumer.look_due()
    for number in range(30):
        company.leaves(f"u{number:02}")
    await deliver(staff, order("resync-1").value)
    await staff.consumer.look_due()
    assert all(here for _, here in (await people(staff)).values())


async def test_edits_and_a_comparison_mark_no_more_than_the_limit_until_a_person_confirms(staff, company):
    names = [f"u{number:02}" for number in range(30)]
    for userid in names:
        await deliver(staff, company.hires(userid))
    company.clock.now += 100
    await staff.consumer.look_due()
    edits = [company.edits(userid, title="经理") for userid in names[:15]]
    for userid in names[:15]:
        company.leaves(userid)
    await deliver(staff, *edits[:8])
    for _ in range(4):
        company.clock.now += 61
        await staff.consumer.look_due()
    assert sum(here for _, here in (await people(staff)).values()) == 22
    await deliver(staff, order("resync-1").value)
    await staff.consumer.look_due()
    assert sum(here for _, here in (await people(staff)).values()) == 20
    assert await staff.consumer.leavers.confirm(staff.database, None, 5) == 5
    await staff.consumer.look_due()
    assert sum(here for _, here in (await people(staff)).values()) == 15


async def test_while_dingtalk_is_down_few_are_asked_for_and_nobody_is_given_up(staff, company, monkeypatch):
    hired = [company.hires(f"u{number:02}") for number in range(16)]
    answers, asked = company.user, []

    async def down(userid):
        asked.append(userid)
        raise Unavailable("no answer", api="v2/user/get")

    await deliver(staff, hired[0])
    monkeypatch.setattr(company, "user", down)
    for _ in range(120):
        company.clock.now += 60
        await staff.consumer.look_due()
    assert len(asked) < 150
    assert len(set(asked)) == 16
    monkeypatch.setattr(company, "user", answers)
    for _ in range(20):
        company.clock.now += 60
        await staff.consumer.look_due()
    assert len(await people(staff)) == 16


async def test_one_who_is_always_refused_holds_up_nobody(staff, company, monkeypatch):
    hired = [company.hires(f"u{number:02}") for number in range(40)]
    answers = company.user

    async def user(userid):
        if userid == "u07":
            raise Unavailable("busy", api="v2/user/get")
        return await answers(userid)

    monkeypatch.setattr(company, "user", user)
    await deliver(staff, hired[0])
    await staff.consumer.look_due()
    assert len(await people(staff)) == 39


async def test_people_of_an_event_are_not_behind_a_comparison(staff, company):
    """At most some looks of the comparison come before a hire who is looked at again."""
    hired = [company.hires(f"u{number:02}") for number in range(40)]
    await deliver(staff, hired[0])
    await staff.consumer.look_due()
    await deliver(staff, order("resync-1").value)
    queue, database = staff.consumer.looks.queue, staff.database
    [comparison] = await queue.claim(database, 1)
    await staff.consumer.comparison.step(comparison, company)
    company.lag_s = 1
    await deliver(staff, company.hires("new"))
    company.clock.now += 2
    claimed = await queue.claim(database, 8)
    assert "new" in [row.entity_id for row in claimed]
    assert len(claimed) == 8


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

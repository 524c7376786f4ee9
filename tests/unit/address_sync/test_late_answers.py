"""Events whose fetch shows what was before: the tables are right in the end, by looks of which no event
tells."""

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import select

from dingbridge.consumers.address_sync import AddressSync
from dingbridge.consumers.address_sync.tables import entities, users
from dingbridge.dingtalk.errors import Unavailable
from dingbridge.testing.memory import MemoryRuntime
from dingbridge.work_queue import RECONCILE
from tests.unit.address_sync.company import CORP
from tests.unit.address_sync.late import LateCompany, Life
from tests.unit.address_sync.syncing import UNPACED, begun


@pytest.fixture
async def make():
    opened = []

    async def made(lag_s):
        company = LateCompany(lag_s)
        consumer = AddressSync()
        consumer.clock = company.clock
        runtime = MemoryRuntime(consumer, dingtalk=company)
        opened.append(runtime)
        await runtime.__aenter__()
        consumer.engine.pace = UNPACED
        return Life(runtime, company)

    yield made
    for runtime in opened:
        await runtime.__aexit__(None, None, None)


@pytest.fixture
async def known(make):
    """4 s of lag, and one who has been there for long."""
    life = await make(4)
    await life.deliver(life.company.hires("u1", name="甲"))
    await life.until(200)
    assert (await life.person("u1")).name == "甲"
    life.company.calls.clear()
    return life


async def test_answers_that_show_what_their_events_said_are_followed_by_one_read_after_an_hour(make):
    life = await make(0)
    await life.deliver(life.company.hires("u1"))
    await life.until(100)
    await life.deliver(life.company.edits("u1", name="乙"))
    await life.until(100)
    await life.deliver(life.company.leaves("u1"))
    await life.until(100)
    assert (await life.person("u1")).left_at is not None
    assert life.calls == 3
    [row] = await life.runtime.rows(select(entities.c.priority).where(entities.c.entity_id == "u1"))
    assert row.priority == RECONCILE  # a hire does not wait for it
    await life.until(3600)
    assert (life.calls, await life.waiting()) == (4, 0)


async def test_of_two_edits_that_wait_together_the_answer_may_show_the_first(known):
    first = known.company.edits("u1", name="乙")
    known.clock.now += 3
    second = known.company.edits("u1", name="丙")
    known.clock.now += 2
    await known.deliver_together(first, second)
    assert ((await known.person("u1")).name, known.calls) == ("乙", 1)
    await known.until(80)
    assert (await known.person("u1")).name == "丙"


async def test_a_leaving_that_waits_beside_another_event_keeps_its_time(known):
    left = known.company.leaves("u1")
    known.company.hire("u1")
    known.clock.now += 1
    edited = known.company.edits("u1", name="乙")
    known.company.leaves("u1")
    await known.deliver_together(left, edited)
    await known.until(80)
    row = await known.person("u1")
    assert (row.left_at, row.left_reported) == (left.time, True)


async def test_nobody_is_marked_as_left_by_an_edit_before_it_is_believed(known):
    edited = known.company.edits("u1", name="乙")
    known.company.leaves("u1")
    await known.until(5)
    await known.deliver(edited)
    assert (await known.person("u1")).left_at is None
    await known.until(3600)
    assert (await known.person("u1")).left_at is None
    await known.until(100)
    row = await known.person("u1")
    assert row.left_at is not None
    assert row.left_reported is False


async def test_an_edit_seen_beside_a_leaving_does_not_forget_what_that_said(known):
    left = known.company.leaves("u1")
    await known.deliver(left)
    known.clock.now += 1
    known.company.hire("u1")
    edited = known.company.edits("u1", name="乙")  # as DingTalk sends for people who do not exist, too
    known.company.leaves("u1")
    await known.deliver(edited)
    await known.until(80)
    row = await known.person("u1")
    assert (row.left_at, row.left_reported) == (left.time, True)


async def test_a_hire_who_is_absent_after_a_minute_and_there_after_an_hour(make):
    life = await make(3000)
    await life.deliver(life.company.hires("u1"))
    await life.until(100)
    assert (await life.person("u1"), life.calls) == (None, 4)
    life.clock.now += 3600
    await life.until(0)
    assert (await life.person("u1")).left_at is None
    assert (life.calls, await life.waiting()) == (5, 0)


@pytest.mark.parametrize("lag_s", [2 * 3600, 30 * 3600])
async def test_a_hire_whom_dingtalk_does_not_show_is_asked_for_again_after_1_6_and_24_hours(make, lag_s):
    life = await make(lag_s)
    await life.deliver(life.company.hires("u1"))
    await life.until(32 * 3600)
    assert (await life.person("u1") is not None, await life.waiting()) == (True, 0)


async def test_a_hire_who_is_absent_for_longer_is_believed_to_be(make):
    life = await make(1_000_000)
    await life.deliver(life.company.hires("u1"))
    await life.until(32 * 3600)
    assert (await life.person("u1"), life.calls, await life.waiting()) == (None, 7, 0)


@pytest.mark.parametrize("lag_s", [480, 5 * 3600, 30 * 3600])
async def test_a_leaver_whom_dingtalk_still_shows_is_asked_for_again_after_1_6_and_24_hours(make, lag_s):
    life = await make(0)
    await life.deliver(life.company.hires("u1"))
    await life.until(200_000)
    life.company.lag_s = lag_s
    left = life.company.leaves("u1")
    await life.deliver(left)
    await life.until(100)
    assert (await life.person("u1")).left_at is None
    await life.until(32 * 3600)
    row = await life.person("u1")
    assert (row.left_at, row.left_reported, await life.waiting()) == (left.time, True, 0)


async def test_who_left_by_an_event_and_is_shown_for_longer_than_a_day_is_believed_to_be_here(make):
    life = await make(0)
    await life.deliver(life.company.hires("u1"))
    await life.until(200_000)
    calls, life.company.lag_s = life.calls, 150_000
    await life.deliver(life.company.leaves("u1"))
    await life.until(100_000)
    assert await life.waiting() == 1
    await life.until(20_000)
    assert ((await life.person("u1")).left_at, life.calls - calls, await life.waiting()) == (None, 7, 0)


@pytest.mark.parametrize("ahead_s", [-600, 7200])
async def test_clocks_that_differ_by_minutes_hide_neither_a_hire_nor_a_leaver(make, ahead_s):
    """``ahead_s``: this host's clock beside that of the ingress, which wrote the time into the event."""
    life = await make(0)
    await life.deliver(life.company.hires("u1"))
    await life.until(20_000)
    hired, left = life.company.hires("u2"), life.company.leaves("u1")
    life.clock.now += ahead_s
    life.company.lag_s = ahead_s + 4
    await life.deliver(hired, left)
    assert (await life.person("u2"), (await life.person("u1")).left_at) == (None, None)
    await life.until(100)
    assert (await life.person("u2")).left_at is None
    assert (await life.person("u1")).left_at == left.time


async def edited_an_hour_after_the_hire(make, lag_s):
    life = await make(lag_s)
    await life.deliver(life.company.hires("u1", name="甲"))
    await life.until(7200)
    await life.deliver(life.company.edits("u1", name="乙"))
    await life.until(400)
    return life


async def synced(life):
    await begun(life.runtime)
    await life.runtime.consumer.look_due()


@pytest.mark.parametrize("read_by", ["an edit", "a full sync"])
async def test_reads_that_go_back_by_minutes_are_repaired_within_an_hour(make, read_by):
    life = await edited_an_hour_after_the_hire(make, 0)
    assert (await life.person("u1")).name == "乙"
    life.company.lag_s = 480
    if read_by == "an edit":
        await life.deliver(life.company.edits("u1", title="经理"))
    else:
        await synced(life)
    assert (await life.person("u1")).name == "甲"
    await life.until(3700)
    assert (await life.person("u1")).name == "乙"
    assert (await life.person("u1")).title == life.company.users["u1"]["title"]
    assert await life.waiting() == 0


async def test_a_sync_that_shows_the_first_of_two_late_edits_does_not_end_the_second(make):
    life = await edited_an_hour_after_the_hire(make, 480)
    await life.deliver(life.company.edits("u1", name="丙"))
    await life.until(200)
    await synced(life)
    assert (await life.person("u1")).name == "乙"
    await life.until(3700)
    assert ((await life.person("u1")).name, await life.waiting()) == ("丙", 0)


async def test_a_look_that_fails_is_tried_again_and_its_process_may_die(known, monkeypatch):
    await known.deliver(known.company.edits("u1", name="乙"))
    answers = known.company.user

    async def down(userid):
        raise Unavailable("no answer", api="v2/user/get")

    monkeypatch.setattr(known.company, "user", down)
    await known.until(20)
    assert await known.waiting() == 1
    monkeypatch.setattr(known.company, "user", answers)
    other = AddressSync()  # what a process knows goes with it; the rows stay
    other.clock, other.dingtalk, other.database = known.clock, known.company, known.runtime.database
    other.registry = CollectorRegistry()
    known.runtime.consumer = other
    await known.until(200)
    assert (await known.person("u1")).name == "乙"
    await known.until(3600)
    assert await known.waiting() == 0


async def test_an_event_during_a_look_is_not_lost(known):
    """The look fetched before the event was handled: it is done again, and the event's looks go on."""
    await known.deliver(known.company.edits("u1", name="乙"))
    later = []

    def happens():
        if not later:
            later.append(known.company.edits("u1", name="丙"))

    known.clock.now += 2
    known.company.before["v2/user/get"] = happens
    await known.until(0)
    await known.deliver(*later)
    await known.until(80)
    assert (await known.person("u1")).name == "丙"


async def test_an_answer_that_shows_an_edit_whose_looks_are_overdue_may_not_show_the_next_one(known):
    await known.deliver(known.company.edits("u1", name="乙"))
    known.clock.now += 300  # no process runs
    await known.deliver(known.company.edits("u1", name="丙"))
    assert (await known.person("u1")).name == "乙"
    await known.until(80)
    assert (await known.person("u1")).name == "丙"
    await known.until(3600)
    assert await known.waiting() == 0


async def test_an_edit_that_reads_show_only_minutes_later_is_written_within_an_hour(make):
    life = await make(480)
    await life.deliver(life.company.hires("u1", name="甲"))
    await life.until(7200)
    await life.deliver(life.company.edits("u1", name="乙"))
    calls = life.calls
    await life.until(3700)
    assert ((await life.person("u1")).name, await life.waiting()) == ("乙", 0)
    assert life.calls == calls + 4


@pytest.mark.parametrize("lag_s", [0, 4])  # 4: a look after the deletion is the first that shows the role
async def test_a_role_that_is_deleted_a_moment_after_it_was_made_needs_no_other_event(make, lag_s):
    life = await make(lag_s)
    await life.deliver(life.company.labels(7, "财务"))
    await life.until(3)
    await life.deliver(life.company.labels(7, None))
    await life.until(2)
    assert await life.roles() == {7: "财务"}
    await life.until(300)
    assert await life.roles() == {}
    await life.until(3600)
    assert await life.waiting() == 0


async def test_who_goes_out_of_sight_meanwhile_stays_as_known(known):
    await known.deliver(known.company.edits("u1", name="乙"))
    known.company.hidden.add("u1")
    await known.until(80)
    assert (await known.person("u1")).name == "甲"
    assert await known.waiting() == 0


@pytest.fixture
def three_leavers(monkeypatch):
    monkeypatch.setenv("MAX_LEAVERS", "3")


async def edits_of_whom_dingtalk_does_not_know(make, count):
    """An edit of each of ``count`` people; meanwhile DingTalk knows nobody, as with another app's key."""
    life = await make(0)
    hired = [life.company.hires(f"u{number:02}") for number in range(count)]
    await life.deliver_together(*hired)
    await life.until(100)
    await edits_and_leaves(life, [one.subject for one in hired])
    return life


async def edits_and_leaves(life, userids):
    """Somebody edits each of them, and DingTalk does not know them any more."""
    edits = [life.company.edits(userid, title="经理") for userid in userids]
    for userid in userids:
        life.company.leaves(userid)
    await life.deliver_together(*edits)
    await life.until(3700)


async def employed(life):
    rows = await life.runtime.rows(select(users.c.userid).where(users.c.left_at.is_(None)))
    return {row.userid for row in rows}


async def test_edits_while_dingtalk_knows_nobody_mark_no_more_than_the_limit_and_the_rest_waits(
    make, three_leavers
):
    life = await edits_of_whom_dingtalk_does_not_know(make, 6)
    assert len(await employed(life)) == 6
    leavers, database = life.runtime.consumer.engine.leavers, life.runtime.database
    assert await leavers.waiting(database.reader()) == 6
    back = sorted(await employed(life))[0]
    life.company.hires(back)
    await life.until(3 * 86_400)  # not even after days, and one was only hidden
    assert (len(await employed(life)), await leavers.waiting(database.reader())) == (6, 5)
    assert await leavers.confirm(database, None, 4) == 5
    await life.until(100)
    assert len(await employed(life)) == 6
    assert await leavers.confirm(database, None, 5) == 5
    await life.until(100)
    assert await employed(life) == {back}
    assert (await leavers.waiting(database.reader()), await life.waiting()) == (0, 0)


async def test_the_limit_counts_the_leavers_of_every_way_and_not_those_of_a_leave_event(make, three_leavers):
    life = await edits_of_whom_dingtalk_does_not_know(make, 2)
    assert await employed(life) == set()
    await life.deliver_together(*[life.company.hires(f"v{number}") for number in range(9)])
    await life.until(100)
    for number in range(4):
        await life.deliver(life.company.leaves(f"v{number}"))
    assert len(await employed(life)) == 5
    for number in (4, 5):
        life.company.leaves(f"v{number}")
    await begun(life.runtime)  # a full sync finds two more
    await life.runtime.consumer.look_due()
    await life.until(4000)
    assert len(await employed(life)) == 5
    leavers = life.runtime.consumer.engine.leavers
    assert await leavers.waiting(life.runtime.database.reader()) == 2
    assert await leavers.confirm(life.runtime.database, CORP, 2) == 2
    await life.until(100)
    assert await employed(life) == {"v6", "v7", "v8"}


async def test_a_second_confirmation_within_a_day_lets_as_many_more_be_marked(make, three_leavers):
    life = await edits_of_whom_dingtalk_does_not_know(make, 5)
    leavers, database = life.runtime.consumer.engine.leavers, life.runtime.database
    assert await leavers.confirm(database, None, 5) == 5
    await life.until(100)
    assert await employed(life) == set()
    await life.deliver_together(*[life.company.hires(f"v{number:02}") for number in range(4)])
    await life.until(100)
    await edits_and_leaves(life, [f"v{number:02}" for number in range(4)])
    assert await leavers.waiting(database.reader()) == 4
    assert await leavers.confirm(database, None, 4) == 4
    await life.until(100)
    assert await employed(life) == set()

"""A full sync of two stages: the rows stand after the listings; what only ``user/get`` tells follows, and
until then they say that it is not known."""

import asyncio
from collections import Counter
from functools import partial

import pytest
from sqlalchemy import select

from dingbridge.availability import GIVE_UP_AFTER_S
from dingbridge.consumers.address_sync import cli
from dingbridge.consumers.address_sync.sync import details as details_module
from dingbridge.consumers.address_sync.sync.details import AT_ONCE, Details
from dingbridge.consumers.address_sync.sync.runs import Runs
from dingbridge.consumers.address_sync.tables import details, users
from dingbridge.dingtalk.errors import ApiError, BadRequest, NotFound, PermissionDenied, Unavailable
from dingbridge.throttle import Throttle
from tests.support.sizes import sized
from tests.support.waiting import eventually
from tests.unit.address_sync.company import CORP, event, order
from tests.unit.address_sync.syncing import (
    UNPACED,
    Clock,
    current,
    differences,
    every_detail,
    first_full,
    full,
    rows_only,
)

CROWD = sized(100, 300, quick=45)
"""With the company's twelve: more than are asked for together, and than one claim takes."""


async def row(sync, userid):
    [found] = await sync.rows(select(users).where(users.c.userid == userid))
    return found


async def asked_for(sync):
    return {found.userid for found in await sync.rows(select(details.c.userid))}


def worker(sync, company, clock=None):
    return Details(sync.database, CORP, company, UNPACED, clock or Clock())


async def test_rows_stand_before_anybody_is_asked_for_and_say_what_is_not_known(sync, company):
    run = await rows_only(sync, company)
    assert run.state == "done"
    assert company.calls["v2/user/get"] == 0
    wrong = {found.rsplit(": ", 1)[1] for found in await differences(sync, company)}
    assert wrong == {"manager_userid", "senior", "details_pending"}
    first = await row(sync, "u001")
    assert (first.details_pending, first.manager_userid, first.senior) == (True, None, None)
    assert await asked_for(sync) == set(company.users)
    await every_detail(sync, company)
    assert await differences(sync, company) == []
    assert company.calls["v2/user/get"] == 12
    now = await row(sync, "u001")
    assert (now.details_pending, now.manager_userid) == (False, "u-boss")
    assert now.updated_at > first.updated_at  # so that a job which polls it hears of the manager


async def test_of_who_was_known_the_manager_stays_and_he_is_asked_for_first(sync, company):
    await first_full(sync, company)
    company.users["u009"] |= {"title": "经理", "manager_userid": "u001"}
    company.hire("u-new")
    await rows_only(sync, company)
    changed = await row(sync, "u009")
    assert (changed.title, changed.manager_userid, changed.details_pending) == ("经理", "u-boss", True)
    order = await sync.rows(select(details.c.userid).order_by(details.c.priority))
    assert [found.userid for found in order] == ["u009", "u-new"]


async def test_an_event_is_fetched_at_once_and_leaves_nothing_to_ask(sync, company):
    await first_full(sync, company, details=False)
    assert (await sync.deliver(event("user_modify_org", "u011"))).kind == "done"
    assert not (await row(sync, "u011")).details_pending
    assert "u011" not in await asked_for(sync)
    await every_detail(sync, company)
    assert company.calls["v2/user/get"] == 12


async def test_details_that_were_fetched_before_an_event_do_not_undo_it(sync, company):
    """The event comes, and is handled, between the answer about a person and its write."""
    await first_full(sync, company, details=False)
    real = company.user

    async def overtaken(userid):
        answer = await real(userid)
        if userid == "u003" and company.users["u003"]["name"] != "新名":
            company.users["u003"] |= {"name": "新名", "manager_userid": "u001"}
            assert (await sync.deliver(event("user_modify_org", "u003"))).kind == "done"
        return answer

    company.user = overtaken
    await every_detail(sync, company)
    assert (await row(sync, "u003")).name == "新名"
    assert await differences(sync, company) == []


async def test_several_processes_share_them_and_ask_for_nobody_twice(sync, company):
    for number in range(CROWD):
        company.hire(f"u1{number:03}")
    await first_full(sync, company, details=False)
    workers = [worker(sync, company) for _ in range(2)]
    await asyncio.gather(*(one.work(lambda: True) for one in workers))
    assert await differences(sync, company) == []
    assert company.calls["v2/user/get"] == CROWD + 12
    assert all(one.fetched for one in workers)


async def test_another_process_takes_over_what_a_dead_one_had(sync, company):
    await first_full(sync, company, details=False)
    dead = worker(sync, company)
    assert len(await dead._queue.claim(sync.database, 50)) == 12
    clock = Clock()
    other = worker(sync, company, clock)
    await other.work(lambda: True)
    assert company.calls["v2/user/get"] == 0
    await clock.sleep(dead.lease_s + 1)
    await other.work(lambda: True)
    assert await differences(sync, company) == []
    assert company.calls["v2/user/get"] == 12


async def test_one_who_is_never_answered_costs_the_others_nothing_and_is_given_up(sync, company):
    for number in range(AT_ONCE):
        company.hire(f"u1{number:03}")
    real, asked = company.user, Counter()

    async def user(userid):
        asked[userid] += 1
        if userid == "u005":
            raise Unavailable("DingTalk answers 502", api="v2/user/get")
        return await real(userid)

    company.user = user
    await first_full(sync, company, details=False)
    clock = Clock()
    one = worker(sync, company, clock)
    assert await one.work(lambda: True)
    assert await asked_for(sync) == {"u005"}
    assert await one.pending() == 1
    began = clock()
    while await one.pending():  # as long as others work meanwhile
        one._availability.worked(clock())
        await clock.sleep(max(60.0, await one.work(lambda: True)))
    assert GIVE_UP_AFTER_S <= clock() - began < 2 * GIVE_UP_AFTER_S
    assert max(asked[userid] for userid in asked if userid != "u005") == 1
    assert asked["u005"] < 20
    assert (await row(sync, "u005")).details_pending
    company.user = real
    await full(sync, company)
    assert await differences(sync, company) == []


async def test_when_dingtalk_is_away_few_calls_are_made_and_all_is_kept(sync, company):
    for number in range(AT_ONCE):
        company.hire(f"u1{number:03}")
    await first_full(sync, company, details=False)

    def away():
        raise Unavailable("no answer", api="v2/user/get")

    company.before["v2/user/get"] = away
    clock = Clock()
    one, began = worker(sync, company, clock), clock()
    while clock() - began < 1800:
        with pytest.raises(Unavailable) as error:
            await one.work(lambda: True)
        await clock.sleep(one.pause_s(error.value))
    assert company.calls["v2/user/get"] < 100
    assert await one.pending() == AT_ONCE + 12
    company.before.clear()
    await every_detail(sync, company, clock=clock)
    assert await differences(sync, company) == []


async def test_who_is_listed_and_not_there_is_looked_at_again_before_he_is_believed_to_be_gone(sync, company):
    real, looks = company.user, []
    clock = Clock()

    async def user(userid):
        if userid == "u004":
            looks.append(round(clock() - began))
            raise NotFound("no such user", api="v2/user/get", errcode=60121)
        return await real(userid)

    company.user = user
    await first_full(sync, company, details=False)
    one, began = worker(sync, company, clock), clock()
    while await one.pending():
        assert "u004" in await current(sync)
        await clock.sleep(min(1.0, await one.work(lambda: True)))
    assert looks == pytest.approx([0, 2, 12, 72], abs=4)
    assert "u004" not in await current(sync)


async def test_who_reports_to_a_leaver_is_asked_for_though_his_own_row_did_not_change(sync, company):
    company.users["u003"]["manager_userid"] = "u001"
    await first_full(sync, company)
    del company.users["u001"]
    company.users["u003"]["manager_userid"] = "u002"
    await rows_only(sync, company)
    assert await asked_for(sync) == {"u003"}
    assert (await row(sync, "u003")).details_pending  # else the leaver would stand there as a fact
    await every_detail(sync, company)
    assert await differences(sync, company) == []
    assert not (await row(sync, "u003")).details_pending


async def test_of_whom_dingtalk_refuses_to_tell_holds_up_nobody_and_is_asked_for_by_the_next_sync(
    sync, company
):
    refused = {
        "u004": PermissionDenied("out of scope", api="v2/user/get", errcode=50002, about="entity"),
        "u007": BadRequest("the platform refuses the call", api="v2/user/get", errcode=99999),  # unknown
    }
    real = company.user

    async def user(userid):
        answer = await real(userid)
        if userid in refused:
            raise refused[userid]
        return answer

    company.user = user
    await full(sync, company)
    assert all([(await row(sync, userid)).details_pending for userid in refused])
    assert await asked_for(sync) == set()
    assert not (await row(sync, "u005")).details_pending
    refused.clear()
    await full(sync, company)
    assert await differences(sync, company) == []


async def no_order(*order, **more):
    """The full sync is made by the test."""


@pytest.fixture
async def background(sync, monkeypatch):
    monkeypatch.setattr(details_module, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(Details, "pause_s", lambda self, error: 0.01)
    monkeypatch.setattr(sync.consumer.settings, "dingtalk_corp_id", CORP)
    monkeypatch.setattr(sync.consumer, "_order_sync", no_order)
    task = asyncio.create_task(sync.consumer.background())
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_nothing_that_dingtalk_answers_ends_the_consumer_and_it_shows_how_many_are_left(
    sync, company, background
):
    asked = 0

    def fail():
        nonlocal asked
        asked += 1
        if asked <= 12:
            raise ApiError("no answer of a known form", api="v2/user/get")
        if asked <= 24:
            raise PermissionDenied("no permission", api="v2/user/get", errcode=60011)

    company.before["v2/user/get"] = fail
    await rows_only(sync, company)
    await eventually(
        lambda: background.done() or (asked > 24 and sync.consumer.metrics.details_pending._value.get() == 0),
        60,
        "all asked",
    )
    assert not background.done()
    assert await differences(sync, company) == []


@pytest.fixture
def clock(sync):
    """The consumer's pace by a clock that only its own waiting moves on."""
    now = [0.0]

    async def sleep(seconds):
        until = now[0] + seconds
        await asyncio.sleep(0)
        now[0] = max(now[0], until)

    sync.consumer.pace = Throttle(10, sleep=sleep, clock=lambda: now[0])
    return now


async def test_a_full_sync_and_the_details_of_the_one_before_keep_to_one_pace(
    sync, company, clock, background
):
    made = []
    for api in ("v2/user/get", "v2/user/list", "v2/department/listsub", "role/list", "role/simplelist"):
        company.before[api] = partial(made.append, api)
    for number in range(CROWD):
        company.hire(f"u1{number:03}")
    await rows_only(sync, company)
    await eventually(lambda: "v2/user/get" in made, 60, "the details are begun")
    made.clear()
    before, began_at = company.calls.total(), clock[0]
    assert (await sync.deliver(order("o-1", CORP).value)).kind == "done"
    assert "v2/user/get" in made[: made.index("role/simplelist")]  # they were at it together
    # those under way had their turn before
    assert clock[0] - began_at >= (company.calls.total() - before - AT_ONCE) / 10


async def test_a_full_sync_has_not_to_wait_for_more_than_one_of_them(sync, company):
    await first_full(sync, company, details=False)
    waits = asyncio.Event()

    async def sleep(seconds):
        waits.set()
        await asyncio.Event().wait()

    pace = Throttle(10, sleep=sleep, clock=lambda: 0.0)
    task = asyncio.create_task(Details(sync.database, CORP, company, pace).work(lambda: False))
    await asyncio.wait_for(waits.wait(), 60)
    await asyncio.sleep(0)  # all that are under way at once have come as far as they come
    assert pace.next_at == pytest.approx(2 * pace.gap_s)  # one was made, one is in line
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_command_ends_beside_one_who_is_never_answered(sync, company, monkeypatch):
    run = await rows_only(sync, company, "command")
    real, said = company.user, []

    async def user(userid):
        if userid == "u005":
            raise Unavailable("DingTalk answers 502", api="v2/user/get")
        return await real(userid)

    company.user = user
    monkeypatch.setattr(cli, "say", said.append)
    monkeypatch.setattr(cli, "_LOOK_S", 0.001)
    monkeypatch.setattr(cli, "_PATIENCE_S", 0.01)
    mine = worker(sync, company)
    mine.lease_s = 0
    await cli._details(Runs(sync.database, CORP), run, mine, wait=True)
    assert said[1] == "DingTalk gives no details of 1 people just now; the running consumer tries again"
    assert mine.fetched == 11
    assert run.state == "done"

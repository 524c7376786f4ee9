"""The agent where a row believes what has become wrong, and where DingTalk answers with errors only."""

from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import func, select

from dingbridge.consumers.outbound.cli.planning import plan
from dingbridge.consumers.outbound.contacts.rows import make_due
from dingbridge.consumers.outbound.owners import Owners
from dingbridge.consumers.outbound.settings import OutboundSettings
from dingbridge.consumers.outbound.store import ding_ids
from dingbridge.consumers.outbound.tables import outbound_entity, outbound_outgoing
from dingbridge.dingtalk.errors import ApiError, OutcomeUnknown, PermissionDenied, Unavailable
from dingbridge.settings import ConsumerSettings
from tests.unit.outbound.hands import CORP, S, World, once

NUMBER = "13900000001"


DEPARTMENT = {"name": "D", "parent": "root"}


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> Any:
    async with World.opened(monkeypatch) as found:
        yield found


def replace_person(world: World, userid: str, name: str = "B", mobile: str = "13800000009") -> dict[str, Any]:
    world.ding.put("user", userid, None)
    world.hire(userid, mobile, name)
    return dict(world.person(userid))


async def test_who_comes_after_a_carried_out_absent_is_nobodys_candidate(world: World) -> None:
    await (await world.employ("A")).work()
    await (await world.dismiss("A")).work()
    world.hire("A", "13800000009")
    await world.event("user", "A")
    async with world.database.transaction() as tx:
        await make_due(tx)
    await world.work()
    row = await world.row("A")
    assert (row.result, row.reason, row.owned_id) == ("done", None, None)


async def test_nobody_is_named_by_an_own_id_whose_person_may_be_another(world: World) -> None:
    await (await world.employ("A")).work()
    assert await ding_ids(world.database.reader(), CORP, "user", ["A"]) == {"A": "A"}
    mine = dict(world.person("A"))
    replace_person(world, "A")
    await world.event("user", "A")
    await world.work()
    assert await world.result("A") == "conflict/somebody-else"
    assert await ding_ids(world.database.reader(), CORP, "user", ["A"]) == {}
    world.ding.put("user", "A", mine)
    await world.event("user", "A")
    await world.work()
    assert await ding_ids(world.database.reader(), CORP, "user", ["A"]) == {"A": "A"}


async def test_a_new_person_under_the_userid_is_known_before_the_first_read_is_late(world: World) -> None:
    """Replaced in the settle time after the creation, before any read shows a unionid."""
    await world.employ("A")
    await world.work(1)
    before = replace_person(world, "A")
    await (await world.employ("A", title="boss")).work()
    assert await world.result("A") == "conflict/somebody-else"
    assert world.person("A") == before


async def test_without_a_unionid_another_name_and_number_is_not_written(world: World) -> None:
    world.ding.hide_unionid = True
    await (await world.employ("A")).work()
    before = replace_person(world, "A")
    await world.event("user", "A")
    await (await world.employ("A", title="boss")).work()
    await (await world.dismiss("A")).work()
    assert await world.result("A") == "conflict/somebody-else"
    assert (world.ding.strangers, world.person("A")) == ([], before)


async def test_without_a_unionid_who_comes_after_one_that_is_gone_is_not_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with World.opened(monkeypatch, owners=Owners(users={"exists": "report"})) as world:
        world.ding.hide_unionid = True
        await (await world.employ("A")).work()
        await world.remove("user", "A")
        await world.work()
        assert await world.result("A") == "conflict/removed"
        world.hire("A", "13800000009")
        await (await world.dismiss("A")).work()
        assert world.ding.strangers == []
        assert await world.result("A") == "unchanged"


async def test_a_new_person_of_the_same_own_id_is_no_conflict_while_reads_show_the_old_one(
    world: World,
) -> None:
    await (await world.employ("A")).work()
    world.ding.put("user", "A", None)
    world.ms += S
    await world.event("user", "A")
    await world.employ("A", "13700000007", name="other")
    results = {await world.result("A")}
    for lag_s in (0, 50, 50, 50, 0, 0, 0, 0):
        world.ding.lag_ms = lag_s * S
        await world.event("user", "A")
        await world.work(1)
        results.add(await world.result("A"))
    await world.work()
    assert not any(result.startswith("conflict") for result in results)
    assert await world.result("A") == "done"


@pytest.mark.parametrize("released", [False, True])
async def test_a_leaver_found_by_number_is_not_said_to_be_gone(world: World, released: bool) -> None:
    world.hire("b1", NUMBER)
    await (await world.employ("A")).work()
    if released:
        await world.release("A")
        await world.work()
    await (await world.dismiss("A")).work()
    if released:
        assert await world.result("A") == "done"
        return
    assert await world.result("A") == "pending/adopted"
    assert "release A` removes it" in (await world.row("A")).words
    await world.release("A")
    await world.work()
    assert await world.result("A") == "done"
    assert ("user", "b1") not in world.ding.there


@pytest.mark.parametrize("kind", ["user", "department"])
async def test_a_doubtful_leaver_can_be_removed_after_two_releases(world: World, kind: Any) -> None:
    """Renamed by hand, and no mark that says who it is: the operator has looked, and it is the right one."""
    world.ding.hide_unionid = True
    if kind == "user":
        world.hire("b1", NUMBER)
        await (await world.employ("A")).work()
    else:
        world.ding.add("department", "77", {"name": "D", "parent_id": 1})
        await (await world.say("department", "A", DEPARTMENT)).work()
    [(_, ding_id)] = world.ding.there
    await world.release("A")
    await world.work()
    world.ding.put(kind, ding_id, {**world.ding.there[kind, ding_id], "name": "renamed"})
    await (await world.say(kind, "A", None)).work()
    assert await world.result("A") == "conflict/somebody-else"
    await world.release("A")
    await world.work()
    assert await world.result("A") == "pending/adopted"
    assert (kind, ding_id) in world.ding.there
    await world.release("A")
    await world.work()
    assert await world.result("A") == "done"
    assert (kind, ding_id) not in world.ding.there


async def test_a_userid_that_another_row_got_meanwhile_is_corrected_by_the_next_message(world: World) -> None:
    world.ding.faults = ["lost before"]
    await world.employ("C", "13700000007", userid="zhang")
    await world.work(1)
    await world.employ("A", userid="zhang")
    await world.work()
    owner = await world.row("A")
    assert owner.owned_id == "zhang"
    assert await world.result("C") == "conflict/owned-by-another"
    await (await world.employ("C", "13700000007", userid="li")).work()
    assert await world.result("C") == "done"
    assert world.person("li")["title"] == "TC"


async def test_a_plan_says_whose_somebody_is_already(world: World) -> None:
    await (await world.employ("A", userid="zhang")).work()
    await world.employ("C", "13700000007", userid="zhang")
    consumer: Any = SimpleNamespace(
        database=world.database,
        own=OutboundSettings.load(),
        settings=ConsumerSettings.load(),
        owners=Owners(),
        dingtalk_of=lambda app, corp_id: world.ding,
    )
    planned = {one.own_id: (one.op, one.reason) async for one in plan(consumer, None)}
    assert planned == {"A": ("nothing", None), "C": ("wait", "owned-by-another")}


@pytest.mark.parametrize("dept_id", ["-1", "77"])
async def test_a_department_that_may_not_be_read_holds_up_no_other(world: World, dept_id: str) -> None:
    world.ding.add("department", dept_id, {"name": "school", "parent_id": 1})
    read = world.ding.department

    async def refused(asked: int) -> dict[str, Any]:
        if str(asked) == dept_id:
            raise PermissionDenied("outside", api="v2/department/get", errcode=50004, about="entity")
        return await read(asked)

    world.ding.department = refused  # type: ignore[method-assign]
    await (await world.say("department", "D1", DEPARTMENT)).work()
    assert await world.result("D1") == "done"


async def test_a_deletion_waits_for_reads_that_lag_behind_an_event(world: World) -> None:
    """A leaves by hand and B gets the userid; the event comes, and reads still show A for some seconds."""
    await (await world.employ("A")).work()
    world.ms += 3600 * S
    before = replace_person(world, "A")
    world.ding.lag_ms = 50 * S
    await world.event("user", "A")
    await (await world.dismiss("A")).work()
    assert (world.ding.strangers, world.person("A")) == ([], before)
    assert await world.result("A") == "conflict/somebody-else"


async def test_of_two_that_find_one_person_at_once_one_gets_it_and_the_other_is_told(world: World) -> None:
    """Each has chosen the same userid, and each reply was lost; the table lets one of them have it."""
    world.ding.faults = ["lost before", "lost after"]
    await world.employ("A", userid="zhang")
    await world.employ("C", userid="zhang")
    start_ms = world.ms
    await world.work(until_ms=300 * S)
    results = sorted([await world.result("A"), await world.result("C")])
    assert results == ["conflict/owned-by-another", "done"]
    assert world.ms - start_ms < 300 * S


REFUSED = Unavailable("HTTP 500", api="v2/user/get", about="busy")


def refuse(world: World, *userids: str) -> list[str]:
    """Reads of these people fail while they are in the list that is returned."""
    read, refused = world.ding.user, list(userids)

    async def user(userid: str) -> dict[str, Any]:
        if userid in refused:
            raise REFUSED
        return await read(userid)

    world.ding.user = user  # type: ignore[method-assign]
    return refused


async def test_one_whom_dingtalk_always_refuses_holds_nobody_and_ends_in_words(world: World) -> None:
    refused = refuse(world, "B0")
    await world.employ("B0", "13800000000")
    for number in range(1, 10):
        await world.employ(f"A{number}", f"139{number:08}")
    began_ms = world.ms
    await world.work(rounds=400, until_ms=60 * S)
    assert {await world.result(f"A{number}") for number in range(1, 10)} == {"done"}
    assert await world.result("B0") == ""
    # its own failures are counted while others work
    while world.ms < began_ms + 4800 * S:
        world.ms += 600 * S
        await (await world.employ("A1", title=f"T{world.ms}")).work(until_ms=120 * S)
    assert await world.result("B0") == "refused"
    assert "each hour" in (await world.row("B0")).words
    refused.clear()
    world.ms += 3600 * S
    await world.work(until_ms=120 * S)
    assert await world.result("B0") == "done"


async def test_while_dingtalk_answers_about_nobody_nobody_is_refused(world: World) -> None:
    people = [f"A{number}" for number in range(3)]
    refused = refuse(world, *people)
    for number, own_id in enumerate(people):
        await world.employ(own_id, f"139{number:08}")
    for _ in range(15):
        world.ms += 300 * S
        await once(world.agent)
    assert {await world.result(own_id) for own_id in people} == {""}
    refused.clear()
    await world.work(until_ms=600 * S)
    assert {await world.result(own_id) for own_id in people} == {"done"}


async def test_what_asks_dingtalk_nothing_does_not_say_that_it_works(world: World) -> None:
    refuse(world, "B0")
    await world.employ("B0", "13800000000")
    await world.say("department", "D1", {"name": "D", "parent": "not there"})
    for _ in range(15):
        world.ms += 300 * S
        await once(world.agent)
        world.ms += 1 * S
        async with world.database.transaction() as tx:
            await make_due(tx, outbound_entity.c.own_id == "D1")
        await once(world.agent)
    assert (await world.result("D1"), await world.result("B0")) == ("pending/parent-missing", "")


@pytest.mark.parametrize("error", [REFUSED, OutcomeUnknown("HTTP 500", api="v2/user/update", about="busy")])
async def test_a_write_that_never_works_costs_a_few_calls_an_hour(world: World, error: ApiError) -> None:
    await (await (await world.employ("B0", "13800000000")).employ("A1")).work(until_ms=120 * S)
    written = list[int]()

    async def update_user(userid: str, fields: Any) -> None:
        if userid == "B0":
            written.append(world.ms)
            raise error

    world.ding.update_user = update_user  # type: ignore[method-assign]
    began_ms = world.ms
    await world.employ("B0", "13800000000", title="never")
    while world.ms < began_ms + 3600 * S:
        await (await world.employ("A1", title=f"T{world.ms}")).work(rounds=25, until_ms=1200 * S)
        world.ms = max(world.ms, written[-1]) + 600 * S
    assert 3 < len(written) < 20


async def test_who_waits_for_a_department_is_read_every_hour_at_most(world: World) -> None:
    await world.employ("B0", departments=["not there"])
    looks, read = list[str](), world.ding.user

    async def user(userid: str) -> dict[str, Any]:
        looks.append(userid)
        return await read(userid)

    world.ding.user = user  # type: ignore[method-assign]
    await world.work(rounds=60, until_ms=24 * 3600 * S)
    assert 20 < len(looks) < 40


async def test_a_right_that_was_withdrawn_empties_nothing_and_writes_nothing(world: World) -> None:
    """Permissions hide fields without an error: DingTalk then leaves the title out for everybody (F18)."""
    people = [f"A{number}" for number in range(3)]
    for number, own_id in enumerate(people):
        await world.employ(own_id, f"139{number:08}")
    await world.work()
    read, written = world.ding.user, list[str]()

    async def without(userid: str) -> dict[str, Any]:
        return {name: value for name, value in (await read(userid)).items() if name != "title"}

    async def update_user(userid: str, fields: Any) -> None:
        written.append(userid)

    world.ding.user, world.ding.update_user = without, update_user  # type: ignore[method-assign]
    for own_id in people:
        await world.event("user", own_id)
    await world.work(until_ms=600 * S)
    reported = await world.database.reader().scalar(
        select(func.count()).select_from(outbound_outgoing).where(outbound_outgoing.c.topic == "changes")
    )
    assert (written, reported) == ([], 0)
    assert {await world.result(own_id) for own_id in people} == {"done"}


async def test_a_field_that_others_still_show_was_emptied_by_a_person(world: World) -> None:
    await (await (await world.employ("A")).employ("C", "13900000002")).work()
    emptied = {name: value for name, value in world.person("A").items() if name != "title"}
    world.ding.put("user", "A", emptied)
    await world.event("user", "A")
    await world.work(until_ms=600 * S)
    assert world.person("A")["title"] == "TA"

"""DingTalk answers about one person, or one request, with errors only: the others go on, and that one ends in
words after an hour. When it answers about nobody, all wait."""

from typing import Any

import pytest

from dingbridge.consumers.outbound.contacts.rows import make_due
from dingbridge.consumers.outbound.tables import outbound_entity
from dingbridge.dingtalk.errors import ApiError, OutcomeUnknown, Unavailable
from tests.unit.outbound.hands import S, World, once

REFUSED = Unavailable("HTTP 500", api="v2/user/get", about="busy")


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> Any:
    async with World.opened(monkeypatch) as found:
        yield found


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
    for number in range(1, 13):
        await world.employ(f"A{number}", f"139{number:08}")
    began_ms = world.ms
    await world.work(rounds=400, until_ms=60 * S)
    assert {await world.result(f"A{number}") for number in range(1, 13)} == {"done"}
    assert await world.result("B0") == ""
    # its own failures are counted while others work
    while world.ms < began_ms + 4500 * S:
        world.ms += 300 * S
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
    for _ in range(60):
        world.ms += 150 * S
        await once(world.agent)
    assert {await world.result(own_id) for own_id in people} == {""}
    refused.clear()
    await world.work(until_ms=600 * S)
    assert {await world.result(own_id) for own_id in people} == {"done"}


async def test_what_asks_dingtalk_nothing_does_not_say_that_it_works(world: World) -> None:
    refuse(world, "B0")
    await world.employ("B0", "13800000000")
    await world.say("department", "D1", {"name": "D", "parent": "not there"})
    for _ in range(60):
        world.ms += 150 * S
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
    while world.ms < began_ms + 2 * 3600 * S:
        await (await world.employ("A1", title=f"T{world.ms}")).work(rounds=25, until_ms=1200 * S)
        world.ms = max(world.ms, written[-1]) + 600 * S
    assert 5 < len(written) < 40


async def test_who_waits_for_a_department_is_read_every_hour_at_most(world: World) -> None:
    await world.employ("B0", departments=["not there"])
    looks, read = list[str](), world.ding.user

    async def user(userid: str) -> dict[str, Any]:
        looks.append(userid)
        return await read(userid)

    world.ding.user = user  # type: ignore[method-assign]
    await world.work(rounds=60, until_ms=24 * 3600 * S)
    assert 20 < len(looks) < 40

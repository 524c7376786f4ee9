"""What a message may not do by what it says of itself: limits by app and day, versions, and whose request it
is."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from dingbridge import Reject
from dingbridge.consumers.outbound.contacts.wanted import approve, want
from dingbridge.consumers.outbound.limits import count_one, is_left
from dingbridge.consumers.outbound.messages import Message
from dingbridge.consumers.outbound.requests.tables import outbound_requests
from dingbridge.consumers.outbound.settings import DAY_MS
from dingbridge.settings import ConsumerSettings
from tests.unit.outbound.asking import World as Requests
from tests.unit.outbound.asking import opened
from tests.unit.outbound.hands import CORP, World

MOBILES = {own_id: f"1390000000{number}" for number, own_id in enumerate("ABC")}


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with World.opened(monkeypatch) as opened:
        yield opened


def desired(version: int, title: str, **more: Any) -> Message:
    data = {"corpId": CORP, "name": "N", "mobile": "13900000001", "departments": ["root"], "title": title}
    message = Message("user.desired", "user", "A", CORP, None, version, data, "/oa", f"m{version}")
    return replace(message, **more)


async def say(world: World, message: Message) -> None:
    async with world.database.transaction() as tx:
        await want(tx, message, world.ms)


async def approved(world: World, own_id: str) -> None:
    row = await world.row(own_id)
    async with world.database.transaction() as tx:
        await approve(tx, row)


async def test_a_limit_holds_for_a_day_whatever_company_a_message_names(world: World) -> None:
    async def counted(now: int, most: int = 3) -> bool:
        async with world.database.transaction() as tx:
            return await count_one(tx, "removals", "default", most, now)

    assert [await counted(world.ms + n) for n in range(4)] == [True, True, True, False]
    reader = world.database.reader()
    assert not await is_left(reader, "removals", "default", 3, world.ms + DAY_MS - 60_000)
    assert await is_left(reader, "removals", "default", 3, world.ms + DAY_MS)
    assert await is_left(reader, "removals", "other", 3, world.ms)
    assert await is_left(reader, "updates", "default", 3, world.ms)


@pytest.mark.parametrize(("several", "expected"), [(False, ["own"] * 3), (True, ["own", "own", "other"])])
def test_the_app_is_the_one_that_makes_the_calls(
    several: bool, expected: list[str], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DINGTALK_APP_NAME", "own")
    if several:
        monkeypatch.setenv("DINGTALK_APPS_FILE", str(tmp_path / "apps.toml"))
    settings = ConsumerSettings.load()
    assert [settings.app_of(app) for app in (None, "own", "other")] == expected


async def test_changes_beyond_the_days_limit_wait_for_a_person_and_new_people_do_not(world: World) -> None:
    world.agent._most["updates"] = 1
    for own_id, mobile in MOBILES.items():
        await world.employ(own_id, mobile)
    await world.work()
    for own_id, mobile in MOBILES.items():
        await world.employ(own_id, mobile, title="export")
    await world.work()
    results = {own_id: await world.result(own_id) for own_id in MOBILES}
    assert sorted(results.values()) == ["done", *["pending/update-approval"] * 2]
    first, second = (own_id for own_id, result in results.items() if result != "done")
    await approved(world, first)
    await world.work()
    assert (await world.result(first), world.person(first)["title"]) == ("done", "export")
    assert (await world.result(second), world.person(second)["title"]) == (
        "pending/update-approval", f"T{second}"
    )  # fmt: skip
    world.ms += DAY_MS
    await world.work()
    assert await world.result(second) == "done"


async def test_an_approval_of_a_change_approves_no_removal(world: World) -> None:
    world.agent._most |= {"updates": 0, "removals": 0}
    await (await world.employ("A")).work()
    await (await world.employ("A", title="export")).work()
    await approved(world, "A")
    await (await world.dismiss("A")).work()
    assert (await world.result("A"), world.person("A")["title"]) == ("pending/removal-approval", "TA")


async def test_what_an_operator_released_is_written_beyond_the_limit(world: World) -> None:
    world.agent._most["updates"] = 0
    world.hire("A", "13900000001", name="NA")
    await (await world.employ("A")).work()
    await world.release("A")
    await world.work()
    assert (await world.result("A"), world.person("A")["title"]) == ("done", "TA")


async def test_a_later_absent_may_be_immediate_and_a_desired_ends_that(world: World) -> None:
    world.agent._rules = replace(world.agent._rules, grace_ms=7 * DAY_MS)
    await (await world.employ("A")).work()
    await (await world.dismiss("A")).work()
    assert await world.result("A") == "pending/grace"
    version = (await world.row("A")).version
    data = {"corpId": CORP, "immediate": True}
    now = Message("user.absent", "user", "A", CORP, None, version + 1, data, "/oa", "m")
    await say(world, now)
    await say(world, desired(version + 2, "again"))
    await world.work()
    assert await world.result("A") == "done"
    await say(world, replace(now, version=version + 3))
    await world.work()
    assert (await world.result("A"), ("user", "A") in world.ding.there) == ("done", False)


async def test_a_version_far_in_the_future_is_refused(world: World) -> None:
    micros = world.ms * 1000
    with pytest.raises(Reject, match=r"data\.version: .* epoch ms"):
        await say(world, desired(micros, "µs"))
    await say(world, desired(world.ms + DAY_MS, "a clock ahead"))
    await world.work()
    with pytest.raises(Reject, match=r"data\.version"):
        await say(world, desired(micros, "µs"))
    assert world.person("A")["title"] == "a clock ahead"


ACTS = {
    "approval.start": {"form": {"事由": "别的"}},
    "todo.done": {},
}


@pytest.mark.parametrize("type_", ACTS)
async def test_nobody_acts_on_what_another_sender_started(type_: str) -> None:
    requests = await opened(Requests())
    await requests.send("approval.start", "A-1")
    await requests.send("todo.desired", "T-1")
    await requests.work()
    before = [document["status"] for _, document in requests.ding.instances.values()]
    id_ = "A-1" if type_ == "approval.start" else "X-1"
    await requests.send(type_, id_, source="/another", **ACTS[type_])
    await requests.work()
    [*_, last] = await requests.results()
    await requests.database.close()
    assert (last["result"], last["answers"]["source"], "sender" in last["words"]) == (
        "refused", "/another", True
    )  # fmt: skip
    assert [document["status"] for _, document in requests.ding.instances.values()] == before
    assert not requests.ding.todos["T-1"]["isDone"]


async def test_a_request_that_waits_is_replaced_and_repeated_by_its_sender_alone() -> None:
    requests = await opened(Requests(outbound_max_approvals=0))
    await requests.send("approval.start", "A-1")
    await requests.work(1)
    for form in ({"事由": "出差"}, {"事由": "别的"}):
        await requests.send("approval.start", "A-1", source="/another", form=form)
    [row] = list(await requests.database.reader().execute(select(outbound_requests)))
    told = [(one["result"], one["answers"]["source"]) for one in await requests.results()]
    await requests.database.close()
    assert (row.source, "出差" in row.body) == ("/oa", True)
    assert told == [("pending", "/oa"), *[("refused", "/another")] * 2]

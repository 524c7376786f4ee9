"""Outbound touches only whom it made or was given, by DingTalk's id: never whoever has the number, the name
or the userid now. The scenarios one by one, and then all of them at random."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.sizes import sized
from tests.unit.outbound.hands import S, World, once

NUMBER = "13900000001"


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> Any:
    async with World.opened(monkeypatch) as found:
        yield found


async def test_the_next_holder_of_a_number_is_neither_written_nor_deleted(world: World) -> None:
    """A is removed by hand, B is hired with A's number, and the OA goes on speaking of A."""
    await (await world.employ("A")).work()
    await world.remove("user", "A")
    world.hire("b1", NUMBER)
    before = dict(world.person("b1"))
    await (await world.employ("A", title="boss")).work()
    assert await world.result("A") == "refused/60104"
    await (await world.dismiss("A")).work()
    assert world.ding.strangers == []
    assert world.person("b1") == before
    assert await world.result("A") == "unchanged"


async def test_one_person_is_one_rows_whatever_two_messages_say(world: World) -> None:
    await (await world.employ("A")).work()
    await (await world.employ("C", title="other")).work()
    assert await world.result("C") == "conflict/owned-by-another"
    words = (await world.row("C")).words
    assert "C: A in DingTalk belongs to A" in words
    # nor when A's own person is gone: the row waits, and does not slide to C's
    await world.remove("user", "A")
    world.hire("c1", NUMBER)
    await (await world.employ("C", title="third")).work()
    await world.release("C")
    await world.work()
    await (await world.employ("A", title="again")).work()
    await (await world.dismiss("A")).work()
    assert world.ding.strangers == []
    assert world.person("c1")["title"] == "third"


@pytest.mark.parametrize(("name", "mobile"), [("other", NUMBER), ("NA", "13800000009")])
async def test_without_a_unionid_a_deletion_compares_name_and_number(
    world: World, name: str, mobile: str
) -> None:
    world.ding.hide_unionid = True
    await (await world.employ("A")).work()
    world.ding.put("user", "A", None)
    world.hire("A", mobile, name)
    await (await world.dismiss("A")).work()
    assert await world.result("A") == "conflict/somebody-else"
    assert world.ding.strangers == []


async def test_a_deletion_looks_once_more_directly_before_it(world: World) -> None:
    await (await world.employ("A")).work()
    await world.dismiss("A")
    reads = 0
    read = world.ding.user

    async def replaced_after_the_first_read(userid: str) -> dict[str, Any]:
        nonlocal reads
        reads += 1
        found = await read(userid)
        world.ding.put("user", "A", None)
        world.hire("A", "13800000009")
        return found

    world.ding.user = replaced_after_the_first_read  # type: ignore[method-assign]
    world.ms += S
    await once(world.agent)
    world.ding.user = read  # type: ignore[method-assign]
    assert reads >= 1
    assert ("user", "A") in world.ding.there
    assert world.ding.strangers == []
    assert await world.result("A") == "conflict/somebody-else"


@pytest.mark.parametrize("taken", ["userid", "mobile"])
async def test_who_is_in_the_way_of_a_first_creation_is_never_ours(world: World, taken: str) -> None:
    """DingTalk shows them late, so that the read before the creation found nobody."""
    world.hire("A" if taken == "userid" else "b1", "13800000009" if taken == "userid" else NUMBER)
    world.ding.lag_ms = 30 * S
    await (await world.employ("A")).work()
    assert await world.result("A") == "pending/adopted"
    assert world.ding.strangers == []


async def test_what_is_released_is_who_was_shown(world: World) -> None:
    world.hire("b1", NUMBER)
    await (await world.employ("A")).work()
    assert (await world.result("A"), (await world.row("A")).ding_id) == ("pending/adopted", "b1")
    await world.release("A")
    world.ding.put("user", "b1", None)
    world.hire("b2", NUMBER)
    await world.work()
    assert world.ding.strangers == []
    assert world.person("b2")["title"] == "b"


async def test_one_candidate_of_two_rows_is_released_once(world: World) -> None:
    world.hire("b1", NUMBER)
    await world.employ("A")
    await (await world.employ("C")).work()
    await world.release("A")
    await world.release("C")
    await world.work()
    assert [await world.result(own_id) for own_id in ("A", "C")] == ["done", "conflict/owned-by-another"]
    assert world.person("b1")["title"] == "TA"


async def test_a_userid_is_free_again_when_the_oa_has_its_person_removed(world: World) -> None:
    await (await world.employ("A", userid="zhang")).work()
    await (await world.dismiss("A")).work()
    await (await world.employ("A2", userid="zhang")).work()
    assert (await world.result("A2"), world.person("zhang")["title"]) == ("done", "TA2")
    await (await world.employ("A", userid="zhang")).work()
    assert (await world.result("A"), world.person("zhang")["title"]) == ("conflict/owned-by-another", "TA2")


PEOPLE = ["A", "C"]
NUMBERS = [NUMBER, "13900000002"]
_own_id, _number = st.sampled_from(PEOPLE), st.sampled_from(NUMBERS)
_fault = st.sampled_from(["ok", "lost before", "lost after", "killed before", "killed after"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("employ"), _own_id, _number, st.integers(0, 3)),
        st.tuples(st.just("dismiss"), _own_id),
        st.tuples(st.just("remove"), _own_id),
        st.tuples(st.just("hire"), _number),
        st.tuples(st.just("replace"), _own_id, _number),
        st.tuples(st.just("restore"), _own_id),
        st.tuples(st.just("edit"), _own_id),
        st.tuples(st.just("release"), _own_id),
        st.tuples(st.just("faults"), st.lists(_fault, max_size=3), st.integers(0, 50 * S)),
        st.tuples(st.just("work"), st.integers(1, 4)),
        st.tuples(st.just("work"), st.just(40)),
    ),
    max_size=25,
)


async def _play(world: World, steps: list[tuple[Any, ...]]) -> None:
    hired, gone = 0, dict[str, Any]()
    for step in steps:
        rows = {row.own_id: row for row in await world.rows()}
        owned = next((row.owned_id for own_id, row in rows.items() if own_id == step[1]), None)
        there = world.ding.there.get(("user", owned or ""))
        match step:
            case ("employ", own_id, number, title):
                await world.employ(own_id, number, title=f"T{title}")
            case ("dismiss", own_id):
                await world.dismiss(own_id)
            case ("remove", _) if there:
                gone[owned] = there
                await world.remove("user", owned)
            case ("hire", number) if not any(one["mobile"] == number for one in world.ding.there.values()):
                hired += 1
                world.hire(f"b{hired}", number)
            case ("replace", own_id, number) if there and world.knows(rows[own_id]):
                # by somebody with the same userid; no read is so late that it shows who was there before
                world.ding.put("user", owned, None)
                if not any(one["mobile"] == number for one in world.ding.there.values()):
                    world.hire(owned, number)
                world.ms += 51 * S
                await world.event("user", owned)
            case ("restore", _) if not there and owned in gone:
                world.ding.put("user", owned, gone[owned])
                await world.event("user", owned)
            case ("edit", _) if there:
                world.ding.put("user", owned, {**there, "title": "by hand"})
                await world.event("user", owned)
            case ("release", own_id) if own_id in rows:
                await world.release(own_id)
            case ("faults", faults, lag_ms):
                world.ding.faults, world.ding.lag_ms = list(faults), lag_ms
            case ("work", rounds):
                await world.work(rounds)
        assert world.ding.strangers == [], "somebody was touched whom no row owns"
    world.ding.faults, world.ding.lag_ms = [], 0
    await world.work(200)


_department, _name = st.sampled_from(["D1", "D2"]), st.sampled_from(["sales", "tools"])
DEPARTMENT_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("want"), _department, _name, st.integers(0, 3)),
        st.tuples(st.just("dismiss"), _department),
        st.tuples(st.just("remove"), _department),
        st.tuples(st.just("make"), _name),
        st.tuples(st.just("rename"), _department, _name),
        st.tuples(st.just("release"), _department),
        st.tuples(st.just("faults"), st.lists(_fault, max_size=3), st.integers(0, 50 * S)),
        st.tuples(st.just("work"), st.integers(1, 4)),
        st.tuples(st.just("work"), st.just(40)),
    ),
    max_size=25,
)


async def _play_departments(world: World, steps: list[tuple[Any, ...]]) -> None:
    for step in steps:
        rows = {row.own_id: row for row in await world.rows()}
        owned = next((row.owned_id for own_id, row in rows.items() if own_id == step[1]), None)
        there = world.ding.there.get(("department", owned or ""))
        taken = {one["name"] for one in world.ding.there.values()}
        match step:
            case ("want", own_id, name, order):
                await world.say("department", own_id, {"name": name, "parent": "root", "order": order})
            case ("dismiss", own_id):
                await world.say("department", own_id, None)
            case ("remove", _) if there:
                await world.remove("department", owned)
            case ("make", name) if name not in taken:
                fields = {"name": name, "parent_id": 1}
                world.ding.add("department", str(5000 + next(world.ding.numbers)), fields)
            case ("rename", _, name) if there and name not in taken:
                world.ding.put("department", owned, {**there, "name": name})
                await world.event("department", owned)
            case ("release", own_id) if own_id in rows:
                await world.release(own_id)
            case ("faults", faults, lag_ms):
                world.ding.faults, world.ding.lag_ms = list(faults), lag_ms
            case ("work", rounds):
                await world.work(rounds)
        assert world.ding.strangers == [], "a department was touched that no row owns"
    world.ding.faults, world.ding.lag_ms = [], 0
    await world.work(200)


async def _check(world: World) -> None:
    assert world.ding.strangers == [], "somebody was touched whom no row owns"
    rows = await world.rows()
    owned = Counter(row.owned_id for row in rows if row.owned_id is not None)
    assert set(owned.values()) <= {1}, "one person belongs to two rows"
    for row in rows:
        wanted = world.wanted[row.kind, row.own_id]
        there = world.ding.there.get((row.kind, row.owned_id or ""))
        assert row.result is not None
        if row.result in ("done", "unchanged"):
            assert (there is None) == (wanted is None), row.own_id
            for name in ("title", "order") if there is not None and wanted is not None else ():
                assert there.get(name) == wanted.get(name), row.own_id


def _run(play: Any, steps: list[tuple[Any, ...]]) -> None:
    async def story() -> None:
        with pytest.MonkeyPatch.context() as patch:
            async with World.opened(patch) as world:
                await play(world, steps)
                await _check(world)

    asyncio.run(story())


@settings(max_examples=sized(30, 2_000, quick=10), deadline=None, report_multiple_bugs=False)
@given(STEPS)
def test_whatever_people_and_the_oa_do_nobody_else_is_touched(steps: list[tuple[Any, ...]]) -> None:
    _run(_play, steps)


@settings(max_examples=sized(20, 1_000, quick=8), deadline=None, report_multiple_bugs=False)
@given(DEPARTMENT_STEPS)
def test_whatever_people_and_the_oa_do_no_other_department_is_touched(steps: list[tuple[Any, ...]]) -> None:
    _run(_play_departments, steps)


async def test_who_was_refused_for_a_number_comes_back_when_it_is_free_again(world: World) -> None:
    await (await world.employ("A")).work()
    world.ding.put("user", "A", None)
    world.hire("b1", "13900000001")
    await world.event("user", "A")
    await world.work(until_ms=300 * S)
    assert await world.result("A") == "refused/60104"
    world.ding.put("user", "b1", None)
    await world.work(until_ms=2 * 3600 * S)
    assert await world.result("A") == "done"

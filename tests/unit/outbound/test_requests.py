"""Requests against a DingTalk that loses replies, lags and is killed over: each is carried out once."""

import asyncio
import json
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from sqlalchemy import update

from dingbridge.consumers.outbound.metrics import OutboundMetrics
from dingbridge.consumers.outbound.requests.agent import PENDING_MOST_MS, RequestAgent
from dingbridge.consumers.outbound.requests.approvals import form_of
from dingbridge.consumers.outbound.requests.store import store_approval_event
from dingbridge.consumers.outbound.requests.tables import outbound_requests
from dingbridge.consumers.outbound.settings import DAY_MS
from dingbridge.consumers.outbound.tables import outbound_entity
from dingbridge.consumers.outbound.waiting import standing
from dingbridge.dingtalk.errors import (
    NotFound,
    TokenInvalid,
    Unavailable,
)
from tests.support.sizes import sized
from tests.unit.outbound.asking import CORP, MINUTE_MS, DingTalk, World, opened
from tests.unit.outbound.hands import once
from tests.unit.outbound.ledger_rows import row

FAULTS = st.lists(
    st.sampled_from(["ok", "limited", "lost before", "lost after", "killed before", "killed after"]),
    max_size=4,
)


def run(test):
    """In an event loop of its own, as hypothesis has none."""
    asyncio.run(test)


@given(FAULTS, st.integers(0, 14 * MINUTE_MS), st.integers(-100 * MINUTE_MS, 100 * MINUTE_MS), st.booleans())
@example(["lost after"], 0, 10 * MINUTE_MS, True)
@example(["lost after"], 2 * MINUTE_MS, 0, True)
@hypothesis_settings(max_examples=sized(15, 200, quick=6))
def test_an_approval_is_started_once_and_without_a_mapping_never_twice(faults, lag_ms, behind_ms, mapped):
    """Reads lag by up to 14 min, and the clocks differ by up to 100 min either way."""

    async def story():
        world = await opened(World(faults, lag_ms, behind_ms, mapped))
        await world.send("approval.start", "A-1")
        await world.work()
        again = await world.send("approval.start", "A-1")
        await world.work()
        results = await world.results()
        await world.database.close()
        first, last = results[0], results[-1]
        assert len(world.ding.instances) <= 1
        assert last["answers"]["id"] == again
        assert {**first, "answers": 0} == {**last, "answers": 0}
        if mapped or not any("lost" in fault or "killed" in fault for fault in faults):
            assert (last["result"], last["dingtalkId"]) == ("done", "pi-1")
            assert len(world.ding.instances) == 1
        else:
            assert last["result"] in ("done", "conflict")

    run(story())


async def test_nobody_acts_in_a_name_that_the_owners_file_does_not_list():
    world = await opened(World(originators=["*", "wang"]))
    await world.send("approval.start", "A-1")
    await world.send("approval.start", "A-2", originator="wang")
    await world.work()
    results = {one["id"]: one for one in await world.results()}
    await world.database.close()
    assert {id_: one["result"] for id_, one in results.items()} == {"A-1": "refused", "A-2": "done"}
    assert 'add "zhang" to originators of [templates."PROC-A"]' in results["A-1"]["words"]
    assert len(world.ding.instances) == 1


async def test_everybody_is_whom_the_oa_has_named_and_owns():
    """A row whose person was not released yet acts in nobody's name, not even in that of the same userid."""
    world = await opened(World(originators=["*"]))
    named = row("zhang", reason="adopted", corp_id=CORP, present=False)
    async with world.database.transaction() as tx:
        await tx.execute(outbound_entity.insert(), [named])
    await world.send("approval.start", "A-1")
    await world.work(3)
    assert [one.get("reason") for one in await world.results()] == ["user-missing"]
    async with world.database.transaction() as tx:
        await tx.execute(update(outbound_entity).values(owned_id="z1", present=True))
    await world.work()
    assert [one["result"] for one in await world.results()] == ["pending", "done"]
    await world.database.close()


@pytest.mark.parametrize("gone", [False, True])
async def test_nothing_is_done_in_the_name_of_whoever_has_the_userid_now(gone):
    """The row's person was replaced a moment ago, and no event has come yet."""
    world = await opened(World(originators=["*"]))
    ledger = {"owned_id": "z1", "mark": "union-of-another", "seen": {}}
    async with world.database.transaction() as tx:
        for own_id, known in (("zhang", {**ledger, "mark": "union-z1"}), ("li", ledger)):
            entity = row(own_id, "done", None, corp_id=CORP, owned_id="z1" if own_id == "zhang" else "li")
            await tx.execute(outbound_entity.insert().values(**entity, ledger=json.dumps(known)))
    if gone:
        shown = world.ding.user

        async def user(userid):
            if userid == "li":
                raise NotFound("gone", api="x")
            return await shown(userid)

        world.ding.user = user
    await world.send("approval.start", "A-1")
    await world.send("approval.start", "A-2", originator="li")
    await world.work(4)
    results = {one["id"]: (one["result"], one.get("reason")) for one in await world.results()}
    await world.database.close()
    assert results == {"A-1": ("done", None), "A-2": ("pending", "user-missing")}
    assert len(world.ding.instances) == 1


@pytest.mark.parametrize("hidden", ["dept_id_list", "unionid"])
async def test_what_dingtalk_does_not_show_of_a_person_is_told_in_words(hidden):
    world = await opened(World())
    shown = world.ding.user

    async def without(userid):
        return {name: value for name, value in (await shown(userid)).items() if name != hidden}

    world.ding.user = without
    await world.send(*(("approval.start", "A-1") if hidden == "dept_id_list" else ("todo.desired", "T-1")))
    await world.work(3)
    [told] = await world.results()
    await world.database.close()
    assert (told["result"], hidden in told["words"]) == ("refused", True)


def test_an_empty_field_is_empty_in_the_form_that_the_oa_gets():
    fields = [{"name": "a", "value": "null"}, {"name": "b", "value": None}, {"name": "c", "value": "x"}]
    assert form_of({"formComponentValues": fields}) == {"a": "", "b": "", "c": "x"}


async def test_what_is_beyond_the_days_approvals_waits():
    world = await opened(World(["lost before"], outbound_max_approvals=2))
    await world.send("approval.start", "A-1")
    await world.send("approval.start", "A-2")
    await world.work()
    await world.send("approval.start", "A-3")
    await world.work(3)
    [*_, last] = await world.results()
    assert (last["id"], last["result"], last["reason"]) == ("A-3", "pending", "approval-limit")
    world.ms += DAY_MS
    await world.work()
    [*_, last] = await world.results()
    await world.database.close()
    assert (last["id"], last["result"]) == ("A-3", "done")


async def test_another_request_under_a_used_id_is_refused():
    world = await opened(World())
    await world.send("approval.start", "A-1")
    await world.work()
    other = await world.send("approval.start", "A-1", form={"事由": "别的"})
    await world.work()
    first, last = await world.results()
    await world.database.close()
    assert (first["result"], last["result"], last["answers"]["id"]) == ("done", "refused", other)
    assert len(world.ding.instances) == 1


async def test_a_to_do_that_dingtalk_had_and_shows_no_more_ends_in_words():
    """Its id is taken for ever, and each look costs calls that the month's quota counts."""

    async def nothing(source_id, *, person):
        return None

    world = await opened(World())
    world.ding.todos["T-1"] = {"taskId": "t0", "isDone": True}
    world.ding.find_todo = nothing
    await world.send("todo.desired", "T-1")
    await world.work()
    told = [(one["result"], "new id" in one["words"]) for one in await world.results()]
    await world.database.close()
    assert told == [("refused", True)]


async def test_what_a_request_names_is_waited_for_a_week():
    world = await opened(World())
    await world.send("todo.done", "D-1")
    await world.work(3)
    counts, since_ms = await standing(world.database.reader())
    assert (counts["requests"], since_ms < world.ms) == (1, True)
    world.ms += PENDING_MOST_MS
    await world.work()
    told = [(result["result"], result.get("reason")) for result in await world.results()]
    await world.database.close()
    assert told == [("pending", "request-missing"), ("refused", None)]


@pytest.mark.parametrize("shown_after_s", [8, 600, 2 * 3600])
async def test_an_end_that_reads_show_late_is_told_when_it_is_shown_and_never_guessed(shown_after_s):
    """The event of the end came; reads still show the approval as running, or show none."""
    world = await opened(World())
    await world.send("approval.start", "A-1")
    await world.work()
    [(_, document)] = world.ding.instances.values()
    ended_ms = world.ms = world.ms + 3600_000
    shown, reads = world.ding.approval, []

    async def late(instance_id):
        reads.append(world.ms)
        if world.ms >= ended_ms + shown_after_s * 1000:
            document.update(status="COMPLETED", result="agree")
        elif len(reads) % 2:
            raise NotFound("not shown", api="x")
        return await shown(instance_id)

    world.ding.approval = late
    event = SimpleNamespace(corp_id=CORP, subject="pi-1", data={"type": "finish"})

    async def happens():
        async with world.database.transaction() as tx:
            await store_approval_event(tx, event)
            await tx.execute(update(outbound_requests).values(due_ms=world.ms))  # by the test's clock

    await happens()
    await world.work()
    told = [one.get("outcome") for one in await world.results() if "outcome" in one]
    assert told == (["agree"] if shown_after_s <= 600 else [])
    assert len(reads) < 25
    if not told:  # an hour of it is enough, until somebody asks again
        world.ms = ended_ms + shown_after_s * 1000
        await happens()
        await world.work()
        assert [one["outcome"] for one in await world.results() if "outcome" in one] == ["agree"]
    await world.database.close()


async def test_one_request_that_dingtalk_always_refuses_holds_no_other_and_ends_in_words():
    world = await opened(World())
    read = world.ding.user

    async def user(userid):
        world.ms += 1  # no two things at one time
        if userid == "zhang":
            raise Unavailable("HTTP 500", api="v2/user/get", about="busy")
        return await read(userid)

    world.ding.user = user
    await world.send("todo.desired", "T-0")
    for number in range(1, 5):
        await world.send("todo.desired", f"T-{number}", creator="wang")
    began_ms = world.ms
    while world.ms < began_ms + 5000_000:
        world.ms += 600_000
        await world.send("todo.desired", f"T-{world.ms}", creator="wang")
        await world.work(8)
        world.ms += 1000
        await world.work(8)
    results = {one["id"]: one["result"] for one in await world.results()}
    await world.database.close()
    assert results.pop("T-0") == "refused"
    assert set(results.values()) == {"done"}


async def test_while_dingtalk_is_down_nothing_is_refused_whatever_needs_no_call():
    world = await opened(World())

    async def user(userid):
        raise Unavailable("HTTP 500", api="v2/user/get", about="busy")

    world.ding.user = user
    await world.send("todo.desired", "T-0")
    for number in range(8):
        world.ms += 600_000
        await world.work(2)
        world.ms += 1000
        await world.send("approval.start", f"A-{number}", originator="nobody may")
        await world.work(2)
    results = {one["id"] for one in await world.results()}
    await world.database.close()
    assert len(results) == 8
    assert "T-0" not in results


async def test_an_app_whose_credentials_are_refused_holds_no_other_apps_requests():
    world = await opened(World())
    refused = DingTalk(lambda: world.ms)

    async def user(userid):
        raise TokenInvalid("app secret refused", api="v2/user/get")

    refused.user = user
    world.agent = RequestAgent(
        world.database, lambda app, corp_id: refused if app else world.ding, world.owners, world.settings,
        OutboundMetrics(CollectorRegistry()), now=lambda: world.ms,
    )  # fmt: skip
    for number in range(4):
        await world.send("todo.desired", f"R-{number}")
    async with world.database.transaction() as tx:
        await tx.execute(update(outbound_requests).values(app="refused"))
    await world.work(1)
    await world.send("todo.desired", "T-0")
    await once(world.agent)
    results = {one["id"] for one in await world.results()}
    await world.database.close()
    assert results == {"T-0"}


@pytest.mark.parametrize("type_", ["approval.start", "todo.desired"])
async def test_what_is_never_answered_costs_a_few_calls_an_hour(type_):
    world = await opened(World(["lost before"] * 1000))
    await world.send(type_, "A-1")
    began_ms, looks = world.ms, 0
    while world.ms < began_ms + 3600_000:
        await world.work(1)
        looks += 1
    await world.database.close()
    assert looks < 30

"""Requests against a DingTalk that loses replies, lags and is killed over: each is carried out once."""

import asyncio
import contextlib
import itertools
import json
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from sqlalchemy import select, update

from dingbridge import open_database
from dingbridge.consumers.outbound.messages import Message
from dingbridge.consumers.outbound.metrics import OutboundMetrics
from dingbridge.consumers.outbound.owners import Owners, Template
from dingbridge.consumers.outbound.requests.agent import PENDING_MOST_MS, RequestAgent
from dingbridge.consumers.outbound.requests.approvals import form_of, task_of
from dingbridge.consumers.outbound.requests.store import store_approval_event, store_request
from dingbridge.consumers.outbound.requests.tables import outbound_requests
from dingbridge.consumers.outbound.settings import DAY_MS, OutboundSettings
from dingbridge.consumers.outbound.tables import metadata, outbound_entity, outbound_outgoing
from dingbridge.consumers.outbound.waiting import standing
from dingbridge.dingtalk.errors import (
    AlreadyExists,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    TokenInvalid,
    Unavailable,
)
from tests.unit.outbound.hands import once
from tests.unit.outbound.ledger_rows import row

CORP = "dingcorp01"
FIELD = "单号"
SETTLE_S = 60
MINUTE_MS = 60_000
START = {"processCode": "PROC-A", "originator": "zhang", "form": {"事由": "出差"}}
TODO = {"subject": "盘点", "creator": "zhang", "executors": ["li"], "url": "https://oa.example.com/1"}
MORE = {
    "approval.start": START,
    "approval.terminate": {"request": "A-1"},
    "approval.decide": {"request": "A-1", "actor": "li", "result": "agree"},
    "todo.desired": TODO,
    "todo.done": {"request": "T-1"},
}
_requests = outbound_requests.c
_ids = itertools.count(1)


class DingTalk:
    """What the requests use of the client. ``faults`` are used up call by call; reads lag by ``lag_ms``, and
    DingTalk's clock is ``behind_ms`` behind ours."""

    def __init__(self, clock, faults=(), lag_ms=0, behind_ms=0):
        self.clock, self.faults, self.lag_ms, self.behind_ms = clock, list(faults), lag_ms, behind_ms
        self.instances, self.todos = {}, {}

    def _write(self, effect):
        fault = self.faults.pop(0) if self.faults else "ok"
        if fault == "limited":
            raise RateLimited("later", api="x", retry_after_s=1)
        if fault == "killed before":
            raise asyncio.CancelledError
        if fault == "lost before":
            raise OutcomeUnknown("no answer", api="x")
        done = effect()
        if fault == "killed after":
            raise asyncio.CancelledError
        if fault == "lost after":
            raise OutcomeUnknown("no answer", api="x")
        return done

    async def user(self, userid):
        return {"userid": userid, "unionid": f"union-{userid}", "dept_id_list": [7]}

    async def start_approval(self, *, process_code, originator, form, dept_id, approvers):
        def effect():
            values = [{"name": name, "value": value} for name, value in form.items()]
            task = {"taskId": 61000000001, "userId": "li", "status": "RUNNING", "result": "NONE"}
            name = f"pi-{len(self.instances) + 1}"
            document = {"status": "RUNNING", "result": "", "formComponentValues": values, "tasks": [task]}
            self.instances[name] = (self.clock(), document)
            return name

        return self._write(effect)

    async def approval_ids(self, process_code, *, start_ms, originator):
        for name, (began, _) in self.instances.items():
            if start_ms <= began - self.behind_ms and began <= self.clock() - self.lag_ms:
                yield name

    async def approval(self, instance_id):
        began, document = self.instances[instance_id]
        if began > self.clock() - self.lag_ms:
            raise NotFound("not yet", api="x")
        return document

    async def terminate_approval(self, instance_id, *, originator, remark):
        self._write(lambda: self.instances[instance_id][1].update(status="TERMINATED"))

    async def decide_approval(self, instance_id, *, task_id, actor, result, remark):
        def effect():
            document = self.instances[instance_id][1]
            document["tasks"][0] |= {"status": "COMPLETED", "result": result.upper()}
            document |= {"status": "COMPLETED", "result": result}

        self._write(effect)

    async def create_todo(self, *, source_id, **_):
        if source_id in self.todos:
            raise AlreadyExists("task exist", api="x")
        todo = {"taskId": "t1", "isDone": False}
        return self._write(lambda: self.todos.setdefault(source_id, todo)["taskId"])

    async def finish_todo(self, task_id, *, creator):
        self._write(lambda: next(iter(self.todos.values())).update(isDone=True))

    async def find_todo(self, source_id, *, person):
        return self.todos.get(source_id)


class World:
    """A consumer's database, an agent, and the time."""

    def __init__(
        self,
        faults=(),
        lag_ms=0,
        behind_ms=0,
        mapped=True,
        originators=("zhang",),
        actors=("li",),
        **settings,
    ):
        self.ms = 1_731_000_000_000
        self.ding = DingTalk(lambda: self.ms, faults, lag_ms, behind_ms)
        lists = frozenset(originators), frozenset(actors)
        self.owners = Owners(templates={"PROC-A": Template(FIELD if mapped else None, *lists)})
        self.database, self.agent = open_database("sqlite://"), None
        self.settings = OutboundSettings.load(outbound_settle_s=SETTLE_S, **settings)

    async def send(self, type_, id_, *, source="/oa", **changes):
        data = {"corpId": CORP, **MORE[type_], **changes}
        kind = type_.partition(".")[0]
        message = Message(type_, kind, id_, data["corpId"], None, None, data, source, f"m-{next(_ids)}")
        async with self.database.transaction() as tx:
            await store_request(tx, message, self.ms)
        return message.message_id

    async def work(self, rounds=60):
        """Until nothing is due any more, or so many looks; a killed agent is followed by another."""
        for _ in range(rounds):
            due = await self.database.reader().execute(
                select(_requests.due_ms, _requests.leased_ms).where(_requests.due_ms.is_not(None))
            )
            next_ms = min((max(row) for row in due), default=None)
            if next_ms is None:
                return
            self.ms = max(self.ms, next_ms)
            agent = self.agent or RequestAgent(
                self.database,
                lambda app, corp_id: self.ding,
                self.owners,
                self.settings,
                OutboundMetrics(CollectorRegistry()),
                now=lambda: self.ms,
            )
            self.agent = None
            with contextlib.suppress(asyncio.CancelledError):
                await once(agent)
                self.agent = agent

    async def results(self):
        rows = await self.database.reader().execute(
            select(outbound_outgoing.c.value).order_by(outbound_outgoing.c.seq)
        )
        return [json.loads(row.value)["data"] for row in rows]


FAULTS = st.lists(
    st.sampled_from(["ok", "limited", "lost before", "lost after", "killed before", "killed after"]),
    max_size=4,
)


def run(test):
    """In an event loop of its own, as hypothesis has none."""
    asyncio.run(test)


async def opened(world):
    await world.database.create_tables(metadata)
    return world


@given(FAULTS, st.integers(0, 14 * MINUTE_MS), st.integers(-100 * MINUTE_MS, 100 * MINUTE_MS), st.booleans())
@example(["lost after"], 0, 10 * MINUTE_MS, True)
@example(["lost after"], 2 * MINUTE_MS, 0, True)
@hypothesis_settings(max_examples=15)
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


@given(FAULTS)
@hypothesis_settings(max_examples=6)
def test_what_follows_a_start_ends_in_what_was_asked_for(faults):
    async def story():
        world = await opened(World(mapped=True))
        for type_, id_ in (("approval.start", "A-1"), ("approval.start", "A-2"), ("todo.desired", "T-1")):
            await world.send(type_, id_)
        await world.work(1)
        await world.send("approval.terminate", "E-1")
        await world.work(1)
        world.ding.faults = list(faults)
        await world.send("approval.decide", "D-1", request="A-2")
        await world.send("todo.done", "F-1")
        await world.work()
        told = await world.results()
        results = {result["id"]: result for result in told}
        await world.database.close()
        assert next(r["reason"] for r in told if r["result"] == "pending") == "termination-delay"
        assert {result["result"] for result in results.values()} == {"done"}
        statuses = [document["status"] for _, document in world.ding.instances.values()]
        assert statuses == ["TERMINATED", "COMPLETED"]
        assert world.ding.todos["T-1"]["isDone"]

    run(story())


async def test_nobody_acts_in_a_name_that_the_owners_file_does_not_list():
    world = await opened(World(originators=["*", "wang"], actors=[]))
    await world.send("approval.start", "A-1")
    await world.send("approval.start", "A-2", originator="wang")
    await world.work()
    await world.send("approval.decide", "D-1", request="A-2")
    await world.send("approval.terminate", "E-1", request="A-2", originator="li")
    await world.work()
    results = {one["id"]: one for one in await world.results()}
    await world.database.close()
    assert {id_: one["result"] for id_, one in results.items()} == {
        "A-1": "refused", "A-2": "done", "D-1": "refused", "E-1": "refused"
    }  # fmt: skip
    assert 'add "zhang" to originators of [templates."PROC-A"]' in results["A-1"]["words"]
    assert 'add "li" to actors of [templates."PROC-A"]' in results["D-1"]["words"]
    [(_, document)] = world.ding.instances.values()
    assert document["status"] == "RUNNING"


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


async def test_a_lost_decision_is_not_made_again_of_the_same_persons_next_task():
    """The message speaks of one decision. The reply is lost, and the flow comes to the same person again."""
    world = await opened(World())
    await world.send("approval.start", "A-1")
    await world.work()
    [(_, document)] = world.ding.instances.values()
    decided = []

    async def decide(instance_id, *, task_id, **_):
        decided.append(task_id)
        document["tasks"][0] |= {"status": "COMPLETED", "result": "AGREE"}
        document["tasks"].append(
            {"taskId": 61000000002, "userId": "li", "status": "RUNNING", "result": "NONE"}
        )
        raise OutcomeUnknown("no answer", api="x")

    world.ding.decide_approval = decide
    await world.send("approval.decide", "D-1")
    await world.work()
    [*_, last] = await world.results()
    await world.database.close()
    assert (decided, last["result"]) == ([61000000001], "done")


@pytest.mark.parametrize("gone", [False, True])
async def test_nothing_is_done_in_the_name_of_whoever_has_the_userid_now(gone):
    """The row's person was replaced a moment ago, and no event has come yet."""
    world = await opened(World(originators=["*"], actors=["*"]))
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
    await world.work(2)
    await world.send("approval.decide", "D-1")
    await world.work(4)
    results = {one["id"]: (one["result"], one.get("reason")) for one in await world.results()}
    [(_, document)] = world.ding.instances.values()
    await world.database.close()
    waits = ("pending", "user-missing")
    assert results == {"A-1": ("done", None), "A-2": waits, "D-1": waits}
    assert document["status"] == "RUNNING"


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
    await world.send("approval.decide", "D-1", request="A-1")
    await world.work(3)
    [*_, last] = await world.results()
    assert (last["id"], last["result"], last["reason"]) == ("D-1", "pending", "approval-limit")
    world.ms += DAY_MS
    await world.work()
    [*_, last] = await world.results()
    await world.database.close()
    assert (last["id"], last["result"]) == ("D-1", "done")


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
    await world.send("approval.decide", "D-1")
    await world.work(3)
    counts, since_ms = await standing(world.database.reader())
    assert (counts["requests"], since_ms < world.ms) == (1, True)
    world.ms += PENDING_MOST_MS
    await world.work()
    told = [(result["result"], result.get("reason")) for result in await world.results()]
    await world.database.close()
    assert told == [("pending", "request-missing"), ("refused", None)]


def test_an_open_task_comes_before_what_its_person_decided_earlier():
    done = {"taskId": 1, "userId": "li", "status": "COMPLETED", "result": "AGREE"}
    opened_task = {"taskId": 2, "userId": "li", "status": "RUNNING", "result": "NONE"}
    for tasks in ([done, opened_task], [opened_task, done]):
        assert task_of({"tasks": tasks}, "li") == (2, None)
    assert task_of({"tasks": [done]}, "li") == (None, "agree")
    assert task_of({"tasks": [opened_task]}, "wang") == (None, None)
    assert task_of({"tasks": [done, opened_task]}, "li", begun=1) == (None, "agree")
    assert task_of({"tasks": [done, opened_task]}, "li", begun=2) == (2, None)


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
        world.ms += 400_000
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
    for number in range(30):
        world.ms += 150_000
        await world.work(2)
        world.ms += 1000
        await world.send("approval.start", f"A-{number}", originator="nobody may")
        await world.work(2)
    results = {one["id"] for one in await world.results()}
    await world.database.close()
    assert len(results) == 30
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

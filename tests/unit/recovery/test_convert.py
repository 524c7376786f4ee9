"""What an item of a failed list becomes, against the pushes of the simulator and against poor captures."""

import asyncio
import json
from collections import Counter
from random import Random
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from dingbridge.errors import KafkaUnavailable, SettingsError
from dingbridge.events import Received, decode, to_records
from dingbridge.ingress.metrics import RecoveryMetrics
from dingbridge.ingress.recovery import apps as module
from dingbridge.ingress.recovery.apps import Recovery
from dingbridge.ingress.recovery.convert import convert_item
from dingbridge.ingress.recovery.poller import Result
from dingbridge.settings import IngressSettings
from dingbridge.settings.apps import App, with_failed_lists
from dingbridge.simulator.company.events import failed_item
from dingbridge.simulator.company.platform import ARGUMENTS, Platform
from dingbridge.simulator.errors import ActionError
from dingbridge.simulator.pushes.failed import FailedList
from dingbridge.tasks import WatchedTasks
from tests.support.waiting import eventually
from tests.unit.recovery.memory import Process

AT = 1_731_000_000_000


def events(generation, *, count=400):
    platform = Platform(seed=5, users=30, departments=6, generation=generation)
    found, draw = [], Random(5)
    names = sorted(ARGUMENTS)
    while len(found) < count:
        try:
            found += platform.act(draw.choice(names))
        except ActionError:
            continue
    return found


def records(body, via="failed-list"):
    received = Received(1, "j1", AT, "default", via, body)
    return [decode(record.value) for record in to_records(received)]


def test_the_order_of_an_items_names_means_nothing():
    draw = Random(3)

    def shuffled(value):
        if not isinstance(value, dict):
            return value
        names = draw.sample(sorted(value), len(value))
        return {name: shuffled(value[name]) for name in names}

    for event in events("old", count=200):
        item = failed_item(event)
        converted, again = convert_item(item), convert_item(shuffled(item))
        assert (again.event_type, again.corp_id, again.time_ms) == (
            converted.event_type,
            converted.corp_id,
            converted.time_ms,
        )
        assert json.loads(again.body) == json.loads(converted.body)
        if not event.event_type.startswith("bpms_"):  # these stand whole in their item, in its order
            assert again.body == converted.body


@pytest.mark.parametrize("at", ["outside", "inside"])
def test_an_event_id_makes_it_the_same_event_as_the_push(at):
    for event in events("new", count=200):
        pushed = [e.id for e in records(event.plaintext(), "http")]
        assert not set(pushed) & {e.id for e in records(convert_item(failed_item(event)).body)}
        item = failed_item(event)
        content = item[event.event_type]
        inner = next((content[n] for n in content if isinstance(content[n], dict)), content)
        (inner if at == "inside" else content)["eventId"] = event.payload["eventId"]
        assert [e.id for e in records(convert_item(item).body)] == pushed


def test_two_that_differ_in_their_time_alone_are_two_events():
    """Type, company and subject are no identity: a false repeat would be a loss."""
    item = {"event_time": AT, "call_back_tag": "user_modify_org", "user_modify_org": {"userid": ["u1"]}}
    [one], [other] = (records(convert_item(item | {"event_time": at}).body) for at in (AT, AT + 1000))
    assert one.id != other.id
    assert one.envelope["rebuilt"] == "true"


@pytest.mark.parametrize("generation", ["old", "new"])
def test_it_names_the_same_type_subject_and_company_whatever_the_form(generation):
    for event in events(generation):
        pushed = records(event.plaintext(), "http")
        recovered = records(convert_item(failed_item(event)).body)
        facts = [(e.event_type, e.subject, e.corp_id, e.partitionkey) for e in pushed]
        assert [(e.event_type, e.subject, e.corp_id, e.partitionkey) for e in recovered] == facts
        assert {e.via for e in recovered} == {"failed-list"}
        if event.event_type.startswith("bpms_"):
            for name in ("type", "result", "taskId", "processCode"):
                assert [e.data.get(name) for e in recovered] == [e.data.get(name) for e in pushed]


@pytest.mark.parametrize(
    ("item", "part", "corp"),
    [
        ({"user_modify_org": "{corpid=ding1}", "call_back_tag": "user_modify_org"}, "contacts", "ding1"),
        ({"user_modify_org": {"corpid": "ding1"}}, "contacts", "ding1"),
        ({"user_leave_org": {"userid": [], "corpid": "ding1"}, "event_time": AT}, "contacts", "ding1"),
        ({"org_dept_create": {"callbackData": {}, "corpid": "ding1"}}, "contacts", "ding1"),
        ({"label_user_change": {"roleLabelChange": {}, "corpid": "ding1"}}, "contacts", "ding1"),
        ({"bpms_task_change": {"bpmsCallBackData": {}, "corpid": "ding1"}}, "approvals", "ding1"),
        ({"bpms_instance_change": "gone"}, "approvals", None),
    ],
)
def test_an_item_without_ids_is_a_resync_request(item, part, corp):
    converted = convert_item(item)
    assert converted.body is None
    assert (converted.resync, converted.corp_id) == (part, corp)


@pytest.mark.parametrize("item", [{"item": "{corpid=ding1}"}, {}, {"item": None}, {"corpid": "ding1"}])
def test_what_names_no_type_is_kept_as_it_is_and_everybody_looks(item):
    converted = convert_item(item)
    assert json.loads(converted.body) == item
    assert converted.resync == "all"
    assert [e.event_type for e in records(converted.body)] == ["unclassified"]


def test_an_unknown_tag_flows_with_all_that_it_says():
    item = {
        "brand_new_thing": {"callbackData": {"thingId": 7, "deep": {"a": [1]}}, "corpid": "ding1"},
        "call_back_tag": "brand_new_thing",
        "event_time": AT,
    }
    [event] = records(convert_item(item).body)
    assert (event.event_type, event.corp_id) == ("brand_new_thing", "ding1")
    assert event.data["thingId"] == 7
    assert event.data["deep"] == {"a": [1]}
    assert event.time.timestamp() * 1000 == AT


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


names = st.sampled_from(
    ["call_back_tag", "event_time", "user_add_org", "corpid", "bpms_task_change", "new_one", "item"]
)


@given(st.dictionaries(names, json_values, max_size=4))
def test_whatever_dingtalk_lists_something_becomes_of_it(item):
    converted = convert_item(item)
    assert converted.body is not None or converted.resync is not None
    if converted.body is not None:
        assert records(converted.body)


# -- Recovery of several apps: each for itself, while they come and go


def app(name, key=None, secret="a-secret", **values):
    return App(name, (), (), f"ding{name}" if key is None else key, secret, **values)


def by_name(*apps):
    return {one.name: one for one in apps}


class Stack:
    """A recovery whose apps are stand-ins. ``outcomes``: what an app's run gives; ``log``: what they did."""

    def __init__(self, monkeypatch, *apps):
        self.apps, self.outcomes, self.log = by_name(*apps), {}, []
        self.registry = CollectorRegistry()
        stack = self

        class One:
            def __init__(self, app, *_):
                self.app = app
                self.poller = SimpleNamespace(read_at_s=1000.0)
                stack.log.append(("start", self.app.name, self.app.app_secret))

            async def stop(self, within_s):
                stack.log.append(("stop", self.app.name, self.app.app_secret))

            async def run(self):
                outcome = stack.outcomes.get(self.app.name) or Result()
                if isinstance(outcome, Exception):
                    raise outcome
                return outcome

        monkeypatch.setattr(module, "AppRecovery", One)
        monkeypatch.setattr("dingbridge.ingress.per_app.EVERY_S", 0.01)
        self.recovery = Recovery(
            IngressSettings.model_construct(),
            lambda: self.apps,
            Process(FailedList()),
            RecoveryMetrics(self.registry),
        )
        self.recovery._tasks = None

    @property
    def last_success_s(self):
        return self.registry.get_sample_value("dingbridge_recovery_last_success_timestamp_seconds")


def test_a_list_is_read_once_and_of_the_others_it_is_said_why_not():
    apps = by_name(
        app("default"), app("hr"), app("again", "dinghr"), app("isv", suite=True), app("bare", "", None)
    )
    read, unread = with_failed_lists(apps)
    assert list(read) == ["default", "hr"]
    assert list(unread) == ["again", "isv", "bare"]
    assert "hr" in unread["again"]


async def test_what_fails_with_one_app_holds_up_no_other(monkeypatch):
    stack = Stack(monkeypatch, app("hr"), app("sales"), app("isv", suite=True))
    stack.outcomes["hr"] = KafkaUnavailable("no broker")
    stack.outcomes["sales"] = Result(pages=1, items=3, types=Counter(check_in=3))
    answer = await stack.recovery.verb({})
    sales = answer["sales"]
    assert (sales["pages"], sales["items"], sales["types"]) == (1, 3, {"check_in": 3})
    assert answer["hr"] == {"failed": "no broker"}
    assert list(answer["isv"]) == ["unread"]
    assert list(await stack.recovery.verb({"app": "sales"})) == ["sales"]


async def test_an_app_that_is_not_read_is_refused_with_the_reason(monkeypatch):
    stack = Stack(monkeypatch, app("isv", suite=True))
    for options, words in (
        ({}, "isv: it is a suite"),
        ({"app": "isv"}, "it is a suite"),
        ({"app": "x"}, "none"),
    ):
        with pytest.raises(SettingsError, match=words):
            await stack.recovery.verb(options)


async def test_of_several_apps_the_metrics_tell_of_the_one_furthest_behind(monkeypatch):
    async with WatchedTasks() as tasks:
        await measure_apps(monkeypatch, tasks)


async def measure_apps(monkeypatch, tasks):
    stack = Stack(monkeypatch, app("hr"), app("sales"))
    assert stack.last_success_s == 0
    stack.recovery.start(tasks)
    await eventually(lambda: len(stack.log) == 2, 10, "both have come")
    stack.recovery.each["hr"].poller.read_at_s = 2000.0
    assert stack.last_success_s == 1000.0
    stack.apps = by_name(app("hr"))
    await eventually(lambda: stack.last_success_s == 2000.0, 10, "sales is gone")
    stack.apps = {}
    await eventually(lambda: stack.last_success_s == 0, 10, "nothing is read any more")
    await asyncio.wait_for(stack.recovery.stop(1), 5)

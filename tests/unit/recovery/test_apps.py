"""Recovery of several apps: each for itself, while they come and go."""

import asyncio
from collections import Counter
from types import SimpleNamespace

import pytest
import structlog
from prometheus_client import CollectorRegistry

from dingbridge.errors import BridgeError, KafkaUnavailable, SettingsError
from dingbridge.ingress.metrics import RecoveryMetrics
from dingbridge.ingress.recovery import apps as module
from dingbridge.ingress.recovery.apps import Recovery
from dingbridge.ingress.recovery.poller import Result
from dingbridge.settings import IngressSettings
from dingbridge.settings.apps import App, with_failed_lists
from dingbridge.simulator.pushes.failed import FailedList
from dingbridge.tasks import WatchedTasks
from tests.support.waiting import eventually
from tests.unit.recovery.memory import Process


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
                self.poller = SimpleNamespace(read_at_s=0.0, oldest_s=0.0)

            def start(self, tasks):
                stack.log.append(("start", self.app.name, self.app.app_secret))
                self.poller.read_at_s = 1000.0

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

    @property
    def last_success_s(self):
        return self.registry.get_sample_value("dingbridge_recovery_last_success_timestamp_seconds")

    @property
    def oldest_s(self):
        return self.registry.get_sample_value("dingbridge_recovery_oldest_seconds")


def test_a_list_is_read_once_and_of_the_others_it_is_said_why_not():
    apps = by_name(
        app("default"), app("hr"), app("again", "dinghr"), app("isv", suite=True), app("bare", "", None)
    )
    read, unread = with_failed_lists(apps)
    assert list(read) == ["default", "hr"]
    assert list(unread) == ["again", "isv", "bare"]
    assert "hr" in unread["again"]


async def test_apps_that_come_go_or_change_are_followed(monkeypatch):
    async with WatchedTasks() as tasks:
        await follow_apps(monkeypatch, tasks)


async def follow_apps(monkeypatch, tasks):
    stack = Stack(monkeypatch, app("hr"), app("isv", suite=True))
    with structlog.testing.capture_logs() as logs:
        stack.recovery.start(tasks)
        await eventually(lambda: stack.log, 10, "hr has come")
    assert [(log["event"], log["app"]) for log in logs] == [("recovery.off", "isv")]
    assert stack.log == [("start", "hr", "a-secret")]
    stack.apps = by_name(app("hr"), app("sales"))
    await eventually(lambda: len(stack.log) == 2, 10, "sales has come")
    stack.apps = by_name(app("hr", secret="another"))
    await eventually(lambda: len(stack.log) == 5, 10, "sales is gone, and hr has changed")
    assert stack.log[1] == ("start", "sales", "a-secret")
    assert sorted(stack.log[2:]) == [
        ("start", "hr", "another"),
        ("stop", "hr", "a-secret"),
        ("stop", "sales", "a-secret"),
    ]
    await stack.recovery.stop(1)
    assert stack.log[5:] == [("stop", "hr", "another")]


async def test_what_fails_with_one_app_holds_up_no_other(monkeypatch):
    stack = Stack(monkeypatch, app("hr"), app("sales"), app("isv", suite=True))
    stack.outcomes["hr"] = KafkaUnavailable("no broker")
    stack.outcomes["sales"] = Result(pages=1, items=3, types=Counter(check_in=3))
    answer = await stack.recovery.verb({})
    assert (answer["pages"], answer["items"], answer["types"]) == (1, 3, {"check_in": 3})
    assert answer["failed"] == {"hr": "no broker"}
    assert list(answer["unread"]) == ["isv"]
    assert "failed" not in await stack.recovery.verb({"app": "sales"})
    with pytest.raises(KafkaUnavailable):
        await stack.recovery.verb({"app": "hr"})
    stack.outcomes["sales"] = KafkaUnavailable("nor here")
    with pytest.raises(BridgeError, match="hr: no broker; sales: nor here"):
        await stack.recovery.verb({})


async def test_several_that_are_read_add_up(monkeypatch):
    stack = Stack(monkeypatch, app("hr"), app("sales"))
    stack.outcomes["hr"] = Result(pages=2, items=201, types=Counter(check_in=201))
    stack.outcomes["sales"] = Result(pages=1, items=4, types=Counter(check_in=1, user_add_org=3))
    answer = await stack.recovery.verb({})
    assert (answer["pages"], answer["items"]) == (3, 205)
    assert answer["types"] == {"check_in": 202, "user_add_org": 3}


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
    assert (stack.last_success_s, stack.oldest_s) == (0, 0)
    stack.recovery.start(tasks)
    await eventually(lambda: len(stack.log) == 2, 10, "both have come")
    hr, sales = (stack.recovery.each[name].poller for name in ("hr", "sales"))
    hr.read_at_s, hr.oldest_s, sales.oldest_s = 2000.0, 60.0, 5.0
    assert (stack.last_success_s, stack.oldest_s) == (1000.0, 60.0)
    stack.apps = by_name(app("hr"))
    await eventually(lambda: stack.last_success_s == 2000.0, 10, "sales is gone")
    stack.apps = {}
    await eventually(lambda: stack.last_success_s == 0, 10, "nothing is read any more")
    assert stack.oldest_s == 0
    await asyncio.wait_for(stack.recovery.stop(1), 5)

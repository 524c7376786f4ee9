import math
from collections.abc import Sequence
from datetime import timedelta
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from dingbridge import Consumer, DependencyUnavailable, Event, Retry, Transaction
from dingbridge.errors import SettingsError
from dingbridge.worker import registry
from dingbridge.worker.registry import Family, UnknownConsumer, known_consumers, load_consumer


@pytest.mark.parametrize("name", ["", "Billing", "a_b", "a.b", "ü", "x" * 101])
def test_a_name_that_cannot_be_a_group_is_refused_when_the_class_is_made(name: str) -> None:
    with pytest.raises(ValueError, match="a-z, 0-9 and -"):
        type("Bad", (Consumer,), {"name": name, "topics": ["x"]})


def test_topics_as_one_text_is_refused() -> None:
    with pytest.raises(ValueError, match="it is a list"):
        type("Bad", (Consumer,), {"name": "ok", "topics": "user_add_org"})


@pytest.mark.parametrize("topic", ["dingtalk.user_add_org", "user_add_org ", "", "x" * 201])
def test_a_topic_that_is_no_event_type_is_refused_when_the_class_is_made(topic: str) -> None:
    with pytest.raises(ValueError, match="is no EventType: they have no prefix"):
        type("Bad", (Consumer,), {"name": "ok", "topics": ["user_add_org", topic]})


@pytest.mark.parametrize("topic", ["ctl-dingtalk.changes", "Changes", "", "x" * 101])
def test_a_control_topic_of_another_form_is_refused_when_the_class_is_made(topic: str) -> None:
    with pytest.raises(ValueError, match="is no control topic: they have no prefix"):
        type("Bad", (Consumer,), {"name": "ok", "topics": [], "control_topics": ["changes", topic]})


@pytest.mark.parametrize("after", [timedelta(minutes=5), "30", math.nan, math.inf, -1])
@pytest.mark.parametrize("outcome", [Retry, DependencyUnavailable])
def test_a_wait_that_cannot_be_waited_is_its_authors_error(outcome: Any, after: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="after is a number of seconds"):
        outcome("later", after=after)
    assert outcome("later", after=0).retry_after_s == 0


def test_dingtalk_without_credentials_says_which_settings() -> None:
    class Needy(Consumer):
        name = "needy"

    with pytest.raises(SettingsError, match="DINGTALK_APP_KEY"):
        _ = Needy().dingtalk


def test_installed_consumers_are_found_by_entry_point() -> None:
    assert {"address-sync", "approval"} <= set(known_consumers())
    assert load_consumer("approval").name == "approval"


def test_an_unknown_name_lists_those_known() -> None:
    with pytest.raises(UnknownConsumer, match="address-sync, approval"):
        load_consumer("biling")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("no.such.module:Thing", "cannot be imported"),
        ("json:dumps", "not a subclass"),
        ("tests.unit.worker.support:Recording", "calls itself 'recording'"),
        ("dingbridge:Mirror", "has no name; set the class's `name`"),
    ],
)
def test_an_entry_point_that_is_no_such_consumer_is_said(
    monkeypatch: pytest.MonkeyPatch, value: str, words: str
) -> None:
    point = EntryPoint("other", value, registry.GROUP)
    monkeypatch.setattr(registry, "_found", lambda: {"other": point})
    with pytest.raises(UnknownConsumer, match=words):
        load_consumer("other")
    assert known_consumers() == {}


class TestFamily:
    """An entry point that stands for several consumers."""

    @pytest.fixture(autouse=True)
    def _installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        points = {
            "many": EntryPoint("many", f"{__name__}:MANY", registry.GROUP),
            "broken": EntryPoint("broken", f"{__name__}:BROKEN", registry.GROUP),
            "one": EntryPoint("one", f"{__name__}:One", registry.GROUP),
        }
        monkeypatch.setattr(registry, "_found", lambda: points)

    def test_each_member_is_a_consumer_of_its_own(self) -> None:
        assert load_consumer("many-a").topics == ("a",)
        assert load_consumer("many-b-c").topics == ("b-c",)
        assert set(known_consumers()) == {"many-a", "many-b-c", "one"}

    def test_the_family_itself_is_no_member(self) -> None:
        with pytest.raises(UnknownConsumer, match="no member many"):
            load_consumer("many")

    def test_a_member_that_is_not_declared_is_said(self) -> None:
        with pytest.raises(UnknownConsumer, match="no member x"):
            load_consumer("many-x")

    def test_mistakes_in_its_settings_are_told(self) -> None:
        with pytest.raises(SettingsError, match="WHATEVER: not set"):
            load_consumer("broken-a")

    def test_a_single_consumer_has_no_members(self) -> None:
        assert load_consumer("one").topics == ("x",)
        with pytest.raises(UnknownConsumer, match="there is no consumer 'one-a'"):
            load_consumer("one-a")


class One(Consumer):
    name = "one"
    topics = ("x",)

    async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None: ...


def _make(name: str) -> type[Consumer]:
    member = name.removeprefix("many-")
    if member not in ("a", "b-c"):
        raise UnknownConsumer(f"no member {member}")
    return type("Member", (One,), {"name": name, "topics": (member,)})


def _mistaken(*_: str) -> Sequence[str]:
    raise SettingsError(["WHATEVER: not set"])


MANY = Family(names=lambda: ["many-a", "many-b-c"], make=_make)
BROKEN = Family(names=_mistaken, make=_mistaken)  # type: ignore[arg-type]

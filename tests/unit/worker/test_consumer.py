"""A consumer's class: how it is found, which method gets which event, and what is refused."""

import math
from collections.abc import Sequence
from datetime import timedelta
from importlib.metadata import EntryPoint
from typing import Any

import orjson
import pytest

from dingbridge import Consumer, Context, DependencyUnavailable, Event, Retry, Transaction, on
from dingbridge.errors import SettingsError
from dingbridge.events import catalogue
from dingbridge.events.catalogue import class_name
from dingbridge.events.control import RESYNC_REQUESTED, resync_requested
from dingbridge.generated import payloads
from dingbridge.testing import MemoryRuntime
from dingbridge.worker import registry
from dingbridge.worker.handlers.marks import handlers_of
from dingbridge.worker.registry import Family, UnknownConsumer, known_consumers, load_consumer
from tests.unit.worker.support import Recording, effects, record


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


FOREIGN = {"specversion": "1.0", "id": "1", "source": "/erp", "data": {}}


class Heard(Consumer):
    """Remembers which of its handlers was called with which event."""

    uses_database = False

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []

    def hear(self, handler: str, event: Event) -> None:
        self.heard.append((handler, event.id))


class Both(Heard):
    name = "both"
    topics = ("user_leave_org",)

    @on(payloads.UserAddOrg)
    async def added(self, event: Event, tx: Transaction, prepared: Any) -> None:
        self.hear("added", event)

    @on(payloads.UserModifyOrg)
    @on("user_active_org")
    async def changed(self, event: Event, tx: Transaction, prepared: Any) -> None:
        self.hear("changed", event)

    async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
        self.hear("handle", event)


async def test_an_event_goes_to_the_handler_of_its_type_and_to_handle_without_one() -> None:
    types = ("user_add_org", "user_modify_org", "user_active_org", "user_leave_org")
    async with MemoryRuntime(consumer := Both()) as runtime:
        for event_type in types:
            assert (await runtime.deliver(record(event_type=event_type))).kind == "done"
        handlers = ("added", "changed", "changed", "handle")
        ids = [record(event_type=event_type).id for event_type in types]
        assert consumer.heard == list(zip(handlers, ids, strict=True))
        assert consumer.topics == ("user_leave_org", "user_add_org", "user_modify_org", "user_active_org")


async def test_a_handler_writes_in_the_transaction_of_the_inbox_row() -> None:
    class Writing(Recording):
        async def prepare(self, event: Event, ctx: Any) -> str:
            return f"prepared for {event.subject}"

        @on("user_modify_org")
        async def modified(self, event: Event, tx: Transaction, prepared: str) -> None:
            await tx.execute(effects.insert().values(event_id=event.id, subject=prepared))

    async with MemoryRuntime(Writing()) as runtime:
        kinds = [(await runtime.deliver(record("e1"))).kind for _ in range(2)]
        assert kinds == ["done", "seen"]
        assert [row.subject for row in await runtime.rows(effects.select())] == ["prepared for u1"]


class Prepared(Heard):
    """Looks in three ways: for the class, for one event, and not at all."""

    name = "prepared"

    async def prepare(self, event: Event, ctx: Context) -> str:
        self.hear("prepare", event)
        return "for the class"

    async def look(self, event: Event, ctx: Context) -> str:
        self.hear("look", event)
        return "for this one"

    @on("user_modify_org", prepare=look)
    @on("user_active_org")
    async def changed(self, event: Event, tx: Transaction, prepared: str) -> None:
        self.hear(f"changed {prepared}", event)

    @on("user_leave_org", prepare=None)
    async def left(self, event: Event, tx: Transaction, prepared: None) -> None:
        self.hear(f"left {prepared}", event)


class Overridden(Prepared):
    async def look(self, event: Event, ctx: Context) -> str:
        return "otherwise"


@pytest.mark.parametrize(
    ("consumer", "event_type", "heard"),
    [
        (Prepared, "user_active_org", ["prepare", "changed for the class"]),
        (Prepared, "user_modify_org", ["look", "changed for this one"]),
        (Prepared, "user_leave_org", ["left None"]),
        (Overridden, "user_modify_org", ["changed otherwise"]),
    ],
)
@pytest.mark.parametrize("database", [True, False])
async def test_what_prepares_for_an_event_is_said_by_its_on(
    consumer: type[Prepared], event_type: str, heard: list[str], database: bool
) -> None:
    one = type("One", (consumer,), {"uses_database": database})()
    async with MemoryRuntime(one) as runtime:
        assert (await runtime.deliver(record(event_type=event_type))).kind == "done"
    assert [what for what, _ in one.heard] == heard


async def test_a_subclass_changes_a_handler_by_its_name_and_takes_a_type_by_on() -> None:
    class Other(Both):
        async def added(self, event: Event, tx: Transaction, prepared: Any) -> None:
            self.hear("its own", event)

        @on("user_modify_org")
        async def modified(self, event: Event, tx: Transaction, prepared: Any) -> None:
            self.hear("modified", event)

    async with MemoryRuntime(consumer := Other()) as runtime:
        for event_type in ("user_add_org", "user_modify_org", "user_active_org"):
            await runtime.deliver(record(event_type=event_type))
    assert [handler for handler, _ in consumer.heard] == ["its own", "modified", "changed"]


async def test_another_senders_event_is_not_taken_for_dingtalks() -> None:
    class Controlled(Both):
        name = "controlled"
        control_topics = ("orders",)

        @on("com.example.order")
        async def ordered(self, event: Event, tx: Transaction, prepared: Any) -> None:
            self.hear("ordered", event)

    assert "com.example.order" not in Controlled.topics
    async with MemoryRuntime(consumer := Controlled()) as runtime:
        for type_ in ("com.example.order", "user_add_org", "com.example.other"):
            assert (await runtime.deliver({**FOREIGN, "type": type_})).kind == "done"
    assert [handler for handler, _ in consumer.heard] == ["ordered", "handle", "handle"]


async def test_a_resync_request_can_have_a_handler() -> None:
    class Looking(Heard):
        name = "looking"

        @on("user_add_org")
        async def added(self, event: Event, tx: Transaction, prepared: Any) -> None:
            self.hear("added", event)

        @on(RESYNC_REQUESTED)
        async def look(self, event: Event, tx: Transaction, prepared: Any) -> None:
            self.hear("look", event)

    request = resync_requested(
        id="w1", app="default", corp_id="dingcorp1", now_ms=2, since_ms=1, part="all", reason="lost"
    )
    assert Looking.topics == ("user_add_org",)
    async with MemoryRuntime(consumer := Looking()) as runtime:
        assert (await runtime.deliver(orjson.loads(request.value))).kind == "done"
    assert consumer.heard == [("look", "w1")]


async def test_an_event_that_nobody_handles_is_rejected_in_words() -> None:
    class Narrow(Heard):
        name = "narrow"

        @on("user_add_org")
        async def added(self, event: Event, tx: Transaction, prepared: Any) -> None: ...

    async with MemoryRuntime(Narrow()) as runtime:
        outcome = await runtime.deliver(record(event_type="user_leave_org"))
    assert outcome.kind == "reject"
    assert "no handler for events of this type" in str(outcome.error)


def test_every_known_event_type_has_a_class_that_on_takes_for_its_name() -> None:
    named: dict[str, set[str]] = {}
    for event_type in catalogue:
        handler = on(getattr(payloads, class_name(event_type)))(_handler())
        found = handlers_of(type("One", (), {"handler": handler}))
        named[event_type] = {*found, *handlers_of(type("Two", (), {"handler": on(event_type)(_handler())}))}
    assert named == {event_type: {event_type} for event_type in catalogue}


def _handler() -> Any:
    async def handler(self: Any, event: Event, tx: Transaction, prepared: Any) -> None: ...

    return handler


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        *(({"name": name}, "a-z, 0-9 and -") for name in ("", "Billing", "a_b", "a.b", "ü", "x" * 101)),
        ({"topics": "user_add_org"}, "it is a list"),
        *(
            ({"topics": ["user_add_org", topic]}, "is no EventType: they have no prefix")
            for topic in ("dingtalk.user_add_org", "user_add_org ", "", "x" * 201)
        ),
        *(
            ({"control_topics": ["changes", topic]}, "is no control topic: they have no prefix")
            for topic in ("ctl-dingtalk.changes", "Changes", "", "x" * 101)
        ),
        ({"a": on("x")(_handler()), "b": on("x")(_handler())}, "two handlers for x: a and b"),
        ({"a": on("dingtalk.x")(_handler())}, "is no EventType: they have no prefix"),
        ({"a": on("x")(_handler()), "topics": ("y", "z")}, "reads y, z, and has neither"),
        ({"topics": ("y",)}, "reads y, and has neither"),
        ({"new_event_types": "y"}, r"new_event_types is one text; it is a list, as \['y'\]"),
        ({"fetches": _handler()}, "fetches is not awaited; write `def fetches`"),
        ({"auto_offset_reset": "newest"}, "auto_offset_reset is 'newest'; it is one of earliest, latest"),
        ({"a": on("x", prepare=_handler())(_handler())}, "prepare=handler, and the class has no method"),
        ({"handle": lambda self, event, tx, prepared: None}, "handle is no coroutine.*`async def handle`"),
        ({"prepare": lambda self, event, ctx: None}, "prepare is no coroutine"),
        ({"start": lambda self: None}, "start is no coroutine"),
        ({"not_retryable": KeyError}, "a tuple of exceptions"),
        ({"not_retryable": (KeyboardInterrupt,)}, "a tuple of exceptions"),
    ],
)
def test_what_cannot_work_is_refused_when_the_class_is_made(attributes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        type("Bad", (Consumer,), {"name": "bad", "topics": [], **attributes})


@pytest.mark.parametrize(
    ("given", "more", "words"),
    [
        *(
            (given, {}, "on needs the class of an EventType")
            for given in ("", None, _handler(), type("UserAddOrg", (), {}), payloads.UserAddOrgUnionEmpExt)
        ),
        *(
            ("user_add_org", {"prepare": prepare}, r"needs a method of the class.*(look'|<lambda>) is not$")
            for prepare in ("look", lambda self, event, ctx: None)
        ),
    ],
)
def test_on_is_refused_for_what_cannot_be_called(given: Any, more: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        on(given, **more)
    with pytest.raises(TypeError, match="is no `async def`"):
        on("user_add_org")(lambda self, event, tx, prepared: None)


# -- What a handler is given beside its event

"""``@on``: which method gets which event, and what is refused when the class is made."""

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from dingbridge import Consumer, Context, Event, Transaction, on
from dingbridge.events import catalogue
from dingbridge.events.control import RESYNC_REQUESTED, resync_requested
from dingbridge.generated import payloads
from dingbridge.testing import MemoryRuntime
from tests.unit.worker.support import record

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

    @on("user_add_org")
    async def added(self, event: Event, tx: Transaction, prepared: Any) -> None:
        self.hear("added", event)

    @on("user_modify_org")
    @on("user_active_org")
    async def changed(self, event: Event, tx: Transaction, prepared: Any) -> None:
        self.hear("changed", event)

    async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
        self.hear("handle", event)


@pytest.mark.parametrize(
    ("event_type", "handler"),
    [
        ("user_add_org", "added"),
        ("user_modify_org", "changed"),
        ("user_active_org", "changed"),
        ("user_leave_org", "handle"),
    ],
)
async def test_an_event_goes_to_the_handler_of_its_type_and_to_handle_without_one(
    event_type: str, handler: str
) -> None:
    async with MemoryRuntime(consumer := Both()) as runtime:
        sent = record(event_type=event_type)
        assert (await runtime.deliver(sent)).kind == "done"
        assert consumer.heard == [(handler, sent.id)]


def test_what_there_are_handlers_for_is_read() -> None:
    assert Both.topics == ("user_leave_org", "user_add_org", "user_modify_org", "user_active_org")


async def test_a_handler_writes_in_the_transaction_of_the_inbox_row() -> None:
    from tests.unit.worker.support import Recording, effects

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


def test_every_known_event_type_has_a_type_of_its_own() -> None:
    stub = Path(payloads.__file__).with_name("on.pyi").read_text()
    typed = re.findall(r"event_type: (.+),\n.+\n.+\n.+Prepares\[(?:payloads\.)?(.+), Prepared_\]", stub)
    *known, (last, _) = typed
    assert last == "str", "a type of next month is an EventType too"
    assert [name for name, _ in known] == [f'Literal["{name}"]' for name in catalogue]
    names = [made for _, made in known]
    assert len(set(names)) == len(names)
    assert set(names) <= vars(payloads).keys()


def _handler() -> Any:
    async def handler(self: Any, event: Event, tx: Transaction, prepared: Any) -> None: ...

    return handler


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
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
        type("Bad", (Consumer,), {"name": "bad", **attributes})


@pytest.mark.parametrize("given", ["", None, _handler()])
def test_on_without_an_event_type_is_its_authors_error(given: Any) -> None:
    with pytest.raises(TypeError, match="on needs an EventType"):
        on(given)


def test_a_handler_that_cannot_be_awaited_is_its_authors_error() -> None:
    with pytest.raises(TypeError, match="is no `async def`"):
        on("user_add_org")(lambda self, event, tx, prepared: None)


def test_a_method_that_prepares_is_given_itself_and_can_be_awaited() -> None:
    for given in ("look", lambda self, event, ctx: None):
        with pytest.raises(TypeError, match=r"needs a method of the class.*(look'|<lambda>) is not$"):
            on("user_add_org", prepare=given)

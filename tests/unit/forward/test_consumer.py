"""What a system gets, and what happens to an event by its answer; the sender is replaced."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from dingbridge import DependencyUnavailable, Event, Outcome, Reject
from dingbridge.consumers.forward import consumer as module
from dingbridge.consumers.forward.consumer import Forward, consumer_of
from dingbridge.consumers.forward.event_filter import EventFilter
from dingbridge.consumers.forward.policy import Answer
from dingbridge.events.envelope import Received, to_records
from dingbridge.events.event import Sent, decode
from dingbridge.ssrf import AddressGuard
from dingbridge.testing import MemoryRuntime
from tests.unit.forward.support import SECRET, event, system

TAKEN = Answer("taken", "it answered 200", status=200)
FAILED = Answer("failed", "it answered 500", status=500)


class Sender:
    """Answers with what ``answers`` holds, then takes all."""

    def __init__(self, *_: Any) -> None:
        self.answers: list[Answer] = []
        self.sent: list[tuple[str, str, bytes]] = []

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def post(
        self,
        message_id: str,
        content_type: str,
        body: bytes,
        *,
        replay_id: str = "",
    ) -> Answer:
        self.sent.append((message_id, content_type, body))
        return self.answers.pop(0) if self.answers else TAKEN


class Running:
    def __init__(self, runtime: MemoryRuntime, forward: Forward) -> None:
        self.runtime, self.forward = runtime, forward
        self.sender: Sender = forward._sender  # type: ignore[assignment]

    async def deliver(self, n: int = 1, answer: Answer | None = None, **more: Any) -> Outcome:
        if answer is not None:
            self.sender.answers = [answer]
        return await self.runtime.deliver(event(event_id=f"e{n}", **(more or {"UserId": [f"u{n}"]})))

    def value(self, metric: str, **labels: str) -> float:
        return self.forward.registry.get_sample_value(metric, {"system": "a", **labels}) or 0.0


Start = Callable[..., Any]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    monkeypatch.setenv("SYSTEM_A_SECRET", SECRET)
    monkeypatch.setattr(module, "Sender", Sender)

    @asynccontextmanager
    async def start(**declared: Any) -> AsyncIterator[Running]:
        forward = consumer_of("a", system(**{"rate": 10_000, **declared}), AddressGuard())()
        async with MemoryRuntime(forward) as runtime:
            yield Running(runtime, forward)

    return start


async def test_an_event_comes_under_the_same_id_however_often(start: Start) -> None:
    async with start() as running:
        await running.deliver(1, FAILED)
        await running.deliver(1)
        await running.deliver(1)
        await running.deliver(2)
        ids = [message_id for message_id, _, _ in running.sender.sent]
        assert ids[0] == ids[1] == ids[2] != ids[3]
        assert running.value("dingbridge_forward_seconds_count") == 4


async def test_what_is_filtered_is_done_without_a_request(start: Start) -> None:
    async with start(types=["bpms_instance_change"], process_codes=["PROC-1"]) as running:
        more = {"event_type": "bpms_instance_change", "processInstanceId": "pi", "type": "finish"}
        outcome = await running.deliver(1, **more, processCode="PROC-2")
        assert (outcome.kind, outcome.asked) == ("done", frozenset())
        assert running.sender.sent == []
        assert running.value("dingbridge_forward_deliveries_total", outcome="filtered", status="none") == 1
        outcome = await running.deliver(2, **more, processCode="PROC-1")
        assert (outcome.kind, outcome.asked) == ("done", {"forward-a"})
        assert len(running.sender.sent) == 1


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ("taken", "done"),
        ("refused", "reject"),
        ("failed", "unavailable"),
        ("not_found", "unavailable"),
        ("unauthorized", "unavailable"),
        ("unavailable", "unavailable"),
    ],
)
async def test_what_becomes_of_an_event(start: Start, kind: Any, outcome: str) -> None:
    """The guide's table: done, dead letters, or tried again."""
    async with start() as running:
        found = await running.deliver(1, Answer(kind, "it answered so", 33))
        assert found.kind == outcome
        assert found.after == (33 if outcome == "unavailable" else None)
        assert running.value("dingbridge_forward_deliveries_total", outcome=kind, status="none") == 1
        assert running.value("dingbridge_forward_paused") == 0, "it may be this one alone"
        if isinstance(found.error, Reject | DependencyUnavailable):
            assert found.error.reason == "system a: it answered so"
        await running.deliver(2, Answer(kind, "it answered so"))
        assert running.value("dingbridge_forward_paused") == (outcome == "unavailable")
        assert (await running.deliver(2)).kind == "done"  # nothing but the answer decides
        assert running.value("dingbridge_forward_paused") == 0


async def test_an_unclassified_event_in_dingtalks_form_is_given_up(start: Start) -> None:
    async with start(body="dingtalk") as running:
        record = to_records(Received(1, "j", 1700000000500, "default", "http", b"no json"))[0]
        assert (await running.runtime.deliver(record)).kind == "reject"
        assert running.sender.sent == []


@pytest.mark.parametrize(
    ("declared", "at_once"),
    [({}, 8), ({"rate": 0.1, "timeout_s": 5}, 1), ({"rate": 1, "timeout_s": 3}, 3), ({"concurrency": 2}, 2)],
    ids=str,
)
def test_no_more_requests_at_once_than_the_rate_can_use(declared: dict[str, Any], at_once: int) -> None:
    made = consumer_of("a", system(**declared), AddressGuard())
    assert made.concurrency == at_once
    turns: Sequence[float] = [at_once / made.system.rate, made.system.timeout_s]
    assert made.handler_timeout_s > sum(turns)


async def test_each_request_is_logged_without_url_or_content(
    start: Start, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    async with start(url="http://127.0.0.1:9/hook/t0ken?key=t0ken") as running:
        for answer in (FAILED, TAKEN):
            await running.deliver(1, answer, UserId=["u1"], name="zhangsan")
    written = caplog.text + "".join(capsys.readouterr())
    assert "forward.not_taken" in written
    assert "forward.taken" in written
    assert "user_modify_org:e1/u1" in written
    assert "http://127.0.0.1:9" in written
    for private in ("t0ken", "zhangsan", SECRET):
        assert private not in written


def approval(event_type: str = "bpms_instance_change", **fields: str) -> Event:
    return event(event_type, processInstanceId="pi1", type="finish", **fields)


def test_process_codes_look_at_approvals_and_one_that_names_none_is_withheld_and_said() -> None:
    chosen = EventFilter(system(process_codes=["PROC-LEAVE-*", "PROC-1"]))
    for event_type in ("bpms_instance_change", "bpms_task_change"):
        codes = ["PROC-LEAVE-2", "PROC-1", "PROC-12"]
        wanted = [chosen.wants(approval(event_type, processCode=code)) for code in codes]
        assert wanted == [True, True, False]
    assert chosen.wants(event())  # no approval
    with capture_logs() as logs:
        assert not EventFilter(system(process_codes=["*"])).wants(approval())
    assert [entry["event"] for entry in logs] == ["forward.no_process_code"]
    assert EventFilter(system()).wants(approval())


def change(kind: str) -> Event:
    envelope = {"specversion": "1.0", "id": "c1", "source": "/dingbridge", "type": "com.dingbridge.change"}
    return decode(orjson.dumps({**envelope, "data": {"corpId": "dingcorp1", "kind": kind}}), Sent())


@pytest.mark.parametrize(
    ("types", "more", "kinds"),
    [
        (["user_*"], {}, {"user"}),
        (["org_dept_modify"], {}, {"department"}),
        (["user_add_org", "bpms_instance_change"], {}, {"user", "approval"}),
        # of a change no template is known
        (["user_add_org", "bpms_instance_change"], {"process_codes": ["*"]}, {"user"}),
    ],
)
def test_changes_are_those_of_the_types_that_are_named(types: list[str], more: dict, kinds: set[str]) -> None:
    chosen = EventFilter(system(types=types, skip_own_changes=True, **more))
    assert {kind for kind in ("user", "department", "approval") if chosen.wants(change(kind))} == kinds

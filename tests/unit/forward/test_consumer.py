"""What happens to an event by its answer; the sender is replaced, all else is the consumer's own."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from dingbridge import DependencyUnavailable, Outcome, Reject
from dingbridge.consumers.forward import consumer as module
from dingbridge.consumers.forward.consumer import Forward, consumer_of
from dingbridge.consumers.forward.deliveries import Delivery
from dingbridge.consumers.forward.policy import Answer
from dingbridge.ssrf import AddressGuard
from dingbridge.testing import MemoryRuntime
from tests.unit.forward.support import SECRET, event, system

TAKEN = Answer("taken", "it answered 200", status=200)
FAILED = Answer("failed", "it answered 500", status=500, body=b"no room")


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
        traceparent: str | None = None,
        replay_id: str = "",
    ) -> Answer:
        self.sent.append((message_id, content_type, body))
        return self.answers.pop(0) if self.answers else TAKEN


class Log:
    """Keeps what is written; ``down``: Kafka takes nothing."""

    down = False

    def __init__(self, *_: Any) -> None:
        self.written: list[Delivery] = []

    async def close(self) -> None: ...

    async def write(self, delivery: Delivery, key: str) -> None:
        if self.down:
            raise DependencyUnavailable("delivery not recorded: Kafka is down")
        self.written.append(delivery)


class Running:
    def __init__(self, runtime: MemoryRuntime, forward: Forward) -> None:
        self.runtime, self.forward = runtime, forward
        self.sender: Sender = forward._sender  # type: ignore[assignment]
        self.log: Log = forward._log  # type: ignore[assignment]

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
    monkeypatch.setattr(module, "DeliveryLog", Log)

    @asynccontextmanager
    async def start(**declared: Any) -> AsyncIterator[Running]:
        forward = consumer_of("a", system(**{"rate": 10_000, **declared}), AddressGuard())()
        async with MemoryRuntime(forward) as runtime:
            yield Running(runtime, forward)

    return start


async def test_any_2xx_is_done(start: Start) -> None:
    async with start() as running:
        assert (await running.deliver()).kind == "done"
        [(message_id, content_type, _)] = running.sender.sent
        assert message_id.startswith("msg_")
        assert content_type == "application/cloudevents+json"
        assert running.value("dingbridge_forward_deliveries_total", outcome="taken", status="2xx") == 1
        assert running.value("dingbridge_forward_seconds_count") == 1


async def test_an_event_comes_under_the_same_id_however_often(start: Start) -> None:
    async with start() as running:
        await running.deliver(1, FAILED)
        await running.deliver(1)
        await running.deliver(1)
        await running.deliver(2)
        ids = [message_id for message_id, _, _ in running.sender.sent]
        assert ids[0] == ids[1] == ids[2] != ids[3]


async def test_each_attempt_is_recorded_before_the_event_is_done(start: Start) -> None:
    async with start() as running:
        await running.deliver(1, FAILED)
        await running.deliver(1)
        failed, taken = running.log.written
        assert (failed.outcome, failed.attempt, failed.status, failed.answer) == (
            "failed",
            1,
            500,
            b"no room",
        )
        assert (taken.outcome, taken.attempt, taken.status, taken.answer) == ("taken", 2, 200, None)
        assert (taken.consumer, taken.event_id, taken.event_type) == (
            "forward-a",
            "user_modify_org:e1/u1",
            "user_modify_org",
        )
        assert taken.duration_ms is not None


@pytest.mark.parametrize(
    ("answer", "then"), [(TAKEN, "done"), (Answer("refused", "it answered 422"), "reject")]
)
async def test_an_answer_that_kafka_did_not_record_is_not_asked_for_again(
    start: Start, answer: Answer, then: str
) -> None:
    async with start() as running:
        running.log.down = True
        assert (await running.deliver(1, answer)).kind == "unavailable"
        running.log.down = False
        assert (await running.deliver(1)).kind == then
        assert len(running.sender.sent) == len(running.log.written) == 1
        assert (await running.deliver(1)).kind == "done", "a record that comes again is sent again"
        assert len(running.sender.sent) == 2


async def test_what_is_filtered_is_done_without_a_request(start: Start) -> None:
    async with start(types=["bpms_instance_change"], process_codes=["PROC-1"]) as running:
        more = {"event_type": "bpms_instance_change", "processInstanceId": "pi", "type": "finish"}
        outcome = await running.deliver(1, **more, processCode="PROC-2")
        assert (outcome.kind, outcome.asked) == ("done", frozenset())
        assert running.sender.sent == []
        assert [delivery.outcome for delivery in running.log.written] == ["filtered"]
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
    from dingbridge.events.envelope import Received, to_records

    async with start(body="dingtalk") as running:
        record = to_records(Received(1, "j", 1700000000500, "default", "http", b"no json"))[0]
        assert (await running.runtime.deliver(record)).kind == "reject"
        assert running.sender.sent == []
        assert [delivery.outcome for delivery in running.log.written] == ["refused"]


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


def test_a_failure_is_logged_without_url_or_content(
    start: Start, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    import asyncio

    async def run() -> None:
        async with start(url="http://127.0.0.1:9/hook/t0ken?key=t0ken") as running:
            echo = replace(FAILED, body=b"zhangsan")
            await running.deliver(1, echo, UserId=["u1"], name="zhangsan")
            await running.deliver(
                2, Answer("unavailable", "no connection to it"), UserId=["u1"], name="zhangsan"
            )

    asyncio.run(run())
    written = caplog.text + "".join(capsys.readouterr())
    assert "forward.not_taken" in written
    assert "http://127.0.0.1:9" in written
    for private in ("t0ken", "zhangsan", SECRET):
        assert private not in written

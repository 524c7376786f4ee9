"""What an answer means for its event; the sender is replaced, all else is the consumer's own."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from consumers.forward import consumer as module
from consumers.forward.circuit import DOUBTS
from consumers.forward.consumer import Forward, consumer_of
from consumers.forward.delivery import Answer
from dingbridge import Outcome
from dingbridge.dingtalk.errors import BadRequest, QuotaSpent
from dingbridge.ssrf import AddressGuard
from dingbridge.testing import MemoryRuntime
from dingbridge.worker.outcomes import DependencyUnavailable, Reject
from tests.unit.forward.support import SECRET, event, system
from tests.unit.forward.test_selection import Contacts as AddressBook

TAKEN = Answer("taken", "it answered 200")
FAILED = Answer("failed", "it answered 500")
UNWELCOME = Answer("unwelcome", "it answered 401")
UNREACHABLE = Answer("unreachable", "no connection to it")


class Sender:
    """Answers with what ``answers`` holds, then takes all."""

    def __init__(self, *_: Any) -> None:
        self.answers: list[Answer] = []
        self.sent: list[tuple[str, str, bytes]] = []

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def post(
        self, message_id: str, content_type: str, body: bytes, *, traceparent: str | None = None
    ) -> Answer:
        self.sent.append((message_id, content_type, body))
        return self.answers.pop(0) if self.answers else TAKEN


class Running:
    def __init__(self, runtime: MemoryRuntime, forward: Forward) -> None:
        self.runtime, self.forward = runtime, forward
        self.sender: Sender = forward._sender  # type: ignore[assignment]
        self.circuit = forward._circuit

    async def deliver(self, n: int = 1, answer: Answer | None = None, **more: Any) -> Outcome:
        if answer is not None:
            self.sender.answers = [answer]
        return await self.runtime.deliver(event(event_id=f"e{n}", **more))

    def value(self, metric: str, **labels: str) -> float:
        return self.forward.registry.get_sample_value(metric, {"system": "a", **labels}) or 0.0

    def probing_allowed(self) -> None:
        """As if the time until the next probe had passed."""
        self.circuit._until = 0.0


Start = Callable[..., Any]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    monkeypatch.setenv("SYSTEM_A_SECRET", SECRET)
    monkeypatch.setattr(module, "Sender", Sender)

    @asynccontextmanager
    async def start(dingtalk: Any = None, **declared: Any) -> AsyncIterator[Running]:
        forward = consumer_of("a", system(**{"rate": 10_000, **declared}), AddressGuard())()
        async with MemoryRuntime(forward, dingtalk=dingtalk) as runtime:
            yield Running(runtime, forward)

    return start


async def test_any_2xx_is_done(start: Start) -> None:
    async with start() as running:
        assert (await running.deliver()).kind == "done"
        [(message_id, content_type, _)] = running.sender.sent
        assert message_id.startswith("msg_")
        assert content_type == "application/cloudevents+json"
        assert running.value("dingbridge_forward_deliveries_total", outcome="taken") == 1
        assert running.value("dingbridge_forward_seconds_count") == 1


async def test_an_event_comes_under_the_same_id_however_often(start: Start) -> None:
    async with start() as running:
        await running.deliver(1, FAILED)
        await running.deliver(1)
        await running.deliver(1)
        await running.deliver(2)
        ids = [message_id for message_id, _, _ in running.sender.sent]
        assert ids[0] == ids[1] == ids[2] != ids[3]


async def test_what_is_filtered_is_done_without_a_request(start: Start) -> None:
    async with start(types=["bpms_instance_change"], process_codes=["PROC-1"]) as running:
        more = {"event_type": "bpms_instance_change", "processInstanceId": "pi", "type": "finish"}
        assert (await running.deliver(1, **more, processCode="PROC-2")).kind == "done"
        assert running.sender.sent == []
        assert running.value("dingbridge_forward_deliveries_total", outcome="filtered") == 1
        assert (await running.deliver(2, **more, processCode="PROC-1")).kind == "done"
        assert len(running.sender.sent) == 1


@pytest.mark.parametrize(
    "answer", [FAILED, UNREACHABLE, Answer("busy", "it answered 503")], ids=["failed", "unreachable", "busy"]
)
async def test_a_move_out_of_the_departments_is_sent_again_after_a_failure(
    start: Start, answer: Answer
) -> None:
    contacts = AddressBook()
    async with start(dingtalk=contacts, departments=[3]) as running:
        assert (await running.deliver(1)).kind == "done"
        contacts.users["u1"] = [40]
        moved_ms = int(time.time() * 1000) + 60_000  # by the ingress's clock, which may be ahead
        assert (await running.deliver(2, answer, received_ms=moved_ms)).kind in ("retry", "world_down")
        running.probing_allowed()
        assert (await running.deliver(2, received_ms=moved_ms)).kind == "done"
        assert len(running.sender.sent) == 3
        assert running.value("dingbridge_forward_deliveries_total", outcome="filtered") == 0


async def test_what_an_event_was_wanted_for_is_forgotten_at_its_end(start: Start) -> None:
    async with start(dingtalk=AddressBook(), departments=[3]) as running:
        assert (await running.deliver(1, FAILED)).kind == "retry"
        assert (await running.deliver(1)).kind == "done"
        assert (await running.deliver(2, Answer("refused", "it answered 422"))).kind == "reject"
        assert (await running.deliver(3, UserId=["u2"])).kind == "done"
        assert not running.forward._selection._learnt


async def test_a_refused_event_is_given_up_at_once_and_later_ones_go_on(start: Start) -> None:
    async with start() as running:
        for n in range(DOUBTS * 2):
            outcome = await running.deliver(n, Answer("refused", "it answered 422"))
            assert outcome.kind == "reject"
            assert isinstance(outcome.error, Reject)
            assert outcome.error.reason == "system a: it answered 422"
        assert (await running.deliver(99)).kind == "done"
        assert running.circuit.state == "closed"


async def test_a_system_that_cannot_be_reached_pauses_all_and_gives_nothing_up(start: Start) -> None:
    async with start() as running:
        outcome = await running.deliver(1, UNREACHABLE)
        assert outcome.kind == "world_down"
        assert isinstance(outcome.error, DependencyUnavailable)
        assert outcome.error.reason == "system a: no connection to it"
        assert running.value("dingbridge_forward_circuit") == 2
        sent = len(running.sender.sent)
        for n in range(2, 10):
            outcome = await running.deliver(n)
            assert (outcome.kind, outcome.after is not None) == ("world_down", True)
        assert len(running.sender.sent) == sent
        running.probing_allowed()
        assert (await running.deliver(2)).kind == "done"
        assert running.value("dingbridge_forward_circuit") == 0
        assert (await running.deliver(1)).kind == "done"


async def test_while_it_is_paused_no_turn_is_used_up(start: Start) -> None:
    async with start(rate=0.01) as running:
        assert (await running.deliver(1, UNREACHABLE)).kind == "world_down"
        turn = running.forward._pace._next
        for n in range(20):
            assert (await running.deliver(n)).kind == "world_down"
        assert running.forward._pace._next == turn


async def test_what_a_busy_system_asks_for_is_waited(start: Start) -> None:
    async with start() as running:
        outcome = await running.deliver(1, Answer("busy", "it answered 429", 40))
        assert outcome.kind == "retry"
        assert outcome.after == pytest.approx(40, abs=1)
        outcome = await running.deliver(2)
        assert outcome.kind == "world_down"
        assert outcome.after == pytest.approx(40, abs=1)


async def test_a_failing_event_waits_alone_and_is_given_up_if_others_are_taken(start: Start) -> None:
    async with start(attempts=3) as running:
        kinds = []
        for n in range(4):
            kinds.append((await running.deliver(1, FAILED)).kind)
            assert (await running.deliver(10 + n)).kind == "done"
        # the first says nothing yet about whose fault it is
        assert kinds == ["retry", "retry", "retry", "reject"]


async def test_without_another_event_taken_a_failing_one_is_never_given_up(start: Start) -> None:
    async with start(attempts=3) as running:
        for _ in range(50):
            assert (await running.deliver(1, FAILED)).kind == "retry"
        assert running.circuit.state == "closed"


async def test_a_retry_waits_as_long_as_the_answer_asks(start: Start) -> None:
    async with start() as running:
        outcome = await running.deliver(1, Answer("failed", "it answered 500", 33))
        assert (outcome.kind, outcome.after) == ("retry", 33)
        outcome = await running.deliver(1, FAILED)
        assert (outcome.kind, outcome.after) == ("retry", None)


@pytest.mark.parametrize("answer", [FAILED, UNWELCOME], ids=["failed", "unwelcome"])
async def test_failures_of_different_events_in_a_row_pause_the_system(start: Start, answer: Answer) -> None:
    async with start(attempts=1) as running:
        for n in range(DOUBTS):
            outcome = await running.deliver(n, answer)
        assert (outcome.kind, running.circuit.state) == ("retry", "open")
        assert outcome.after is not None
        # nothing is given up from now on, and probes are different events
        for n in range(100, 130):
            running.probing_allowed()
            assert (await running.deliver(n, answer)).kind == "retry"
            assert (await running.deliver(n + 1000)).kind == "world_down"
        running.probing_allowed()
        assert (await running.deliver(200)).kind == "done"
        assert running.circuit.state == "closed"


async def test_an_unwelcome_event_alone_is_given_up_at_once(start: Start) -> None:
    async with start() as running:
        for n in range(20):
            assert (await running.deliver(n, UNWELCOME)).kind == "reject"
            assert (await running.deliver(100 + n)).kind == "done"


async def test_of_a_wrong_secret_few_events_pay(start: Start) -> None:
    async with start() as running:
        kinds = [(await running.deliver(n, UNWELCOME)).kind for n in range(30)]
        assert kinds.count("reject") == DOUBTS - 1
        assert set(kinds[DOUBTS:]) == {"world_down"}


async def test_an_unclassified_event_in_dingtalks_form_is_given_up(start: Start) -> None:
    from dingbridge.events.envelope import Received, to_records

    async with start(body="dingtalk") as running:
        record = to_records(Received(1, "j", 1700000000500, "default", "http", b"no json"))[0]
        assert (await running.runtime.deliver(record)).kind == "reject"
        assert running.sender.sent == []


class Contacts:
    def __init__(self, error: Exception) -> None:
        self.error = error

    async def user(self, userid: str) -> dict[str, Any]:
        raise self.error


async def test_a_dingtalk_that_is_down_gives_nothing_up(start: Start) -> None:
    error = QuotaSpent("spent", api="v2/user/get", retry_after_s=600)
    async with start(dingtalk=Contacts(error), departments=[3], attempts=1) as running:
        for _ in range(5):
            outcome = await running.deliver()
            assert (outcome.kind, outcome.after) == ("world_down", 600)


async def test_a_question_that_dingtalk_does_not_take_is_given_up_after_the_attempts(start: Start) -> None:
    error = BadRequest("no", api="v2/user/get")
    async with start(dingtalk=Contacts(error), departments=[3], attempts=3) as running:
        kinds = [(await running.deliver()).kind for _ in range(3)]
        assert kinds == ["retry", "retry", "reject"]


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
            await running.deliver(1, FAILED, UserId=["u1"], name="zhangsan")
            await running.deliver(2, UNREACHABLE, UserId=["u1"], name="zhangsan")

    asyncio.run(run())
    written = caplog.text + "".join(capsys.readouterr())
    assert "forward.not_taken" in written
    assert "http://127.0.0.1:9" in written
    for private in ("t0ken", "zhangsan", SECRET):
        assert private not in written

"""How late reads are behind events: each entity is read until it agrees, against a client that is behind."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson
import pytest

from dingbridge.dingtalk.errors import ApiError, NotFound, PermissionDenied
from dingbridge.doctor.findings import Finding
from dingbridge.errors import KafkaUnavailable
from dingbridge.events.envelope import Received, to_records
from dingbridge.events.event import Event, decode
from dingbridge.probe.judge import judge_watched
from dingbridge.probe.lag import STEPS_S, Entity, Lag, Watched, distribution, entity_of, follow, watch

GONE = NotFound("gone", api="v2/user/get", errcode=60121)
HIDDEN = PermissionDenied("hidden", api="v2/user/get", errcode=50002)


class Client:
    """Answers one after the other, the last one for ever; counts the reads."""

    def __init__(self, *answers: dict[str, Any] | ApiError) -> None:
        self._answers, self.reads = list(answers), 0

    async def user(self, userid: str) -> dict[str, Any]:
        self.reads += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, ApiError):
            raise answer
        return answer

    department = approval = user  # type: ignore[assignment]


async def at_once(seconds: float) -> None:
    """No time goes by."""


@pytest.mark.parametrize(
    ("wanted", "answers", "step_s", "reads"),
    [
        ("there", [{"name": "a"}], 0, 1),
        ("there", [GONE, {"name": "a"}], 2, 2),
        ("there", [GONE, GONE, GONE, {"name": "a"}], 60, 4),
        ("there", [GONE], None, 4),
        ("gone", [GONE], 0, 1),
        ("gone", [{"name": "a"}, {"name": "a"}, GONE], 10, 3),
        ("gone", [{"name": "a"}], None, 4),
        ("ended", [{"status": "COMPLETED"}], 0, 1),
        ("ended", [{"status": "RUNNING"}, {"status": "TERMINATED"}], 2, 2),
        ("ended", [{"status": "RUNNING"}], None, 4),
        ("same", [{"name": "a"}], 0, 4),
        ("same", [{"name": "a"}, {"name": "b"}], 2, 4),
        ("same", [{"name": "a"}, {"name": "a"}, {"name": "a"}, {"name": "b"}], 60, 4),
    ],
)
async def test_an_entity_is_read_until_it_agrees(
    wanted: Any, answers: list[Any], step_s: float | None, reads: int
) -> None:
    client = Client(*answers)
    lag = await follow(Entity("user", "u1", wanted, 0), client, STEPS_S, at_once)  # type: ignore[arg-type]
    assert (lag.step_s, lag.refusal, client.reads) == (step_s, None, reads)


async def test_another_refusal_ends_it() -> None:
    client = Client(HIDDEN)
    lag = await follow(Entity("user", "u1", "gone", 0), client, STEPS_S, at_once)  # type: ignore[arg-type]
    assert (lag.step_s, lag.refusal, client.reads) == (None, "50002", 1)


# -- events in, entities followed


def events_of(body: dict[str, Any], app: str = "default") -> list[Event]:
    plaintext = orjson.dumps(body)
    received = Received(1, "0123456789abcdef", 1_800_000_000_000, app, "http", plaintext)
    return [decode(record.value) for record in to_records(received)]


def hired(*userids: str, app: str = "default", **more: Any) -> list[Event]:
    body = {"EventType": "user_add_org", "TimeStamp": "1800000000000", "CorpId": "ding1", "OptStaffId": "m"}
    return events_of({**body, "UserId": list(userids), **more}, app)


async def coming(events: Sequence[Event]) -> AsyncIterator[Event]:
    for event in events:
        yield event


async def watched(
    events: Sequence[Event] | AsyncIterator[Event], client: Client, for_s: float = 60, **options: Any
) -> Watched:
    given = {"app": "default", "most": 10, "kinds": ["user"], "steps_s": (0, 0, 0, 0), **options}
    seen, stream = Watched(), coming(events) if isinstance(events, Sequence) else events
    await watch(stream, client, for_s, seen, **given)  # type: ignore[arg-type]
    return seen


async def test_entities_of_this_app_and_kind_are_followed_once_and_no_more_than_were_announced() -> None:
    client = Client({"name": "a"})
    events = [*hired("u1", "u2"), *hired("u1"), *hired("x1", app="hr"), *hired("u3", "u4")]
    seen = await watched(events, client, most=3)
    assert (len(seen.lags), seen.left_out, client.reads) == (3, 1, 3)
    assert seen.events == {"user_add_org": 5}
    assert (await watched(events, client, kinds=["approval"])).lags == []


async def test_it_ends_when_the_time_is_over_and_waits_for_the_last_reads() -> None:
    async def endless() -> AsyncIterator[Event]:
        for event in hired("u1"):
            yield event
        await asyncio.Event().wait()

    seen = await watched(endless(), Client(GONE, {"name": "a"}), 0.05, steps_s=(0, 0.001))
    assert [lag.step_s for lag in seen.lags] == [0.001]


async def test_what_breaks_the_stream_of_events_is_raised() -> None:
    async def breaking() -> AsyncIterator[Event]:
        for event in hired("u1"):
            yield event
        raise KafkaUnavailable("away")

    with pytest.raises(KafkaUnavailable):
        await watched(breaking(), Client({"name": "a"}))


APPROVAL = {"EventType": "bpms_instance_change", "processInstanceId": "p"}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"EventType": "user_leave_org", "UserId": ["u1"]}, ("user", "gone")),
        ({"EventType": "user_modify_org", "UserId": ["u1"]}, ("user", "same")),
        ({"EventType": "org_dept_create", "DeptId": [7]}, ("department", "there")),
        ({"EventType": "org_dept_remove", "DeptId": [7]}, ("department", "gone")),
        (APPROVAL | {"type": "start"}, ("approval", "there")),
        (APPROVAL | {"type": "finish"}, ("approval", "ended")),
        (APPROVAL | {"type": "delete"}, ("approval", "gone")),
        (APPROVAL | {"type": "new"}, None),
        ({"EventType": "org_change", "CorpId": "ding1"}, None),
        ({"EventType": "org_dept_modify", "DeptId": ["x"]}, None),
        ({"EventType": "user_leave_org", "UserId": []}, None),
    ],
)
def test_what_an_event_names(body: dict[str, Any], expected: tuple[str, str] | None) -> None:
    found = [entity for event in events_of(body) if (entity := entity_of(event)) is not None]
    assert [(one.kind, one.wanted) for one in found] == ([expected] if expected else [])


async def test_events_are_compared_with_the_catalogue() -> None:
    [event] = hired("u1", Surprise=1)
    seen = await watched([event], Client({"name": "a"}))
    [finding] = [one for one in judge_watched(seen) if one.code.startswith("event.")]
    assert finding.code == "event.unknown"
    assert finding.values["fields"] == ["(unknown name of 8 characters)"]


# -- what it says


def said(*lags: Lag, **seen: Any) -> dict[str, Finding]:
    return {finding.code: finding for finding in judge_watched(Watched(list(lags), **seen))}


def test_lags_are_told_by_kind_and_step() -> None:
    late = [Lag("user", "there", step, age) for step, age in ((0.0, 1), (2.0, 2), (2.0, 9), (60.0, 3))]
    never, refused = Lag("approval", "ended", None, 1), Lag("user", "gone", None, 1, "50002")
    findings = said(*late, never, refused, left_out=2)
    assert findings.keys() == {"lag.late", "lag.never", "lag.refused", "lag.left_out"}
    values = findings["lag.late"].values
    assert (values["count"], values["of"], values["steps"]) == (3, 4, ["2 s", "60 s"])
    assert said(Lag("user", "there", 0.0, 1)).keys() == {"lag.ok"}
    assert said().keys() == {"lag.none"}
    assert distribution(late) == [
        {
            "kind": "user",
            "wanted": "there",
            "entities": 4,
            "agreed_at_s": {"0": 1, "2": 2, "60": 1},
            "never": 0,
            "refused": 0,
            "age_s": [1, 2.5, 9],
        }
    ]

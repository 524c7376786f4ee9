"""In which order pushes set out, and a life that is lived again."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dingbridge.errors import SettingsError
from dingbridge.simulator.api import ApprovalCalls
from dingbridge.simulator.call import Call
from dingbridge.simulator.company.platform import Platform
from dingbridge.simulator.errors import ActionError
from dingbridge.simulator.limits import Limits
from dingbridge.simulator.pushes.delivery import Delivery
from dingbridge.simulator.pushes.push import Push, Pusher, Target
from dingbridge.simulator.pushes.registration import Callbacks, Registration
from dingbridge.simulator.recording import MOST_STEPS, RecordedStep, Recording, Replay, load_recording
from tests.support.waiting import eventually
from tests.unit.simulator.living import seeing


class Order(Pusher):
    """Remembers in which order pushes were queued; delivers none."""

    def __init__(self) -> None:
        super().__init__()
        self.order: list[int] = []

    def enqueue(self, push: Push) -> None:
        self.order.append(push.id)


def make(**options: Any) -> tuple[Delivery, Order]:
    pusher = Order()
    callbacks = Callbacks(pusher, "owner")
    target = Target("http://127.0.0.1/", "token1", "k" * 43, "owner")
    callbacks.current = Registration(("user_add_org",), target)
    return Delivery(pusher, callbacks, Limits(), **{"seed": 3, "duplicates": 0.0} | options), pusher


def hired(count: int) -> list[Any]:
    platform = Platform(seed=1, users=3, departments=2)
    return [e for _ in range(count) for e in platform.act("hire", {"count": 1, "follow_up": False})]


async def test_some_pushes_are_overtaken_by_the_next() -> None:
    delivery, pusher = make(reorder=0.3)
    pushes = delivery.send(hired(200))
    delivery.release()
    assert [push.id for push in pushes] == list(range(1, 201))
    assert sorted(pusher.order) == list(range(1, 201))
    assert pusher.order != sorted(pusher.order)
    assert all(place <= position + 10 for position, place in enumerate(pusher.order, 1))


async def test_what_nothing_overtakes_sets_out_all_the_same() -> None:
    delivery, pusher = make(reorder=1.0)
    pusher.retry_scale = 0.0
    delivery.send(hired(3))
    assert pusher.order == []
    await eventually(lambda: pusher.order)
    assert pusher.order == [1, 2, 3]


async def test_the_draws_do_not_depend_on_what_is_registered() -> None:
    events = hired(100)
    delivery, _ = make(duplicates=0.3)
    whole = [push.plaintext for push in delivery.send(events)]
    assert len(whole) > 100
    delivery, _ = make(duplicates=0.3)
    wanted, delivery._callbacks.current = delivery._callbacks.current, None
    assert delivery.send(events[:50]) == []
    delivery._callbacks.current = wanted
    rest = [push.plaintext for push in delivery.send(events[50:])]
    assert rest == whole[-len(rest) :]


async def test_an_attachments_address_is_over_after_15_minutes() -> None:
    platform = Platform(seed=1, users=3, departments=2)
    (started, *_) = platform.act("start_approval", {"process_code": "PROC-EXPENSE"})
    pid = started.payload["processInstanceId"]
    approval = platform.approvals.get(pid)
    assert approval is not None
    (attachment,) = approval.attachments()
    clock = [1000.0]
    calls = ApprovalCalls(
        platform.past, seeing(platform), platform.company.users, platform.now_ms, clock=lambda: clock[0]
    )
    handlers = {path: handler for _, path, handler in calls.routes()}
    asked = Call({"processInstanceId": pid, "fileId": attachment.file_id}, "http://127.0.0.1")
    answer = await handlers["/v1.0/workflow/processInstances/spaces/files/urls/download"](asked)
    ticket = answer["result"]["downloadUri"].rpartition("/")[2]
    clock[0] += 899
    assert calls.download(ticket).body == attachment.content()
    clock[0] += 1
    assert calls.download(ticket).status == 403


WANTED = ("hire", "leave", "come_back", "move", "give_role", "start_approval", "approve", "remove_department")


def tell(platform: Platform, action: str | None) -> list[bytes]:
    """What is pushed of one step, which may be impossible."""
    try:
        events = platform.act_at_random() if action is None else platform.act(action)
    except ActionError as error:
        return [str(error).encode()]
    return [event.plaintext() for event in events]


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.lists(st.one_of(st.none(), st.sampled_from(WANTED)), max_size=80), st.data())
def test_a_recorded_life_is_lived_again_word_for_word(
    seed: int, steps: list[str | None], data: st.DataObject
) -> None:
    size: dict[str, Any] = {"seed": seed, "users": 12, "departments": 4}
    ticking = iter(range(1_760_000_000_000, 1_770_000_000_000, data.draw(st.integers(0, 3), "ms") or 1))
    first = Platform(**size, clock=lambda: next(ticking))
    recording = Recording(**size, corp_id=first.corp_id, generation="mixed", duplicates=0.0, reorder=0.0,
                          began_ms=first.began_ms)  # fmt: skip
    told = []
    for action in steps:
        told += tell(first, action)
        recording.add(RecordedStep(first.at_ms, action, {}))
    recording.before = data.draw(st.integers(0, len(steps)), "steps before the registration")

    replay = Replay(recording, lambda: 1_790_000_000_000, speed=0)
    again = Platform(**size, clock=replay.clock)
    retold: list[bytes] = []
    replay.prologue(lambda step: retold.extend(tell(again, step.action)))
    assert replay.done == recording.before
    asyncio.run(replay.run(lambda step: retold.extend(tell(again, step.action))))
    assert retold == told
    for show in (everybody, everything):
        assert show(again) == show(first)
    # from now on the real clock counts
    assert again.now_ms() == 1_790_000_000_000


def everybody(platform: Platform) -> list[Any]:
    return [platform.company.user_result(user) for user in platform.company.users.values()]


def everything(platform: Platform) -> list[Any]:
    departments = platform.company.departments.values()
    approvals = [platform.approvals.result(approval) for approval in platform.approvals]
    return [*map(platform.company.department_result, departments), *approvals]


def test_a_recording_is_the_same_after_a_file(tmp_path: Path) -> None:
    recording = Recording(4, 30, 6, "ding1", "mixed", 0.1, 0.2, 1_760_000_000_000)
    recording.add(RecordedStep(1, "hire", {"count": 3, "name": "王伟"}))
    recording.registered()
    recording.add(RecordedStep(2, None, {}))
    recording.registered()
    assert recording.before == 1
    file = tmp_path / "recording.json"
    file.write_text(json.dumps(recording.as_json()), encoding="utf-8")
    assert load_recording(file) == recording


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "no recording of version 1"),
        ({"seed": "1"}, "no recording"),
        ({"generation": "newest"}, "no recording"),
        ({"steps": [[1, "hire"]]}, "no recording"),
        ({"steps": [[1, 2, {}]]}, "no recording"),
        ({"complete": False}, "is not complete"),
    ],
)
def test_a_file_that_is_no_recording_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    recording = Recording(1, 2, 3, "ding1", "old", 0.0, 0.0, 5)
    file = tmp_path / "recording.json"
    file.write_text(json.dumps(recording.as_json()))
    assert load_recording(file).steps == []
    file.write_text(json.dumps(recording.as_json() | change))
    with pytest.raises(SettingsError, match=words):
        load_recording(file)
    file.write_text("no JSON")
    with pytest.raises(SettingsError, match="is no JSON"):
        load_recording(file)
    with pytest.raises(SettingsError, match="cannot be read"):
        load_recording(tmp_path / "absent")


def test_a_recording_is_bounded_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_STEPS >= 100_000
    monkeypatch.setattr("dingbridge.simulator.recording.MOST_STEPS", 2)
    recording = Recording(1, 2, 3, "ding1", "old", 0.0, 0.0, 5)
    for n in range(3):
        recording.add(RecordedStep(n, None, {}))
    assert len(recording.steps) == 2
    assert recording.as_json()["complete"] is False

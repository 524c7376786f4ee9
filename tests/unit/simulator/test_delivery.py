"""In which order pushes set out, and a life that is lived again."""

import json
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import SettingsError
from simulator.api import ApprovalCalls
from simulator.api.calls import Call
from simulator.attachments import attachments_of
from simulator.delivery import Delivery
from simulator.limits import Limits
from simulator.platform import Platform
from simulator.push import Push, Pusher, Target
from simulator.recording import MOST_STEPS, RecordedStep, Recording, Replay, load_recording
from simulator.registration import Callbacks, Registration
from tests.support.waiting import eventually


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
    (attachment,) = attachments_of(approval.form)
    clock = [1000.0]
    calls = ApprovalCalls(platform.approvals, platform.now_ms, clock=lambda: clock[0])
    handlers = {path: handler for _, path, handler in calls.routes()}
    request = {"process_instance_id": pid, "file_id": attachment.file_id}
    answer = await handlers["/topapi/processinstance/file/url/get"](
        Call({"request": request}, "http://127.0.0.1")
    )
    ticket = answer["result"]["download_uri"].rpartition("/")[2]
    clock[0] += 899
    assert calls.download(ticket).body == attachment.content()
    clock[0] += 1
    assert calls.download(ticket).status == 403


def live(clock: Any, steps: list[tuple[str | None, dict[str, Any]]]) -> tuple[Recording, list[bytes], Any]:
    platform = Platform(seed=4, users=30, departments=6, clock=clock)
    recording = Recording(4, 30, 6, platform.corp_id, "mixed", 0.0, 0.0, platform.began_ms)
    plaintexts = []
    for action, arguments in steps:
        events = platform.act_at_random() if action is None else platform.act(action, arguments)
        recording.add(platform.at_ms, action, arguments)
        plaintexts += [event.plaintext() for event in events]
    return recording, plaintexts, platform


async def test_a_recorded_life_is_lived_again_word_for_word(tmp_path: Path) -> None:
    ticking = iter(range(1_760_000_000_000, 1_770_000_000_000, 17))
    steps: list[tuple[str | None, dict[str, Any]]] = [(None, {})] * 300
    steps[100:100] = [("hire", {"count": 3}), ("leave", {}), ("start_approval", {})]
    recording, told, platform = live(lambda: next(ticking), steps)
    recording.before = 120
    file = tmp_path / "recording.json"
    file.write_text(json.dumps(recording.as_json()))

    replay = Replay(load_recording(file), lambda: 1_790_000_000_000, speed=0)
    again = Platform(seed=4, users=30, departments=6, clock=replay.clock)
    retold: list[bytes] = []

    def step(recorded: RecordedStep) -> None:
        if recorded.action is None:
            events = again.act_at_random()
        else:
            events = again.act(recorded.action, recorded.arguments)
        retold.extend(event.plaintext() for event in events)

    replay.prologue(step)
    assert replay.done == 120
    await replay.run(step)
    assert retold == told
    assert [again.company.user_result(u) for u in again.company.users.values()] == [
        platform.company.user_result(u) for u in platform.company.users.values()
    ]
    assert [again.approvals.result(a) for a in again.approvals] == [
        platform.approvals.result(a) for a in platform.approvals
    ]
    # from now on the real clock counts
    assert again.now_ms() == 1_790_000_000_000


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
    monkeypatch.setattr("simulator.recording.MOST_STEPS", 2)
    recording = Recording(1, 2, 3, "ding1", "old", 0.0, 0.0, 5)
    for n in range(3):
        recording.add(n, None, {})
    assert len(recording.steps) == 2
    assert recording.as_json()["complete"] is False

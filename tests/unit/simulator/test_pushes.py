"""Pushes without a network: how they are built, judged and ordered, and the list of those that failed."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dingbridge.dingtalk.crypto import CallbackCrypto, Credentials
from dingbridge.errors import SettingsError
from dingbridge.simulator.activity import load_script
from dingbridge.simulator.company.platform import Platform
from dingbridge.simulator.errors import ActionError
from dingbridge.simulator.limits import Limits
from dingbridge.simulator.pushes.delivery import Delivery
from dingbridge.simulator.pushes.failed import RECORDS_KEPT_MS, FailedList, FailedRecords
from dingbridge.simulator.pushes.push import Push, Pusher, Target, check_reply
from dingbridge.simulator.pushes.registration import Callbacks, Registration
from dingbridge.simulator.recording import MOST_STEPS, RecordedStep, Recording, Replay, load_recording
from tests.support.waiting import eventually

AES_KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"


OWNER = "dingsampleappkey01"


CREDENTIALS = Credentials("sampletoken", AES_KEY, (OWNER,))


TARGET = Target("http://127.0.0.1/callback", "sampletoken", AES_KEY, OWNER)


def reply(
    message: bytes = b"success", owner: str = OWNER, credentials: Credentials = CREDENTIALS
) -> dict[str, str]:
    return CallbackCrypto([credentials]).encrypt_reply(message, credentials, owner, timestamp="1", nonce="n")


def test_the_right_answer() -> None:
    assert check_reply(TARGET, OWNER, 200, json.dumps(reply()).encode()) == "success"
    number = reply() | {"timeStamp": 1}
    assert check_reply(TARGET, OWNER, 200, json.dumps(number).encode()) == "success"


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (503, b"", "http_503"),
        (201, json.dumps(reply()).encode(), "http_201"),
        (200, b"success", "reply_not_json"),
        (200, b'["success"]', "reply_not_json"),
        (200, b'{"errcode":0}', "reply_fields"),
        (200, json.dumps(reply() | {"nonce": 7}).encode(), "reply_fields"),
        (200, json.dumps(reply() | {"nonce": "other"}).encode(), "reply_signature"),
        (200, json.dumps(reply(owner="dingcorpsample01")).encode(), "reply_owner"),
        (200, json.dumps(reply(b"fail")).encode(), "reply_text"),
        (
            200,
            json.dumps(reply(credentials=Credentials("sampletoken", AES_KEY[::-1], (OWNER,)))).encode(),
            "reply_cipher",
        ),
    ],
)
def test_wrong_answers_are_told_apart(status: int, body: bytes, outcome: str) -> None:
    assert check_reply(TARGET, OWNER, status, body) == outcome


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


def test_each_reading_removes_what_the_one_before_it_showed() -> None:
    failed = FailedList()
    for n in range(450):
        failed.add({"n": n})
    first, more = failed.read()
    assert ([i["n"] for i in first], more) == (list(range(200)), True)
    assert len(failed) == 450
    second, more = failed.read()
    assert ([i["n"] for i in second], more) == (list(range(200, 400)), True)
    third, more = failed.read()
    assert ([i["n"] for i in third], more) == (list(range(400, 450)), False)
    failed.add({"n": 450})
    assert failed.read() == ([{"n": 450}], False)
    assert failed.read() == ([], False)
    assert len(failed) == 0


def test_the_failed_list_is_bounded_and_still_removes_only_what_was_shown() -> None:
    failed = FailedList(kept=3)
    for n in range(3):
        failed.add({"n": n})
    assert [i["n"] for i in failed.read()[0]] == [0, 1, 2]
    failed.add({"n": 3})
    assert [i["n"] for i in failed.read()[0]] == [3]


def test_the_list_of_isv_apps_shows_by_tag_and_confirmation_what_is_no_week_old() -> None:
    now_ms, records = 1_731_000_000_000, FailedRecords()
    for n in range(5):
        records.add("user_add_org" if n < 4 else "user_leave_org", b"%d" % n, now_ms - n, "ding1")

    def ids(
        *tags: str, confirmed: bool = False, after: int = 0, at_ms: int = now_ms
    ) -> tuple[list[int], bool]:
        page, more = records.page(
            tags=frozenset(tags), confirmed=confirmed, begin_ms=now_ms - 10, end_ms=now_ms,
            after=after, size=3, now_ms=at_ms,
        )  # fmt: skip
        return [record["id"] for record in page], more

    assert (ids(), ids(after=3)) == (([1, 2, 3], True), ([4, 5], False))
    assert ids("user_leave_org") == ([5], False)
    records.confirm([2, 3, 99])
    assert (ids(), ids(confirmed=True)) == (([1, 4, 5], False), ([2, 3], False))
    assert ids(at_ms=now_ms + RECORDS_KEPT_MS - 3) == ([1], False)


# -- A life that is recorded or written down: recordings, scripts, settings


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
    with pytest.raises(SettingsError, match="cannot be read"):
        load_script(tmp_path / "absent.toml")


def test_a_recording_is_bounded_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_STEPS >= 100_000
    monkeypatch.setattr("dingbridge.simulator.recording.MOST_STEPS", 2)
    recording = Recording(1, 2, 3, "ding1", "old", 0.0, 0.0, 5)
    for n in range(3):
        recording.add(RecordedStep(n, None, {}))
    assert len(recording.steps) == 2
    assert recording.as_json()["complete"] is False


def test_a_script_in_toml_and_in_json(tmp_path: Path) -> None:
    toml = tmp_path / "s.toml"
    toml.write_text(
        '[[steps]]\nat = 2\naction = "hire"\ncount = 3\nrepeat = 2\nevery = 0.5\n'
        "[[steps]]\nat = 1\nrate = 20\n"
    )
    steps = load_script(toml)
    assert [(s.at_s, s.action, s.rate) for s in steps] == [
        (1, None, 20),
        (2, "hire", None),
        (2.5, "hire", None),
    ]
    assert steps[1].arguments == {"count": 3}
    as_json = tmp_path / "s.json"
    as_json.write_text('[{"at": 0, "action": "revoke"}]')
    assert load_script(as_json)[0].action == "revoke"


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("steps = 3", 1),
        ("not toml", 1),
        ('[[steps]]\naction="hire"\n[[steps]]\nat=1\naction="fly"\n[[steps]]\nat=1\naction="hire"\nx=1', 3),
        ("[[steps]]\nat=1\nrate=-1\n[[steps]]\nat=true\nrate=1\n[[steps]]\nat=1\nrate=1\naction='hire'", 3),
        ("[[steps]]\nat=1\naction='hire'\nrepeat=0\n", 1),
    ],
)
def test_every_mistake_of_a_script_is_told(tmp_path: Path, text: str, problems: int) -> None:
    path = tmp_path / "s.toml"
    path.write_text(text)
    with pytest.raises(SettingsError) as mistakes:
        load_script(path)
    assert len(mistakes.value.problems) == problems

"""Pushes without a network: how they are built, judged and ordered, and the list of those that failed."""

import json
from typing import Any

import pytest

from dingbridge.dingtalk.crypto import CallbackCrypto, Credentials
from dingbridge.simulator.company.platform import Platform
from dingbridge.simulator.limits import Limits
from dingbridge.simulator.pushes.delivery import Delivery
from dingbridge.simulator.pushes.failed import RECORDS_KEPT_MS, FailedList, FailedRecords
from dingbridge.simulator.pushes.push import RETRY_DELAYS_S, Push, Pusher, Target, build_push, check_reply
from dingbridge.simulator.pushes.registration import Callbacks, Registration
from tests.support.waiting import eventually

AES_KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
OWNER = "dingsampleappkey01"
CREDENTIALS = Credentials("sampletoken", AES_KEY, (OWNER,))
TARGET = Target("http://127.0.0.1/callback", "sampletoken", AES_KEY, OWNER)


def test_time_nonce_and_spelling_can_be_chosen() -> None:
    query, _ = build_push(TARGET, b"{}", OWNER, timestamp_ms=5, nonce="n", both_signatures=False)
    assert {k: v for k, v in query.items() if k != "signature"} == {"timestamp": "5", "nonce": "n"}


def test_retries_are_dingtalks() -> None:
    assert RETRY_DELAYS_S == (10, 30)


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

"""A request: its body, signature and id, and what its answer means."""

import json
import time
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from dingbridge.consumers.forward.body import BODY_FORMS, body_of
from dingbridge.consumers.forward.policy import AnswerKind, read, retry_after_s
from dingbridge.consumers.forward.signature import headers, key_of, webhook_id
from dingbridge.events.envelope import Received, to_records
from dingbridge.events.event import Event, Sent, decode
from dingbridge.retry import ASKED_MAX_S
from tests.support.cases import of_each
from tests.unit.forward.support import SECRET, event

CALLBACK = {
    "EventType": "user_modify_org",
    "TimeStamp": "1700000000000",
    "UserId": ["u1"],
    "CorpId": "dingcorp1",
}


TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]))


@given(TEXT, st.integers(-(2**70), 2**70))
def test_each_form_holds_the_callback_with_every_value(text: str, number: int) -> None:
    callback = {**CALLBACK, "extra": {"文": text, "n": number}}
    record = to_records(Received(1, "j", 1700000000500, "default", "http", json.dumps(callback).encode()))[0]
    found = decode(record.value)
    whole, plain, string = (body_of(found, form) for form in BODY_FORMS)  # type: ignore[arg-type]
    assert [whole[0], plain[0], string[0]] == ["application/cloudevents+json", *["application/json"] * 2]
    assert decode(whole[1]) == found
    assert json.loads(plain[1]) == json.loads(json.loads(string[1])) == callback


def change(**data: Any) -> Event:
    envelope = {"specversion": "1.0", "id": "c1", "source": "/dingbridge", "type": "com.dingbridge.change"}
    data = {"corpId": "dingcorp1", "kind": "user", "id": "E1", "dingtalkId": "u1", **data}
    return decode(orjson.dumps({**envelope, "subject": "E1", "data": data}), Sent())


PERSON = {"mobile": {"old": "1391", "new": "1392"}, "title": {"old": "a", "new": "b"}}


FORM = {"事由": "病假", "天数": "2"}


def test_of_a_change_values_are_sent_only_of_the_fields_that_are_named() -> None:
    """The guide: of all others a system gets the name alone."""
    found = orjson.loads(body_of(change(fields=PERSON, form=FORM), "cloudevents", ["title", "天数"])[1])
    assert found["data"] == {
        "corpId": "dingcorp1", "kind": "user", "id": "E1", "dingtalkId": "u1",
        "fields": {"title": PERSON["title"]}, "form": {"天数": "2"}, "withheld": ["mobile", "事由"],
    }  # fmt: skip
    assert (found["subject"], found["id"]) == ("E1", "c1")


@given(st.dictionaries(st.text(), st.dictionaries(st.sampled_from(["old", "new"]), st.text(min_size=9))))
def test_by_default_no_value_of_a_change_is_sent(fields: dict[str, Any]) -> None:
    fields.pop("exists", None)
    body = body_of(change(fields=fields, form={name: "private value" for name in fields}), "cloudevents")[1]
    data = orjson.loads(body)["data"]
    assert data.get("fields", {}) == data.get("form", {}) == {}
    assert set(data.get("withheld", [])) == set(fields)


def test_who_came_or_left_is_sent_and_what_is_no_table_of_fields_is_not() -> None:
    left = {"exists": {"old": True, "new": False}}
    assert orjson.loads(body_of(change(fields=left), "cloudevents")[1])["data"]["fields"] == left
    odd = orjson.loads(body_of(change(fields=["1391"], form="1391"), "cloudevents")[1])["data"]
    assert odd.keys() == {"corpId", "kind", "id", "dingtalkId"}


def test_the_specifications_example() -> None:
    """The test vector of the specification's reference libraries."""
    body = b'{"test": 2432232314}'
    found = headers([key_of(SECRET)], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert found["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert found["webhook-id"] == "msg_p5jXN8AQM9LWM0D4loKWxJek"
    assert found["webhook-timestamp"] == "1614265330"
    assert "webhook-signature" not in headers([], "msg_1", 1, b"{}")


@given(st.lists(st.binary(min_size=24, max_size=64), min_size=1, max_size=2), TEXT)
def test_the_specifications_library_verifies_each_signature(keys: list[bytes], text: str) -> None:
    """Either of two while a secret is changed."""
    body = text.encode()
    secrets = ["whsec_" + b64encode(key).decode() for key in keys]
    found = headers([key_of(secret) for secret in secrets], "msg_1", int(time.time()), body)
    for secret in secrets:
        Webhook(secret).verify(body, found, json_parse=False)
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body + b" ", found, json_parse=False)


@of_each(["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_@@@", "whsec_c2hvcnQ=", "whsec_" + "A" * 88])
def test_a_wrong_secret_is_said_without_it(secret: str) -> None:
    with pytest.raises(ValueError, match=r"whsec_|bytes after base64") as error:
        key_of(secret)
    assert secret.removeprefix("whsec_") not in str(error.value)


def test_an_events_id_is_the_same_at_every_attempt_and_another_for_another_event() -> None:
    ids = [webhook_id(event(event_id=e, app=a)) for e in ("e1", "e2") for a in ("default", "other")]
    assert len(set(ids)) == 4
    assert webhook_id(event(event_id="e1", app="default")) == ids[0]
    assert all("." not in i and len(i) <= 64 for i in ids)


POLICY: dict[AnswerKind, set[int]] = {
    "taken": set(range(200, 300)),
    "unavailable": {429, 503},
    "unauthorized": {401, 403},
    "not_found": {404, *range(300, 400)},
    "failed": {408, 425, *range(100, 200), *range(500, 600)} - {503},
}
"""The guide's table; every other 4xx is refused."""


FAR_OFF = (
    "Mon, 01 Jan 99999999999 00:00:00 GMT",
    "Wed, 21 Oct 2015 07:28:00 +99999999999999999999",
    "Mon, 99999999999 Jan 2015 00:00:00 GMT",
    "Fri, 31 Dec 9999 23:59:59 -2359",
)
"""Dates that are none, as one of a broken or hostile system may be."""


def date(day: int, year: int, hour: int, zone: int, sign: str) -> str:
    return f"Mon, {day} Jan {year} {hour}:00:00 {sign}{zone}"


@given(
    st.just("7")
    | st.text()
    | st.sampled_from(FAR_OFF)
    | st.builds(date, *[st.integers(0, 10**30)] * 4, st.sampled_from("+-"))
)
def test_every_status_has_the_meaning_that_the_guide_says(value: str) -> None:
    """Whatever stands in ``Retry-After`` is no error."""
    asked = retry_after_s(value)
    assert asked is None or 0 <= asked <= ASKED_MAX_S
    for status in range(100, 600):
        kind = next((kind for kind, statuses in POLICY.items() if status in statuses), "refused")
        answer = read(status, {"Retry-After": value})
        assert answer.kind == kind
        assert str(status) in answer.words
        assert (answer.after_s is None) == (kind in ("taken", "refused") or asked is None)


@of_each(
    [
        *[(value, None) for value in (None, "", "soon", "-5", "1.5")],
        ("0", 0),
        (" 120 ", 120),
        ("99999999999999", ASKED_MAX_S),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Wed, 21 Oct 2199 07:28:00 GMT", ASKED_MAX_S),
    ]
)
def test_retry_after(case: tuple[str | None, float | None]) -> None:
    assert retry_after_s(case[0]) == case[1]


def test_retry_after_as_a_date_counts_from_now() -> None:
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=300), usegmt=True)
    assert retry_after_s(moment) == pytest.approx(299, abs=60)

"""What a person sees of a payload without ``--reveal``."""

import json
from base64 import b64decode, b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.masking import SHOWN, mask, mask_event, reveal, reveal_bytes, shown_body

SECRET = "s3cr3t-and-private"
NUMBER = 8613800138000


@given(name=st.text(min_size=1).filter(lambda name: name.lower() not in SHOWN))
def test_a_name_that_nobody_listed_is_masked_at_any_depth(name: str) -> None:
    value = {"userid": {"deep": [{name: SECRET}, {name: [SECRET, NUMBER, NUMBER + 0.5]}]}}
    shown = json.dumps(mask(value))
    assert (SECRET in shown, str(NUMBER) in shown) == (False, False)


@pytest.mark.parametrize("name", ["AuthCode", "tmp_auth_code", "permanent_code", "SuiteTicket", "mobile"])
def test_what_grants_access_or_is_private_is_masked(name: str) -> None:
    assert mask({name: SECRET}) == {name: f"***({len(SECRET)})"}


def test_ids_types_and_times_are_shown() -> None:
    value = {"EventType": "user_add_org", "UserId": ["u1"], "TimeStamp": 1, "processInstanceId": "p"}
    assert mask(value) == value


def test_an_id_is_shown_in_all_places_or_in_none() -> None:
    event = {
        "id": "user_add_org:e/u1",
        "subject": "u1",
        "partitionkey": "corp:u1",
        "data": {"userId": ["u1"]},
    }
    assert mask_event(event) == event


@pytest.mark.parametrize(
    "name", ["SuiteTicket", "suite_ticket", "AuthCode", "tmp_auth_code", "permanentCode"]
)
@pytest.mark.parametrize(
    "within",
    [
        lambda given: given,
        lambda given: [{"deep": [given]}],
        lambda given: {"biz_data": json.dumps(given)},
        lambda given: {"biz_data": json.dumps({"again": json.dumps([given])})},
        lambda given: {"data_base64": b64encode(json.dumps(given).encode()).decode()},
        lambda given: {"words": f"said: {json.dumps(given)}"},
    ],
)
def test_what_grants_access_is_revealed_to_nobody_wherever_it_stands(name: str, within: Any) -> None:
    value = within({name: SECRET, "title": "shown"})
    raw = json.dumps(value).encode()
    for shown in (json.dumps(reveal(value)), reveal_bytes(raw).decode(), shown_body(raw, revealed=True)):
        assert SECRET not in shown
        assert b64encode(SECRET.encode()).decode()[4:-4] not in shown
        assert "shown" in shown or "data_base64" in shown
    assert SECRET not in shown_body(raw, revealed=False)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"SuiteTicket":"%s","SuiteTicket":"%s"}',
        b'{"a":"\xff","authCode" : "%s","n":NaN}',
        b'{"\\u0053uiteTicket":"%s"}',
        b"auth_code=%s&x=%s",
        b'{"biz_data":"{\\"suiteTicket\\":\\"%s\\"}"',
        b"{'authCode': '%s', 'n': None}",
        b'{"n":NaN,"SuiteTicket":["%s"]}',
        b'{"n":NaN,"SuiteTicket":{"of":"%s"}}',
        b"<xml><SuiteTicket><![CDATA[%s]]></SuiteTicket></xml>",
        b"suiteTicket%22%3A%22%s",
        b'{"Suite-Ticket":"%s"}',
    ],
)
def test_nor_in_what_is_no_json_or_says_it_in_an_odd_way(raw: bytes) -> None:
    raw = raw.replace(b"%s", SECRET.encode())
    for revealed in (True, False):
        assert SECRET not in shown_body(raw.replace(b"&x=" + SECRET.encode(), b""), revealed=revealed)


def test_nor_in_a_delivery_s_record_where_the_answer_is_cut_off() -> None:
    answer = json.dumps({"echo": {"suiteTicket": SECRET}})[:-3].encode()
    raw = json.dumps({"data": {"answer": b64encode(answer).decode()}}).encode()
    shown = json.loads(reveal_bytes(raw))["data"]["answer"]
    assert b64decode(shown) == b'{"echo": {"suiteTicket": ***'


@given(st.binary() | st.text().map(str.encode))
def test_other_bytes_stay_as_they_are(raw: bytes) -> None:
    assert reveal_bytes(raw) == raw


def test_numbers_with_many_digits_stay_as_they_are() -> None:
    raw = b'{"n":123456789012345678901234.50,"SuiteTicket":"x"}'
    assert reveal_bytes(raw) == b'{"n":123456789012345678901234.50,"SuiteTicket":"***(1)"}'


@pytest.mark.parametrize("depth", [150, 250, 900])
def test_whatever_is_nested_can_be_shown(depth: int) -> None:
    raw = b'{"a":[' * depth + b'"\\ud800"' + b"]}" * depth
    for revealed in (True, False):
        shown_body(raw, revealed=revealed).encode()
    if depth < 400:
        json.dumps([mask(json.loads(raw)), reveal(json.loads(raw))])

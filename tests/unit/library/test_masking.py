"""What a person sees of a payload without ``--reveal``."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.masking import SHOWN, mask, mask_event

SECRET = "s3cr3t-and-private"


@given(name=st.text(min_size=1).filter(lambda name: name.lower() not in SHOWN))
def test_a_name_that_nobody_listed_is_masked_at_any_depth(name: str) -> None:
    value = {"userid": {"deep": [{name: SECRET}, {name: [SECRET]}]}}
    assert SECRET not in json.dumps(mask(value))


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

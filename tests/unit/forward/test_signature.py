"""Signatures, held against the specification's own library."""

import json
import time
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from dingbridge.consumers.forward.signature import headers, key_of, webhook_id
from tests.unit.forward.support import event

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_the_specifications_example() -> None:
    """The test vector of the specification's reference libraries."""
    body = b'{"test": 2432232314}'
    found = headers([key_of(SECRET)], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert found["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert found["webhook-id"] == "msg_p5jXN8AQM9LWM0D4loKWxJek"
    assert found["webhook-timestamp"] == "1614265330"


@given(key=st.binary(min_size=24, max_size=64), value=st.dictionaries(st.text(), st.text()))
def test_the_specifications_library_verifies_what_is_signed(key: bytes, value: dict[str, str]) -> None:
    secret = "whsec_" + b64encode(key).decode()
    body = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    found = headers([key_of(secret)], "msg_1", int(time.time()), body.encode())
    assert Webhook(secret).verify(body.encode(), found) == json.loads(body)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body.encode() + b" ", found)


def test_while_a_secret_is_changed_either_verifies() -> None:
    old, new = ("whsec_" + b64encode(bytes([n]) * 32).decode() for n in (1, 2))
    found = headers([key_of(new), key_of(old)], "msg_1", int(time.time()), b"{}")
    assert Webhook(old).verify(b"{}", found) == Webhook(new).verify(b"{}", found) == {}


def test_without_a_key_there_is_no_signature() -> None:
    assert "webhook-signature" not in headers([], "msg_1", 1, b"{}")


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "does not begin with whsec_"),
        ("whsec_@@@", "no base64"),
        ("whsec_c2hvcnQ=", "has 5 bytes"),
        ("whsec_" + b64encode(bytes(65)).decode(), "has 65 bytes"),
    ],
)
def test_a_wrong_secret_is_said_without_it(secret: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as error:
        key_of(secret)
    assert secret.removeprefix("whsec_") not in str(error.value)


def test_an_events_id_is_the_same_at_every_attempt_and_another_for_another_event() -> None:
    ids = [webhook_id(event(event_id=e, app=a)) for e in ("e1", "e2") for a in ("default", "other")]
    assert len(set(ids)) == 4
    assert webhook_id(event(event_id="e1", app="default")) == ids[0]
    assert all("." not in i and len(i) <= 64 for i in ids)

"""A push of our own: an ingress takes it, its nonce comes out again, each wrong answer is told apart."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.dingtalk.crypto import CallbackCrypto, Credentials, SignatureParameters
from dingbridge.dingtalk.self_push import VERDICTS, SelfPush, judge, nonce_of, self_push

OURS = Credentials("tokenOfTheTest", "a" * 43, ("dingappkey", "dingcorp1"))
OTHER_TOKEN = Credentials("anotherToken", "a" * 43, ("dingappkey",))
OTHER_KEY = Credentials(OURS.token, "b" * 43, ("dingappkey",))
STRANGER = Credentials(OURS.token, OURS.aes_key, ("dingstranger",))


def opened(push: SelfPush, credentials: Credentials = OURS):
    encrypted = json.loads(push.body)["encrypt"]
    return CallbackCrypto([credentials]).decrypt_callback(
        SignatureParameters.from_query(push.query), encrypted
    )


def answer(push: SelfPush, message: bytes = b"success", by: Credentials = OURS, owner: str | None = None):
    sealed = CallbackCrypto([by]).encrypt_reply(
        message, by, owner or push.owner_key, timestamp="1", nonce="n"
    )
    return json.dumps(sealed).encode()


def test_it_opens_as_a_check_url_and_its_nonce_comes_out():
    push = self_push(OURS)
    seen = opened(push)
    assert json.loads(seen.plaintext)["EventType"] == "check_url"
    assert seen.owner_key == "dingappkey"
    assert nonce_of(seen.plaintext) == push.nonce
    assert self_push(OURS).nonce != push.nonce


def test_owner_nonce_and_time_may_be_given():
    push = self_push(OURS, owner_key="dingcorp1", nonce="0" * 32, timestamp_ms=1731000000123)
    assert opened(push).owner_key == "dingcorp1"
    assert (push.nonce, push.query["timestamp"]) == ("0" * 32, "1731000000123")
    with pytest.raises(ValueError, match="32"):
        self_push(OURS, nonce="short")


def test_neither_nonce_nor_secrets_are_in_the_open():
    push = self_push(OURS)
    sent = json.dumps(push.query) + push.body.decode()
    for hidden in (push.nonce, OURS.token, OURS.aes_key):
        assert hidden not in sent
    assert OURS.token not in repr(push)


@given(st.binary(max_size=200))
def test_no_message_upsets_the_reading_of_a_nonce(plaintext):
    assert nonce_of(plaintext) is None


@pytest.mark.parametrize(
    "plaintext",
    [
        b'{"EventType":"check_url"}',
        b'{"dingbridgeNonce":1}',
        b'{"dingbridgeNonce":"' + b"0" * 31 + b'"}',
        b'{"dingbridgeNonce":"' + b"G" * 32 + b'"}',
        b'["dingbridgeNonce"]',
        b"[" * 100_000,
    ],
    ids=lambda value: value[:24].decode(),
)
def test_what_is_no_nonce_of_ours(plaintext):
    assert nonce_of(plaintext) is None


def test_every_answer_is_told_apart():
    push = self_push(OURS)
    tampered = json.loads(answer(push)) | {"timeStamp": "2"}
    found = {
        "success": judge(push, OURS, 200, answer(push)),
        "http": judge(push, OURS, 302, answer(push)),
        "not_json": judge(push, OURS, 200, b"<html>"),
        "fields": judge(push, OURS, 200, b'{"errcode":0}'),
        "signature": judge(push, OURS, 200, answer(push, by=OTHER_TOKEN)),
        "cipher": judge(push, OURS, 200, answer(push, by=OTHER_KEY)),
        "owner": judge(push, OURS, 200, answer(push, by=STRANGER, owner="dingstranger")),
        "text": judge(push, OURS, 200, answer(push, b"ok")),
    }
    assert found == {verdict: verdict for verdict in VERDICTS}
    assert judge(push, OURS, 200, json.dumps(tampered).encode()) == "signature"
    # of our own owner keys, but not the one that was pushed for: DingTalk would not take it
    assert judge(push, OURS, 200, answer(push, owner="dingcorp1")) == "owner"
    assert judge(push, OURS, 200, b"[1]") == "not_json"
    assert judge(push, OURS, 200, b"[" * 100_000) == "not_json"

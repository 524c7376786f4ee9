"""A push of our own: an ingress takes it, its nonce comes out again, no wrong answer passes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.dingtalk.crypto import CallbackCrypto, Credentials, SignatureParameters
from dingbridge.dingtalk.self_push import SelfPush, judge, nonce_of, self_push

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


def test_only_what_dingtalk_would_take_is_a_success():
    push = self_push(OURS)
    assert judge(push, OURS, 200, answer(push)) == "success"
    assert judge(push, OURS, 302, answer(push)) == "http"
    tampered = json.loads(answer(push)) | {"timeStamp": "2"}
    others = {
        "no JSON": b"<html>",
        "no object": b"[1]",
        "too deep": b"[" * 100_000,
        "no fields": b'{"errcode":0}',
        "a number": json.dumps(tampered | {"timeStamp": 1}).encode(),
        "an empty one": json.dumps(tampered | {"nonce": ""}).encode(),
        "another token": answer(push, by=OTHER_TOKEN),
        "another key": answer(push, by=OTHER_KEY),
        "another owner": answer(push, by=STRANGER, owner="dingstranger"),
        "another owner of ours": answer(push, owner="dingcorp1"),
        "another word": answer(push, b"ok"),
        "another time": json.dumps(tampered).encode(),
    }
    assert {name: judge(push, OURS, 200, body) for name, body in others.items()} == dict.fromkeys(
        others, "answer"
    )

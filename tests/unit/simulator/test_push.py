"""The parts of a push that need no network: building it, judging the answer."""

import json

import pytest

from dingbridge.dingtalk.crypto import CallbackCrypto, Credentials, DecryptedCallback, SignatureParameters
from dingbridge.simulator.pushes.push import RETRY_DELAYS_S, Target, build_push, check_reply

AES_KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
OWNER = "dingsampleappkey01"
CREDENTIALS = Credentials("sampletoken", AES_KEY, (OWNER,))
TARGET = Target("http://127.0.0.1/callback", "sampletoken", AES_KEY, OWNER)


def opened(query: dict[str, str], body: bytes) -> DecryptedCallback:
    encrypted = json.loads(body)
    assert list(encrypted) == ["encrypt"]
    return CallbackCrypto([CREDENTIALS]).decrypt_callback(
        SignatureParameters.from_query(query), encrypted["encrypt"]
    )


@pytest.mark.parametrize("keys", [CREDENTIALS, TARGET])
def test_a_push_opens_with_the_same_keys(keys: Credentials | Target) -> None:
    plaintext = '{"EventType":"user_add_org","name":"欧阳"}'.encode()
    query, body = build_push(keys, plaintext, OWNER)
    assert set(query) == {"signature", "msg_signature", "timestamp", "nonce"}
    assert opened(query, body).plaintext == plaintext


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

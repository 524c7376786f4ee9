"""A suite's token for one company: the signature, the call, and a ticket that is refused."""

import json
import urllib.parse
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.dingtalk.crypto import CallbackCrypto, Credentials, SignatureParameters
from dingbridge.dingtalk.errors import ApiError, BadRequest, RateLimited, TokenInvalid
from dingbridge.dingtalk.self_push import SelfPush, judge, nonce_of, self_push
from dingbridge.dingtalk.suite import CorpToken, signature
from dingbridge.dingtalk.transport import Transport


class Kept:
    """Tickets: ``remembered`` until one is refused, then ``newest``."""

    def __init__(self, remembered: str, newest: str) -> None:
        self.remembered, self.newest = remembered, newest
        self.refused: list[str] = []

    async def latest(self, *, refused: str | None = None) -> str:
        if refused is None:
            return self.remembered
        self.refused.append(refused)
        return self.newest


class Platform(Transport):
    """Takes ``good`` alone, and refuses others with ``error``."""

    def __init__(self, good: str, error: type[ApiError] = TokenInvalid) -> None:
        super().__init__("http://127.0.0.1:1", None, timeout_s=1)
        self.good, self.error = good, error
        self.asked: list[tuple[str, str, str, dict[str, str], dict[str, Any]]] = []

    async def call(self, api: str, method: str, path: str, *, query: Any, body: Any = None, **_: Any) -> Any:
        self.asked.append((api, method, path, query, body))
        if query["suiteTicket"] != self.good:
            raise self.error("refused", api=api)
        return {"access_token": "t"}


def corp_token(platform: Platform, tickets: Kept) -> CorpToken:
    return CorpToken(
        platform,
        key="suitekey01",
        secret="suiteSecretSample",
        corp_id="dingcorp9",
        tickets=tickets,
        now_s=lambda: 1597199507.217,
    )


def test_the_signature_is_that_of_an_independent_implementation() -> None:
    """printf '1597199507217\\nsuiteTicketSample' | openssl dgst -sha256 -hmac suiteSecretSample -binary |
    base64"""
    made = signature("suiteSecretSample", "1597199507217", "suiteTicketSample")
    assert made == "qrrBuqiNEJ1/1NDErNpBb9LHsdPd3NOhcSZx0mNaAoM="
    assert "%2F" in urllib.parse.quote(made, safe="")


async def test_the_call_as_it_is_documented() -> None:
    platform = Platform("suiteTicketSample")
    assert await corp_token(platform, Kept("suiteTicketSample", "")).fetch() == {"access_token": "t"}
    query = {
        "accessKey": "suitekey01",
        "timestamp": "1597199507217",
        "suiteTicket": "suiteTicketSample",
        "signature": "qrrBuqiNEJ1/1NDErNpBb9LHsdPd3NOhcSZx0mNaAoM=",
    }
    path = "service/get_corp_token"
    assert platform.asked == [(path, "POST", f"/{path}", query, {"auth_corpid": "dingcorp9"})]


@pytest.mark.parametrize("error", [TokenInvalid, BadRequest])
async def test_a_refused_ticket_is_looked_up_anew_and_the_newer_one_is_used(error: type[ApiError]) -> None:
    platform, tickets = Platform("new", error), Kept("old", "new")
    assert await corp_token(platform, tickets).fetch() == {"access_token": "t"}
    assert tickets.refused == ["old"]
    assert [query["suiteTicket"] for _, _, _, query, _ in platform.asked] == ["old", "new"]


async def test_it_is_looked_up_once_and_not_tried_again_when_there_is_no_newer_one() -> None:
    platform = Platform("another")
    with pytest.raises(TokenInvalid):
        await corp_token(platform, Kept("old", "old")).fetch()
    assert len(platform.asked) == 1
    tickets = Kept("old", "new")
    with pytest.raises(TokenInvalid):
        await corp_token(platform, tickets).fetch()
    assert tickets.refused == ["old"]
    assert len(platform.asked) == 3


async def test_what_says_nothing_of_the_ticket_is_raised_at_once() -> None:
    tickets = Kept("old", "new")
    with pytest.raises(RateLimited):
        await corp_token(Platform("new", RateLimited), tickets).fetch()
    assert tickets.refused == []


# -- A push of our own: an ingress takes it, its nonce comes out again, no wrong answer passes


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

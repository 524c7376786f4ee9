"""A push of our own, made as DingTalk makes its pushes: the answer shows which ingress a URL leads to.

Pure: makes query and body, and judges an answer. It is a ``check_url`` with a nonce inside the encrypted
message, so no ingress publishes it, and only one with the same credentials can read the nonce. That ingress
remembers it for whoever asks at its private listener (``ingress/diagnostics.py``). Sending is the caller's.
"""

import json
import re
import secrets
import time
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from dingbridge.dingtalk.crypto import CallbackCrypto, Credentials, SignatureParameters, encrypt, sign
from dingbridge.dingtalk.errors import CallbackError

NONCE_FIELD: Final = "dingbridgeNonce"
"""Its name in the message; DingTalk's own ``check_url`` holds the EventType alone."""

Verdict = Literal["success", "http", "answer"]
"""What an answer is: ``success`` is what DingTalk wants; ``http`` another status than 200; ``answer`` 200,
but not the encrypted success for our owner key."""

_NONCE_RE = re.compile(r"[0-9a-f]{32}")
_SIGNED = ("msg_signature", "timeStamp", "nonce")


@dataclass(frozen=True, slots=True)
class SelfPush:
    """One push: ``POST`` its ``body`` as JSON with ``query`` added to the URL's own."""

    nonce: str
    owner_key: str
    query: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)


def self_push(credentials: Credentials) -> SelfPush:
    """A push signed and encrypted with ``credentials``, for the first of their owner keys."""
    nonce, owner = secrets.token_hex(16), credentials.owner_keys[0]
    stamp = str(time.time_ns() // 1_000_000)
    message = json.dumps({"EventType": "check_url", NONCE_FIELD: nonce}).encode()
    encrypted = encrypt(credentials.key, message, owner)
    once = secrets.token_hex(4)  # the request's own nonce, in the open as DingTalk's is
    query = {
        "signature": sign(credentials.token, stamp, once, encrypted),
        "timestamp": stamp,
        "nonce": once,
    }
    return SelfPush(nonce, owner, query, json.dumps({"encrypt": encrypted}).encode())


def nonce_of(plaintext: bytes) -> str | None:
    """The nonce in a message that was opened; ``None`` when it is none of ours. Never raises."""
    try:
        event: Any = json.loads(plaintext)
    except (ValueError, RecursionError):
        return None
    nonce = event.get(NONCE_FIELD) if isinstance(event, dict) else None
    return nonce if isinstance(nonce, str) and _NONCE_RE.fullmatch(nonce) else None


def judge(push: SelfPush, credentials: Credentials, status: int, body: bytes) -> Verdict:
    """What the answer to ``push`` is, made with ``credentials``; ``status`` is HTTP's. Never raises."""
    if status != 200:
        return "http"
    try:
        reply = json.loads(body)
        opened = CallbackCrypto([credentials]).decrypt_callback(
            SignatureParameters.from_query({name: reply[name] for name in _SIGNED}), reply["encrypt"]
        )
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError, CallbackError):
        return "answer"
    well = opened.plaintext == b"success" and opened.owner_key == push.owner_key
    return "success" if well else "answer"

"""An independent pusher: sends signed callbacks to an ingress and logs every answer, by its own code.

It knows DingTalk's rules from ``dingtalk/crypto.py`` alone: an answer counts as ``success`` only if its
signature fits and it decrypts to that word.
"""

import asyncio
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import aiohttp

from bridge.settings import SAMPLE_CREDENTIALS
from dingtalk.crypto import CallbackCrypto, Credentials, SignatureParameters, encrypt, sign
from dingtalk.errors import CallbackError

CREDENTIALS = Credentials(
    SAMPLE_CREDENTIALS["DINGTALK_TOKEN"],
    SAMPLE_CREDENTIALS["DINGTALK_AES_KEY"],
    (SAMPLE_CREDENTIALS["DINGTALK_OWNER_KEY"],),
)
_CRYPTO = CallbackCrypto([CREDENTIALS])


def signed(plaintext: bytes, nonce: str = "n0nce000") -> tuple[dict[str, str], bytes]:
    """Query and body of one push."""
    stamp = str(int(time.time() * 1000))
    encrypted = encrypt(CREDENTIALS.key, plaintext, CREDENTIALS.owner_keys[0])
    query = {
        "signature": sign(CREDENTIALS.token, stamp, nonce, encrypted),
        "timestamp": stamp,
        "nonce": nonce,
    }
    return query, json.dumps({"encrypt": encrypted}).encode()


def is_success(body: bytes) -> bool:
    """Whether an answer is a rightly signed and encrypted ``success``."""
    try:
        answer = json.loads(body)
        opened = _CRYPTO.open(SignatureParameters.from_query(answer), answer["encrypt"])
    except (ValueError, KeyError, AttributeError, TypeError, CallbackError):
        return False
    return opened.plaintext == b"success"


@dataclass
class Pusher:
    """Pushes payloads to ``url``; ``answers`` holds for each number ``success`` or why not, the last try."""

    url: str
    retries: int = 0
    answers: dict[int, str] = field(default_factory=dict)

    async def push(self, http: aiohttp.ClientSession, number: int, plaintext: bytes) -> str:
        """One push, tried again ``retries`` times; returns and notes its outcome."""
        outcome = ""
        for _ in range(self.retries + 1):
            outcome = await self._once(http, plaintext)
            if outcome == "success":
                break
        self.answers[number] = outcome
        return outcome

    async def _once(self, http: aiohttp.ClientSession, plaintext: bytes) -> str:
        query, body = signed(plaintext)
        try:
            async with http.post(
                self.url, params=query, data=body, timeout=aiohttp.ClientTimeout(total=10)
            ) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return type(error).__name__
        if answer.status == 200:
            return "success" if is_success(content) else "false success"
        return str(answer.status)

    async def push_all(self, items: Iterable[tuple[int, bytes]], concurrency: int = 16) -> None:
        """Push all, at most ``concurrency`` at once."""
        queue = iter(items)

        async def work(http: aiohttp.ClientSession) -> None:
            for number, plaintext in queue:
                await self.push(http, number, plaintext)

        async with aiohttp.ClientSession() as http:
            await asyncio.gather(*(work(http) for _ in range(concurrency)))

    @property
    def succeeded(self) -> set[int]:
        return {number for number, outcome in self.answers.items() if outcome == "success"}

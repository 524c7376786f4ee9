"""An independent pusher: sends signed callbacks to an ingress and logs every answer, by its own code.

It knows DingTalk's rules from ``dingbridge/dingtalk/crypto.py`` alone: an answer counts as ``success`` only
if its signature fits and it decrypts to that word.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import aiohttp

from dingbridge.dingtalk.crypto import CallbackCrypto, Credentials, SignatureParameters, encrypt, sign
from dingbridge.dingtalk.errors import CallbackError
from dingbridge.settings import SAMPLE_CREDENTIALS

CREDENTIALS = Credentials(
    SAMPLE_CREDENTIALS["DINGTALK_TOKEN"],
    SAMPLE_CREDENTIALS["DINGTALK_AES_KEY"],
    (SAMPLE_CREDENTIALS["DINGTALK_OWNER_KEY"],),
)
_CRYPTO = CallbackCrypto([CREDENTIALS])

RETRY_AFTER_S = 0.1
"""DingTalk waits for 10 s and 30 s; here a test waits for the conditions, not for the clock."""


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
        opened = _CRYPTO.decrypt_callback(SignatureParameters.from_query(answer), answer["encrypt"])
    except (ValueError, KeyError, AttributeError, TypeError, CallbackError):
        return False
    return opened.plaintext == b"success"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one try brought: ``success``, ``false success``, an HTTP status, or the name of an error."""

    number: int
    outcome: str
    took_s: float


@dataclass
class Pusher:
    """Pushes payloads to ``url``; ``answers`` holds for each number ``success`` or why not, the last try;
    ``log`` holds every try, ``succeeded`` the numbers of which at least one was answered ``success``."""

    url: str
    retries: int = 0
    answers: dict[int, str] = field(default_factory=dict)
    log: list[Answer] = field(default_factory=list)
    succeeded: set[int] = field(default_factory=set)

    async def push(
        self, http: aiohttp.ClientSession, number: int, plaintext: bytes, retries: int | None = None
    ) -> str:
        """One push, tried again ``retries`` times (the pusher's own number unless given); returns and notes
        its outcome."""
        outcome = ""
        for attempt in range((self.retries if retries is None else retries) + 1):
            if attempt:
                await asyncio.sleep(RETRY_AFTER_S)
            outcome = await self.send(http, number, *signed(plaintext))
            if outcome == "success":
                break
        return outcome

    async def send(self, http: aiohttp.ClientSession, number: int, query: dict[str, str], body: bytes) -> str:
        """One request as it stands: for replays of a request that was made before."""
        began = time.monotonic()
        return self.note(number, await self._once(http, query, body), began)

    def note(self, number: int, outcome: str, began: float) -> str:
        """One try that began then (by ``time.monotonic``) has come to its end."""
        self.answers[number] = outcome
        if outcome == "success":
            self.succeeded.add(number)
        self.log.append(Answer(number, outcome, time.monotonic() - began))
        return outcome

    async def _once(self, http: aiohttp.ClientSession, query: dict[str, str], body: bytes) -> str:
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
    def outcomes(self) -> Counter[str]:
        """How often each outcome was met, every try counted."""
        return Counter(answer.outcome for answer in self.log)

    def percentile_ms(self, percent: float) -> float:
        """Time to a ``success`` in ms, at this percentile; 0 without any."""
        times = sorted(answer.took_s for answer in self.log if answer.outcome == "success")
        return 1000 * times[min(len(times) - 1, int(len(times) * percent / 100))] if times else 0.0

"""Delivering events: signed and encrypted, with DingTalk's deadline, retries and check of the answer.

Responsible for one push from its queue to its end (answered, or given up). What is pushed, and to whom, is
decided elsewhere; what happens to a push that was given up, too.

The rules: no correct encrypted ``success`` within 1500 ms is a failure (http-callback-overview); repeated
after 10 s and once more after 30 s, then given up (obtain-the-event-list-of-failed-push-messages). In Stream
mode what is not acknowledged comes again (protocol.md); when and how often is not documented: here each 60 s
(a comment in the vendor's Node SDK), at most 10 times in all. With no connection open an event is lost.
"""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Any, Final, Literal, Protocol

import aiohttp
import orjson
import structlog

from dingbridge.dingtalk.crypto import decode_key, decrypt, encrypt, sign
from dingbridge.dingtalk.errors import CallbackError

log = structlog.get_logger(__name__)

DEADLINE_S: Final = 1.5
RETRY_DELAYS_S: Final[tuple[float, ...]] = (10.0, 30.0)
STREAM_RETRY_DELAYS_S: Final[tuple[float, ...]] = (60.0,) * 9
CONCURRENCY: Final = 32
KEPT: Final = 200_000
"""Pushes that are remembered for ``Pusher.pushes``; older ones are forgotten (about 200 MB when full)."""
_LATENCIES_KEPT: Final = 20_000
_ANSWER_BYTES: Final = 64 * 1024

_decode_key = lru_cache(maxsize=64)(decode_key)


class Keys(Protocol):
    """What a push is signed and encrypted with: a ``Target``, or a
    ``dingbridge.dingtalk.crypto.Credentials``."""

    @property
    def token(self) -> str: ...

    @property
    def aes_key(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Target:
    """Where pushes go, and with what they are signed and encrypted."""

    url: str
    token: str = field(repr=False)
    aes_key: str = field(repr=False)
    owner_key: str


def build_push(
    keys: Keys,
    plaintext: bytes,
    owner_key: str,
    *,
    timestamp_ms: int | None = None,
    nonce: str | None = None,
    both_signatures: bool = True,
) -> tuple[dict[str, str], bytes]:
    """``(query, body)`` of one push, for ``session.post(url, params=query, data=body)``.

    ``both_signatures`` adds ``msg_signature`` beside ``signature``, as subscriptions made in the console do.
    Raises ``CredentialsError`` for an AES key that is none.
    """
    timestamp = str(time.time_ns() // 1_000_000 if timestamp_ms is None else timestamp_ms)
    nonce = nonce or secrets.token_hex(4)
    encrypted = encrypt(_decode_key(keys.aes_key), plaintext, owner_key)
    signature = sign(keys.token, timestamp, nonce, encrypted)
    query = {"signature": signature, "timestamp": timestamp, "nonce": nonce}
    if both_signatures:
        query = {"signature": signature, "msg_signature": signature, **query}
    # base64 needs no escaping
    return query, b'{"encrypt":"' + encrypted.encode() + b'"}'


def check_reply(keys: Keys, owner_key: str, status: int, body: bytes) -> str:
    """``success`` if this is the answer that DingTalk wants, else what is wrong with it.

    That is one of ``http_<status>``, ``reply_not_json``, ``reply_fields``, ``reply_signature``,
    ``reply_cipher``, ``reply_owner``, ``reply_text``.
    """
    if status != 200:
        return f"http_{status}"
    try:
        reply = orjson.loads(body)
    except orjson.JSONDecodeError:
        return "reply_not_json"
    if not isinstance(reply, dict):
        return "reply_not_json"
    values = []
    for name in ("msg_signature", "timeStamp", "nonce", "encrypt"):
        value = reply.get(name)
        if name == "timeStamp" and isinstance(value, int):
            value = str(value)  # the official PHP sample sends a number
        if not isinstance(value, str) or not value:
            return "reply_fields"
        values.append(value)
    signature, timestamp, nonce, encrypted = values
    if sign(keys.token, timestamp, nonce, encrypted) != signature:
        return "reply_signature"
    try:
        text, owner = decrypt(_decode_key(keys.aes_key), encrypted)
    except CallbackError:
        return "reply_cipher"
    if owner != owner_key:
        return "reply_owner"
    return "success" if text == b"success" else "reply_text"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One delivery: when it began (epoch ms), HTTP status if there was one, outcome, duration.

    ``outcome``: what ``check_reply`` says, or ``timeout``, ``connection`` or ``redirect``. In Stream mode
    ``status`` is the code of the answer, and ``Gateway.attempt`` names the outcomes.
    """

    at_ms: int
    status: int | None
    outcome: str
    latency_ms: float

    @property
    def taken(self) -> bool:
        return self.outcome in ("success", "no_status")


class Stream(Protocol):
    """Open connections of Stream mode."""

    async def attempt(self, plaintext: bytes) -> Attempt | None:
        """Deliver once, now; ``None`` when no connection is open."""


@dataclass(slots=True)
class Push:
    """One event on its way. ``context`` is the caller's. ``state`` ends as ``answered``, ``failed`` (given
    up after the last retry), ``dropped`` (nobody was registered any more) or ``lost`` (no connection was
    open)."""

    id: int
    event_type: str
    plaintext: bytes
    context: Any = None
    state: Literal["pending", "answered", "failed", "dropped", "lost"] = "pending"
    attempts: list[Attempt] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "event_type": self.event_type,
            "plaintext": self.plaintext.decode("utf-8", "replace"),
            "state": self.state,
            "answered_success": self.state == "answered",
            "attempts": [
                {"at_ms": a.at_ms, "status": a.status, "outcome": a.outcome, "latency_ms": a.latency_ms}
                for a in self.attempts
            ],
        }


class Pusher:
    """Pushes to one ``target``, at most ``concurrency`` at once, in order of queueing; to ``stream`` instead
    while that is set. Both may be set at any time.

    ``retry_scale`` multiplies the delays of the retries; both it and ``deadline_s`` (of HTTP) may be set at
    any time. ``on_failed`` is called with each push by HTTP that was given up: whether DingTalk lists those
    of Stream mode is not documented. Use as an async context manager, or ``start`` and ``stop``.
    """

    def __init__(
        self,
        target: Target | None = None,
        *,
        retry_scale: float = 1.0,
        deadline_s: float = DEADLINE_S,
        concurrency: int = CONCURRENCY,
        kept: int = KEPT,
        on_failed: Callable[[Push], None] = lambda push: None,
    ) -> None:
        self.target = target
        self.stream: Stream | None = None
        self.retry_scale = retry_scale
        self.deadline_s = deadline_s
        self._concurrency = concurrency
        self._on_failed = on_failed
        self._kept: deque[Push] = deque(maxlen=kept)
        self._queue: asyncio.Queue[Push] = asyncio.Queue()
        self._latencies: deque[float] = deque(maxlen=_LATENCIES_KEPT)
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._workers: list[asyncio.Task[None]] = []
        self._session: aiohttp.ClientSession | None = None
        self._settled = asyncio.Condition()
        self._last_id = 0
        self._last_outcome = "success"
        self.counts = dict.fromkeys(("answered", "failed", "dropped", "lost", "attempts", "retries"), 0)

    async def __aenter__(self) -> "Pusher":
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def start(self) -> None:
        # some more than the workers: a check of a URL must not wait for a free connection
        connector = aiohttp.TCPConnector(limit=self._concurrency + 8)
        self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        self._workers = [asyncio.create_task(self._work()) for _ in range(self._concurrency)]

    async def stop(self) -> None:
        """End at once; what is pending is forgotten (``drain`` first to keep it)."""
        for timer in self._timers.values():
            timer.cancel()
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def push(self, event_type: str, plaintext: bytes, context: Any = None) -> Push:
        """Queue one push; returns at once."""
        push = self.make(event_type, plaintext, context)
        self.enqueue(push)
        return push

    def make(self, event_type: str, plaintext: bytes, context: Any = None) -> Push:
        """A push that is pending, and waits for ``enqueue``."""
        self._last_id += 1
        push = Push(self._last_id, event_type, plaintext, context)
        self._kept.append(push)
        return push

    def enqueue(self, push: Push) -> None:
        self._queue.put_nowait(push)

    @property
    def pending(self) -> int:
        """Pushes that are queued, under way, or waiting for a retry."""
        counts = self.counts
        ended = counts["answered"] + counts["failed"] + counts["dropped"] + counts["lost"]
        return self._last_id - ended

    @property
    def queued(self) -> int:
        """Pushes that no worker has begun."""
        return self._queue.qsize()

    async def drain(self) -> None:
        """Wait until no push is pending, retries included."""
        async with self._settled:
            await self._settled.wait_for(lambda: self.pending == 0)

    def pushes(self, since: int = 0) -> Iterator[Push]:
        """The remembered pushes with an id above ``since``, oldest first."""
        first = self._last_id - len(self._kept) + 1
        return islice(self._kept, max(0, since + 1 - first), None)

    def stats(self) -> dict[str, Any]:
        """Counts since the start; p50 and p99 (ms) over the last 20,000 attempts that got any answer."""
        times = sorted(self._latencies)
        return {
            "pushed": self._last_id,
            **self.counts,
            "pending": self.pending,
            "remembered_from_id": self._last_id - len(self._kept) + 1,
            "p50_ms": round(times[len(times) // 2], 2) if times else None,
            "p99_ms": round(times[min(len(times) - 1, len(times) * 99 // 100)], 2) if times else None,
        }

    async def attempt(self, target: Target, plaintext: bytes) -> Attempt:
        """Deliver once, now; for ``check_url``. Not counted as a push."""
        if self._session is None:
            raise RuntimeError("start() the Pusher before pushing")
        query, body = build_push(target, plaintext, target.owner_key)
        # the registered address may have a query of its own: DingTalk appends to it
        url = (
            target.url + ("&" if "?" in target.url else "?") + "&".join(f"{k}={v}" for k, v in query.items())
        )
        at_ms = time.time_ns() // 1_000_000
        began = time.perf_counter()
        status: int | None = None
        try:
            async with self._session.post(
                url,
                data=body,
                headers={"Content-Type": "application/json"},
                timeout=aiohttp.ClientTimeout(total=self.deadline_s),
                allow_redirects=False,
            ) as response:
                status = response.status
                answer = await response.content.read(_ANSWER_BYTES)
                while len(answer) < _ANSWER_BYTES and (more := await response.content.read(_ANSWER_BYTES)):
                    answer += more
            redirected = 300 <= status < 400
            outcome = "redirect" if redirected else check_reply(target, target.owner_key, status, answer)
        except TimeoutError:
            outcome = "timeout"
        except (aiohttp.ClientError, OSError, ValueError):
            outcome = "connection"
        latency = (time.perf_counter() - began) * 1000
        return Attempt(at_ms, status, outcome, round(latency, 2))

    async def _work(self) -> None:
        while True:
            push = await self._queue.get()
            try:
                await self._deliver(push)
            except Exception:
                # nothing here is expected to raise; a push must end all the same, or drain would hang
                log.exception("simulator.push_fault", push=push.id)
                await self._settle(push, "dropped")

    async def _deliver(self, push: Push) -> None:
        stream, target = self.stream, self.target
        if stream is not None:
            streamed = await stream.attempt(push.plaintext)
            if streamed is None:
                await self._settle(push, "lost")
                return
            attempt, delays = streamed, STREAM_RETRY_DELAYS_S
        elif target is not None:
            attempt, delays = await self.attempt(target, push.plaintext), RETRY_DELAYS_S
        else:
            await self._settle(push, "dropped")
            return
        push.attempts.append(attempt)
        self.counts["attempts"] += 1
        if attempt.status is not None:
            self._latencies.append(attempt.latency_ms)
        if attempt.outcome != self._last_outcome:
            # the change of state, not each of the thousands that an outage brings
            write = log.info if attempt.taken else log.warning
            write("simulator.outcome", outcome=attempt.outcome, push=push.id, event_type=push.event_type)
            self._last_outcome = attempt.outcome
        if attempt.taken:
            await self._settle(push, "answered")
            return
        if len(push.attempts) > len(delays):
            if stream is None:
                self._on_failed(push)
            await self._settle(push, "failed")
            return
        delay = delays[len(push.attempts) - 1] * self.retry_scale
        self._timers[push.id] = asyncio.get_running_loop().call_later(delay, self._retry, push)

    def _retry(self, push: Push) -> None:
        del self._timers[push.id]
        self.counts["retries"] += 1
        self._queue.put_nowait(push)

    async def _settle(self, push: Push, state: Literal["answered", "failed", "dropped", "lost"]) -> None:
        push.state = state
        self.counts[state] += 1
        if self.pending == 0:
            async with self._settled:
                self._settled.notify_all()

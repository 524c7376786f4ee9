"""One callback: verify, decrypt, keep, and only then make the encrypted ``success``.

``CallbackReceiver`` gets the query and the body of a request and returns the body of the answer, or raises
``Refused``. What DingTalk did not sign is refused with a 4xx that names only a class; the reason is for log
and metrics. A signed push is never refused for its content. DingTalk's checks of the URL are answered, but
are no events and not kept. How requests come in and answers go out is ``ingress/server.py``. The crypto is
``dingbridge/dingtalk/crypto.py``; how a callback is kept is ``ingress/journal/writer.py``.
"""

import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from prometheus_client import Counter

from dingbridge.dingtalk.crypto import CallbackCrypto, Credentials, DecryptedCallback, SignatureParameters
from dingbridge.dingtalk.errors import CallbackError, OwnerMismatch
from dingbridge.dingtalk.self_push import nonce_of
from dingbridge.events import URL_CHECKS, extract_facts
from dingbridge.ingress.diagnostics import Diagnostics
from dingbridge.ingress.errors import JournalUnavailable
from dingbridge.ingress.journal.rows import NewCallback, pushed_callback
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.metrics import HttpMetrics, known_type
from dingbridge.settings import IngressSettings

log = structlog.get_logger(__name__)

FIELDS_MAX = 100
"""DingTalk's body is one field. JSON of millions of values would hold up the loop for seconds (measured)
before its signature could be looked at."""


class Refused(Exception):
    """Ends a request: ``outcome`` is the class that the sender sees, ``reason`` what log and metrics see;
    ``words`` for the operator and ``details`` go to the log."""

    def __init__(
        self, status: HTTPStatus, outcome: str, reason: str, words: str = "", **details: Any
    ) -> None:
        self.status, self.outcome, self.reason = status, outcome, reason
        self.words, self.details = words, details
        super().__init__(reason)


class CallbackReceiver:
    """Receives callbacks of any app and keeps them in ``journal``."""

    def __init__(
        self, settings: IngressSettings, journal: Journal, metrics: HttpMetrics, diagnostics: Diagnostics
    ) -> None:
        self._journal, self._metrics, self._diagnostics = journal, metrics, diagnostics
        self._max_age_s, self._suite_check_reply = settings.max_age_s, settings.suite_check_reply
        self._successes: dict[tuple[Credentials, str], bytes] = {}
        self._successes_second = 0

    async def receive(self, app: str, crypto: CallbackCrypto, query: Mapping[str, str], body: bytes) -> bytes:
        """The answer's body, once the callback is durable. Raises ``Refused``."""
        encrypted, envelope = _encrypted(body)
        parameters = _parameters(query, envelope)
        callback = self._decrypt(app, crypto, parameters, encrypted)
        self._check_age(parameters)
        facts = extract_facts(callback.plaintext)
        if facts.event_type in URL_CHECKS:
            self._metrics.callbacks.labels("check", "", known_type(facts.event_type), "http").inc()
            log.info("callback.url_check", event_type=facts.event_type, app=app, owner=callback.owner_key)
            if (nonce := nonce_of(callback.plaintext)) is not None:  # from a command of ours, which polls
                self._diagnostics.check_seen(nonce, app)
            return self._check_reply(crypto, callback)
        try:
            push_id = parameters.signature.encode()
            new_callback = pushed_callback(app, "http", callback.plaintext, facts, push_id)
            # Invariant 1: `success` is made below, and only when this has returned
            await accept(self._journal, new_callback, self._metrics.callbacks)
        except JournalUnavailable as error:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", error.reason, str(error)) from None
        self._diagnostics.owner_accepted(app, callback.owner_key)
        return self._success(crypto, callback)

    def _decrypt(
        self, app: str, crypto: CallbackCrypto, parameters: SignatureParameters, encrypted: str
    ) -> DecryptedCallback:
        try:
            return crypto.decrypt_callback(parameters, encrypted)
        except CallbackError as error:
            details = {}
            if isinstance(error, OwnerMismatch):
                details = {"owner_seen": error.owner_seen}
                self._diagnostics.owner_refused(app, error.owner_seen)
            raise Refused(HTTPStatus.FORBIDDEN, "forbidden", error.reason, str(error), **details) from None

    def _check_age(self, parameters: SignatureParameters) -> None:
        stamp = parameters.timestamp_ms
        if stamp is None:
            raise Refused(HTTPStatus.BAD_REQUEST, "malformed", "timestamp", "the timestamp is no epoch ms")
        skew_s = time.time() - stamp / 1000
        self._metrics.clock_skew_seconds.set(skew_s)
        if self._max_age_s and abs(skew_s) > self._max_age_s:
            side = "behind" if skew_s > 0 else "ahead of"
            words = (
                f"clock skew: the signed timestamp is {abs(skew_s):.0f} s {side} our clock, more than "
                f"CALLBACK_MAX_AGE_S ({self._max_age_s:g}); set this machine's clock, or somebody "
                "replays an old request"
            )
            raise Refused(HTTPStatus.FORBIDDEN, "forbidden", "age", words)

    def _check_reply(self, crypto: CallbackCrypto, callback: DecryptedCallback) -> bytes:
        """``success``, or the check's own ``Random``, as an old official demo (isv-demo-java) answers."""
        if self._suite_check_reply == "random":
            try:
                given = orjson.loads(callback.plaintext).get("Random")
            except orjson.JSONDecodeError:
                given = None
            if isinstance(given, str):
                return _reply(crypto, given.encode(), callback, int(time.time() * 1000))
        return self._success(crypto, callback)

    def _success(self, crypto: CallbackCrypto, callback: DecryptedCallback) -> bytes:
        """The encrypted ``success``, made once a second for each owner: it is the same for every callback."""
        second = int(time.time())
        if second != self._successes_second:
            self._successes.clear()
            self._successes_second = second
        key = (callback.credentials, callback.owner_key)
        answer = self._successes.get(key)
        if answer is None:
            answer = self._successes[key] = _reply(crypto, b"success", callback, second * 1000)
        return answer


async def accept(journal: Journal, callback: NewCallback, callbacks: Counter) -> None:
    """Return once ``callback``, which DingTalk has just pushed, is on the disk, or known to be there already;
    count it in ``callbacks``, as ``HttpMetrics`` has it. Raises ``JournalUnavailable``."""
    outcome = "kept" if await journal.append(callback) else "duplicate"
    callbacks.labels(outcome, "", known_type(callback.facts.event_type), callback.via).inc()


def _encrypted(body: bytes) -> tuple[str, Mapping[str, Any]]:
    """The field ``encrypt`` of the outer JSON, and that JSON."""
    if body.count(b",") > FIELDS_MAX:  # depth has a limit of its own, so this bounds the values
        raise Refused(HTTPStatus.BAD_REQUEST, "malformed", "body", "the body has more fields than a callback")
    try:
        envelope = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Refused(HTTPStatus.BAD_REQUEST, "malformed", "body", "the body is no JSON") from None
    encrypted = envelope.get("encrypt") if isinstance(envelope, dict) else None
    if not isinstance(encrypted, str) or not encrypted:
        raise Refused(HTTPStatus.BAD_REQUEST, "malformed", "body", "the body has no text field named encrypt")
    return encrypted, envelope


def _parameters(query: Mapping[str, str], envelope: Mapping[str, Any]) -> SignatureParameters:
    try:
        return SignatureParameters.from_query(query)
    except CallbackError as error:
        words = str(error)
        if envelope.keys() & {"signature", "msg_signature"}:
            words = "the signature is in the body; DingTalk sends it in the query: " + words
        raise Refused(HTTPStatus.BAD_REQUEST, "malformed", "parameters", words) from None


def _reply(crypto: CallbackCrypto, message: bytes, callback: DecryptedCallback, at_ms: int) -> bytes:
    nonce = f"{time.time_ns() % 10**8:08d}"
    return orjson.dumps(crypto.encrypt_reply(message, callback, timestamp=str(at_ms), nonce=nonce))

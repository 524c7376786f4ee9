"""How every part of the project connects to Kafka, and what a failed connection means in words.

Producers, consumers and the admin client take their arguments from ``connection``; ``explain`` turns what
aiokafka raises into a sentence for the operator. Topics are ``dingbridge/kafka/topics.py``'s.
"""

import asyncio
import logging
import ssl
import time
from itertools import chain
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    LeaderNotAvailableError,
    NodeNotReadyError,
    NotEnoughReplicasAfterAppendError,
    NotEnoughReplicasError,
    NotLeaderForPartitionError,
    RequestTimedOutError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)

from dingbridge.errors import KafkaUnavailable
from dingbridge.settings import KafkaSettings
from dingbridge.settings.tls import trusting

PRODUCER_MAX_REQUEST_BYTES = 8 * 1024 * 1024
"""What our producers allow in one request, bytes: above the ``max.message.bytes`` of our topics, so that a
record which is too large is refused by the broker for its topic, not by the client for all."""

ABANDON_S = 1
"""How long the sender of an abandoned producer may take to see that its connections are gone."""

REFUSAL_S = 10
"""For how long a refusal in aiokafka's log explains a connection that fails, in s: aiokafka raises right
after it has logged."""

_CREDENTIAL_ERRORS = (AuthenticationFailedError, SaslAuthenticationFailed)
_MECHANISM_ERRORS = (AuthenticationMethodNotSupported, UnsupportedSaslMechanismError)
_RIGHTS_ERRORS = (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
)

_NO_LEADER = (LeaderNotAvailableError, NotLeaderForPartitionError)
_NOT_ENOUGH = (NotEnoughReplicasError, NotEnoughReplicasAfterAppendError)

_EXPIRED = 10
_OTHER_NAME = (62, 64)
"""OpenSSL's verify codes: X509_V_ERR_CERT_HAS_EXPIRED, …_HOSTNAME_MISMATCH, …_IP_ADDRESS_MISMATCH."""


def connection(settings: KafkaSettings) -> dict[str, Any]:
    """Keyword arguments for any aiokafka client. Raises ``KafkaUnavailable`` for a CA file that has become
    useless since the settings were checked, as one that is being replaced."""
    kwargs: dict[str, Any] = {
        "bootstrap_servers": [a.strip() for a in settings.kafka_bootstrap_servers.split(",") if a.strip()],
        "client_id": settings.client_id,
        "security_protocol": settings.kafka_security_protocol,
    }
    if settings.kafka_security_protocol.endswith("SSL"):
        try:
            kwargs["ssl_context"] = trusting(settings.kafka_ssl_cafile)
        except ValueError as error:
            raise KafkaUnavailable(f"KAFKA_SSL_CAFILE: {error}; put the authority's there") from None
    if settings.kafka_security_protocol.startswith("SASL"):
        password = settings.kafka_sasl_password
        kwargs |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.kafka_sasl_username,
            "sasl_plain_password": password.get_secret_value() if password else None,
        }
    return kwargs


def producer(settings: KafkaSettings, **overrides: Any) -> AIOKafkaProducer:
    """A producer that loses nothing by itself: ``acks=all``, idempotent, murmur2 on the key as in Java.
    Raises what ``connection`` raises.

    Once one of its sends has failed it is finished and must be replaced: aiokafka's sequence numbers have
    moved on, and every later send to that partition would be refused as out of order.
    """
    return AIOKafkaProducer(
        **{
            **connection(settings),
            "acks": "all",
            "enable_idempotence": True,
            "max_request_size": PRODUCER_MAX_REQUEST_BYTES,
            "request_timeout_ms": int(settings.kafka_request_timeout_s * 1000),
            **overrides,
        }
    )


def hopeless_after_s(settings: KafkaSettings) -> float:
    """How long a producer may go without any answer before it is to be replaced, in s.

    aiokafka's idempotent producer asks for its id, and sends again, without end; one that hangs reports
    nothing (seen with 0.14 and a broker that was frozen while a client came up).
    """
    return 5 + 3 * settings.kafka_request_timeout_s


async def start_producer(fresh: AIOKafkaProducer, settings: KafkaSettings) -> None:
    """Start it. Raises ``KafkaUnavailable``, and then it is discarded."""
    try:
        async with asyncio.timeout(hopeless_after_s(settings)):
            await fresh.start()
    except BaseException as error:
        reached = bool(fresh.client.cluster.brokers())
        await discard_producer(fresh, 1)
        if isinstance(error, TimeoutError) and reached:
            raise KafkaUnavailable(
                f"Kafka at {settings.kafka_bootstrap_servers} answers, but lets no producer begin: too few "
                "of its brokers or controllers are there; start those that are missing"
            ) from error
        if isinstance(error, KafkaError | OSError):
            raise KafkaUnavailable(explain(error, settings)) from error
        raise


async def discard_producer(dead: AIOKafkaProducer, within_s: float) -> None:
    """Stop it, whatever it hangs in; for ``within_s`` it may still send what it holds. Leaves no
    connection, also when it is cancelled meanwhile. Of a produce request that was under way as its connection
    was closed, two tasks of aiokafka may be left for a moment."""
    stopping = asyncio.ensure_future(dead.stop())
    late: set[Any] = {stopping}
    try:
        _, late = await asyncio.wait([stopping], timeout=within_s)
    finally:
        if late:
            stopping.cancel()
            await _abandon(dead)
        await asyncio.gather(stopping, return_exceptions=True)


async def _abandon(dead: AIOKafkaProducer) -> None:
    """End what a ``stop`` leaves behind that is cancelled while it flushes: aiokafka (0.14) has no way for
    that, and its sender would go on and connect again."""
    sender = dead._sender.sender_task
    if sender is not None:
        sender.cancel()
    await asyncio.gather(dead.client.close(), return_exceptions=True)
    if sender is not None:
        await asyncio.wait([sender], timeout=ABANDON_S)
    unsent = dead._message_accumulator
    for batch in [*chain.from_iterable(unsent._batches.values()), *unsent._pending_batches]:
        batch.future.cancel()  # the flush waits for these, and nobody else does


async def discard_consumer(dead: AIOKafkaConsumer, within_s: float = 5) -> bool:
    """Stop it, whatever it hangs in; leaves no fetch and no connection, also when it is cancelled meanwhile.
    Whether it ended in order: it has left its group, if it had one.

    ``stop`` cancels aiokafka's own fetches, and one that waits to try again, as all do while Kafka is away,
    passes that on to whoever stops it (seen with 0.14): a cancellation that nobody here has asked for.
    """
    stopping = asyncio.ensure_future(dead.stop())
    try:
        await asyncio.wait([stopping], timeout=within_s)
    finally:
        in_order = stopping.done() and not stopping.cancelled() and stopping.exception() is None
        if not in_order:
            stopping.cancel()
            fetcher = dead._fetcher
            # its close ends with the first that passes its cancellation on
            fetches = [] if fetcher is None else [*fetcher._pending_tasks]
            for fetch in fetches:
                fetch.cancel()
            closing = [stopping, *fetches, *([] if fetcher is None else [fetcher.close()])]
            await asyncio.gather(*closing, return_exceptions=True)
            # a connection whose close was cancelled above passes that on as well
            await asyncio.gather(dead._client.close(), return_exceptions=True)
    return in_order


class _LastRefusal(logging.Handler):
    """Remembers why aiokafka could not connect: a wrong password reaches the caller only as "unable to
    bootstrap", and the reason is in aiokafka's log alone (seen with 0.14)."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._error: BaseException | None = None
        self._at = 0.0

    @property
    def error(self) -> BaseException | None:
        """Of the last ``REFUSAL_S``: what was refused before then says nothing about now."""
        return self._error if time.monotonic() - self._at < REFUSAL_S else None

    def emit(self, record: logging.LogRecord) -> None:
        errors = [arg for arg in (record.args or ()) if isinstance(arg, BaseException)]
        if errors:
            self._error, self._at = errors[-1], time.monotonic()


_last_refusal = _LastRefusal()
logging.getLogger("aiokafka").addHandler(_last_refusal)


def explain(error: BaseException, settings: KafkaSettings) -> str:
    """What ``error``, raised by an aiokafka client with these settings, means, and the next step."""
    return explained(error, settings)[1]


def explained(error: BaseException, settings: KafkaSettings) -> tuple[str, str]:
    """The same with its kind before it: ``credentials``, ``mechanism``, ``no_sasl``, ``tls``, ``rights``,
    ``protocol``, ``unreachable`` or ``failed``."""
    if isinstance(error, KafkaUnavailable):  # explained where it was raised
        return "failed", str(error)
    where = settings.kafka_bootstrap_servers
    cause = error
    if isinstance(error, KafkaConnectionError):
        cause = _last_refusal.error or error
    if isinstance(cause, _CREDENTIAL_ERRORS):
        return "credentials", (
            f"Kafka at {where} answers but refuses the credentials of user {settings.kafka_sasl_username!r} "
            f"({settings.kafka_sasl_mechanism}); check KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD and "
            "KAFKA_SASL_MECHANISM"
        )
    if isinstance(cause, _MECHANISM_ERRORS):
        return "mechanism", (
            f"Kafka at {where} has no SASL mechanism {settings.kafka_sasl_mechanism} on this listener; set "
            "KAFKA_SASL_MECHANISM to one that it has"
        )
    if isinstance(cause, IllegalSaslStateError):
        return "no_sasl", (
            f"Kafka at {where} wants no SASL on this listener; check KAFKA_SECURITY_PROTOCOL "
            f"({settings.kafka_security_protocol}) and the port"
        )
    if isinstance(cause, ssl.SSLError):
        return "tls", f"Kafka at {where}: {_tls_words(cause)}"
    if isinstance(cause, _RIGHTS_ERRORS):
        return "rights", f"Kafka at {where} does not allow this: {_rights_words(cause, settings)}"
    if _closed_at_once(cause):
        return "protocol", (
            f"Kafka at {where} takes the connection and closes it at once: this listener speaks another "
            f"protocol than KAFKA_SECURITY_PROTOCOL ({settings.kafka_security_protocol}), or is none of "
            "Kafka's (check KAFKA_BOOTSTRAP_SERVERS), or the broker is just going down"
        )
    if isinstance(cause, OSError | KafkaConnectionError | asyncio.TimeoutError):
        reason = f" ({cause.strerror})" if isinstance(cause, OSError) and cause.strerror else ""
        return "unreachable", (
            f"Kafka at {where} does not answer{reason}; check KAFKA_BOOTSTRAP_SERVERS, that the broker "
            "runs, and that its advertised.listeners can be reached from here"
        )
    if isinstance(cause, KafkaError):
        return "failed", f"Kafka at {where}: {_cluster_words(cause) or type(cause).__name__}"
    return "failed", f"{type(cause).__name__} while speaking to Kafka at {where}"


def _cluster_words(error: KafkaError) -> str | None:
    """Of a cluster that answers, and lacks brokers."""
    if isinstance(error, _NO_LEADER):
        return "a partition has no leader just now; its brokers are starting, or are missing"
    if isinstance(error, _NOT_ENOUGH):
        return (
            "a partition has fewer replicas in sync than min.insync.replicas asks for; start the brokers "
            "that are missing"
        )
    if isinstance(error, NodeNotReadyError):
        return (
            "one of its brokers does not answer; it has gone, or its advertised.listeners cannot be reached "
            "from here"
        )
    if isinstance(error, RequestTimedOutError | KafkaTimeoutError):
        return "no answer in time; brokers are slow, or too few are there"
    return None


def _tls_words(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _OTHER_NAME:
            return (
                "its certificate is not for the name or address that we reach it by; use one of the "
                "certificate's in KAFKA_BOOTSTRAP_SERVERS and in the broker's advertised.listeners"
            )
        if error.verify_code == _EXPIRED:
            return "its certificate has expired; renew it, and check this machine's clock"
        return (
            f"its certificate is not by an authority that we trust ({error.verify_message}); set "
            "KAFKA_SSL_CAFILE to the PEM file of the broker's authority"
        )
    if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
        return "this listener does not speak TLS; check KAFKA_SECURITY_PROTOCOL and the port"
    return (
        f"the TLS handshake failed ({error.reason or type(error).__name__}); check "
        "KAFKA_SECURITY_PROTOCOL and KAFKA_SSL_CAFILE"
    )


def _rights_words(error: BaseException, settings: KafkaSettings) -> str:
    """Which right is missing, as ``kafka-acls.sh`` calls it."""
    named = error.args[0] if error.args else None
    names = ", ".join(sorted(map(str, named))) if isinstance(named, list | set | tuple) else str(named or "")
    if isinstance(error, TopicAuthorizationFailedError):
        missing = f"READ (to consume) or WRITE (to publish) on topic {names}".rstrip()
    elif isinstance(error, GroupAuthorizationFailedError):
        # aiokafka (0.14) gives a consumer the name alone, an admin client a sentence that ends with it
        missing = f"READ (or DESCRIBE, to look at it) on group {names.rpartition(' ')[2]}"
    else:
        missing = "WRITE on any topic, which an idempotent producer needs to begin"
    return f"{principal(settings)} has no right {missing}; docs/explanation/security.md lists who needs which"


def principal(settings: KafkaSettings) -> str:
    """Who we are to Kafka's authorizer, in words."""
    if settings.kafka_security_protocol.startswith("SASL"):
        return f"user {settings.kafka_sasl_username!r}"
    return "a client without a name (ANONYMOUS)"


def _closed_at_once(error: BaseException) -> bool:
    """aiokafka says it in its text alone (0.14: ``Connection at host:port closed``); TLS by a reset."""
    if isinstance(error, ConnectionResetError):
        return True
    return isinstance(error, KafkaConnectionError) and str(error).endswith("closed")

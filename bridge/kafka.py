"""How every part of the project connects to Kafka, and what a failed connection means in words.

Producers, consumers and the admin client take their arguments from ``connection``; ``explain`` turns what
aiokafka raises into a sentence for the operator. Topics are next door, in ``bridge/topics.py``.
"""

import asyncio
import logging
import ssl
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)

from bridge.settings import KafkaSettings

PRODUCER_MAX_REQUEST_BYTES = 8 * 1024 * 1024
"""What our producers allow in one request, bytes: above the ``max.message.bytes`` of our topics, so that a
record which is too large is refused by the broker for its topic, not by the client for all."""

_CREDENTIAL_ERRORS = (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    IllegalSaslStateError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)


def connection(settings: KafkaSettings) -> dict[str, Any]:
    """Keyword arguments for any aiokafka client. Raises ``OSError`` if the CA file cannot be read."""
    kwargs: dict[str, Any] = {
        "bootstrap_servers": [a.strip() for a in settings.kafka_bootstrap_servers.split(",") if a.strip()],
        "client_id": "dingbridge",
        "security_protocol": settings.kafka_security_protocol,
    }
    if settings.kafka_security_protocol.endswith("SSL"):
        kwargs["ssl_context"] = ssl.create_default_context(cafile=settings.kafka_ssl_cafile)
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

    Once one of its sends has failed it is finished and must be replaced: aiokafka's sequence numbers have
    moved on, and every later send to that partition would be refused as out of order.
    """
    return AIOKafkaProducer(
        **{
            **connection(settings),
            "acks": "all",
            "enable_idempotence": True,
            "max_request_size": PRODUCER_MAX_REQUEST_BYTES,
            **overrides,
        }
    )


class _LastRefusal(logging.Handler):
    """Remembers why aiokafka could not connect: a wrong password reaches the caller only as "unable to
    bootstrap", and the reason stands in aiokafka's log alone (seen with 0.14)."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.error: BaseException | None = None

    def emit(self, record: logging.LogRecord) -> None:
        errors = [arg for arg in (record.args or ()) if isinstance(arg, BaseException)]
        if errors:
            self.error = errors[-1]


_last_refusal = _LastRefusal()
logging.getLogger("aiokafka").addHandler(_last_refusal)


def explain(error: BaseException, settings: KafkaSettings) -> str:
    """What ``error``, raised by an aiokafka client with these settings, means, and the next step."""
    where = settings.kafka_bootstrap_servers
    cause = error
    if isinstance(error, KafkaConnectionError) and _last_refusal.error is not None:
        cause = _last_refusal.error
    if isinstance(cause, _CREDENTIAL_ERRORS):
        return (
            f"Kafka at {where} answers but refuses the credentials of user {settings.kafka_sasl_username!r} "
            f"({settings.kafka_sasl_mechanism}); check KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD and "
            "KAFKA_SASL_MECHANISM"
        )
    if isinstance(cause, ssl.SSLError):
        return (
            f"Kafka at {where}: the TLS handshake failed ({cause.reason or type(cause).__name__}); check "
            "KAFKA_SECURITY_PROTOCOL and KAFKA_SSL_CAFILE"
        )
    if isinstance(
        cause, TopicAuthorizationFailedError | GroupAuthorizationFailedError | ClusterAuthorizationFailedError
    ):
        return (
            f"Kafka at {where} does not allow this ({type(cause).__name__}); grant user "
            f"{settings.kafka_sasl_username!r} the rights in docs/operations.md"
        )
    if isinstance(cause, OSError | KafkaConnectionError | asyncio.TimeoutError):
        reason = f" ({cause.strerror})" if isinstance(cause, OSError) and cause.strerror else ""
        return (
            f"Kafka at {where} does not answer{reason}; check KAFKA_BOOTSTRAP_SERVERS, that the broker "
            "runs, and that its advertised.listeners can be reached from here"
        )
    if isinstance(cause, KafkaError):
        return f"Kafka at {where}: {type(cause).__name__}"
    return f"{type(cause).__name__} while speaking to Kafka at {where}"

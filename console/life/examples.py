"""One event to take along: as a command line that reads it, one that sends it, and as a test's fixture."""

import json
import secrets
import shlex
import time
from typing import Any

import orjson

from dingbridge.dingtalk.crypto import Credentials, encrypt, sign
from dingbridge.events import strict_json
from dingbridge.settings import SAMPLE_CREDENTIALS, KafkaSettings
from dingbridge.worker.context import Position


def kcat(settings: KafkaSettings, place: Position) -> str:
    """A command line that prints headers, key and value of the record; a password stands in the variable
    ``KAFKA_SASL_PASSWORD`` (https://github.com/edenhill/kcat)."""
    words = ["kcat", "-C", "-q", "-e", "-b", settings.kafka_bootstrap_servers]
    words += ["-t", place.topic, "-p", str(place.partition), "-o", str(place.offset), "-c", "1"]
    words += ["-f", r"%h\n%k\n%s\n"]
    protocol, unquoted = settings.kafka_security_protocol, ""
    if protocol != "PLAINTEXT":
        words += ["-X", f"security.protocol={protocol}"]
    if settings.kafka_ssl_cafile is not None:
        words += ["-X", f"ssl.ca.location={settings.kafka_ssl_cafile}"]
    if protocol.startswith("SASL"):
        words += ["-X", f"sasl.mechanisms={settings.kafka_sasl_mechanism}"]
        words += ["-X", f"sasl.username={settings.kafka_sasl_username}"]
        unquoted = ' -X sasl.password="$KAFKA_SASL_PASSWORD"'
    return shlex.join(words) + unquoted


def curl(body: bytes, callback: str) -> str:
    """A command line that pushes ``body`` to an ingress of the local stack, at ``callback``, signed and
    encrypted with its public sample credentials, which no other ingress accepts."""
    sample = SAMPLE_CREDENTIALS
    credentials = Credentials(
        sample["DINGTALK_TOKEN"], sample["DINGTALK_AES_KEY"], (sample["DINGTALK_OWNER_KEY"],)
    )
    timestamp, nonce = str(time.time_ns() // 1_000_000), secrets.token_hex(4)
    encrypted = encrypt(credentials.key, body, credentials.owner_keys[0])
    signature = sign(credentials.token, timestamp, nonce, encrypted)
    url = f"{callback}?signature={signature}&timestamp={timestamp}&nonce={nonce}"
    data = json.dumps({"encrypt": encrypted})
    return shlex.join(["curl", "-sS", url, "-H", "Content-Type: application/json", "-d", data])


def fixture(callback: Any) -> str:
    """The callback as ``dingbridge.testing.recorded`` and ``dingbridge new-consumer --record`` read it."""
    return pretty([callback])


def pretty(value: Any) -> str:
    """JSON to be read by a person; numbers that Python's floats would change stay as they are."""
    try:
        return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    except orjson.JSONEncodeError:  # an integer beyond 64 bits, or a Decimal
        return strict_json.dumps(value).decode()

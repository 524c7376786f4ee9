"""Signatures and ids of deliveries, as Standard Webhooks 1.0.0 says; pure functions.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hmac
from collections.abc import Sequence

from dingbridge.events.event import Event

PREFIX = "whsec_"
KEY_BYTES = range(24, 65)
"""How long a key may be, in bytes (the specification: 192 to 512 bits)."""


def key_of(secret: str) -> bytes:
    """The key of a secret ``whsec_<base64>``. Raises ``ValueError`` with words that do not hold it."""
    if not secret.startswith(PREFIX):
        raise ValueError(
            "does not begin with whsec_; a secret is that and the base64 of 24 to 64 random bytes"
        )
    try:
        text = secret.removeprefix(PREFIX)
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is no base64 after whsec_") from None
    if len(key) not in KEY_BYTES:
        raise ValueError(f"has {len(key)} bytes after base64; a secret has 24 to 64")
    return key


def webhook_id(event: Event) -> str:
    """The id of ``event``: the same at every attempt, after a restart, and for every system.

    A digest of source and id, since the id of an event may hold a full stop, which the signed content must
    not be given from outside.
    """
    return f"msg_{event.idempotency_key}"


def headers(keys: Sequence[bytes], message_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """The three headers of one attempt: one signature for each key, none of them for no key.

    ``timestamp_s`` is the time of this attempt, epoch s.
    """
    found = {"webhook-id": message_id, "webhook-timestamp": str(timestamp_s)}
    content = b"%s.%d.%s" % (message_id.encode(), timestamp_s, body)
    signed = [base64.b64encode(hmac.digest(key, content, "sha256")).decode() for key in keys]
    if signed:
        found["webhook-signature"] = " ".join(f"v1,{signature}" for signature in signed)
    return found

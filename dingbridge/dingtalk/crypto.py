"""DingTalk's callback crypto as functions on bytes and values: sign, encrypt, decrypt.

Responsible for every rule of the callback's signature and cipher. Does no I/O, parses JSON only for the rule
about suites, and does not judge a timestamp's age: that is the receiver's business.

The rules, from callback-event-message-body-encryption-and-decryption on open.dingtalk.com and the official
github.com/open-dingtalk/DingTalk-Callback-Crypto:

- ``signature = lower_hex(sha1(concat(sorted([token, timestamp, nonce, encrypt]))))``
- ``key = base64(aes_key + "=")``, 32 bytes; AES-256-CBC with ``iv = key[:16]``
- ``plain = random(16) + uint32 big-endian(bytes of message) + message + owner key``
- PKCS#7 with a block of *32* bytes, so that 1..32 bytes of padding are all legal; ``encrypt`` is base64
"""

import binascii
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha1
from hmac import compare_digest
from typing import Any, Final, Self

from Crypto.Cipher import AES

from dingbridge.dingtalk.errors import (
    CallbackError,
    CiphertextError,
    CredentialsError,
    OwnerMismatch,
    ParametersError,
    SignatureMismatch,
)

DEFAULT_SUITE_OWNER: Final = "suite4xxxxxxxxxxxxxxx"
"""Owner key while a suite (a third-party app) does not exist yet: DingTalk uses it for
``check_create_suite_url`` and nothing else."""

_AES_BLOCK = 16
_PAD_BLOCK = 32
_RANDOM = 16
_HEADER = _RANDOM + 4
_PADDING = tuple(bytes([n]) * n for n in range(_PAD_BLOCK + 1))
_KEY_RE = re.compile(r"[A-Za-z0-9]{43}")
_TOKEN_RE = re.compile(r"[!-~]{1,64}")
_OWNER_RE = re.compile(r"[A-Za-z0-9._$@:-]{1,128}")
_PARAMETERS = {
    "signature": "signature",
    "msg_signature": "signature",
    "timestamp": "timestamp",
    "timeStamp": "timestamp",
    "nonce": "nonce",
}

Decipher = Callable[[bytes], bytes]
"""Decrypts whole blocks of a ciphertext, or of one that comes in pieces."""


def _key_problem(aes_key: str) -> str | None:
    if _KEY_RE.fullmatch(aes_key):
        return None
    return (
        f"the AES key has {len(aes_key)} characters or others than A-Z a-z 0-9; it must be exactly 43 of them"
    )


def decode_key(aes_key: str) -> bytes:
    """The 32 bytes of a 43-character EncodingAESKey. Raises ``CredentialsError``.

    Two bits of the 43rd character are unused and may be set (DingTalk's own sample key ends in ``j``), which
    a strict base64 decoder refuses.
    """
    if problem := _key_problem(aes_key):
        raise CredentialsError([problem])
    return binascii.a2b_base64(aes_key + "=")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What one event subscription signs and encrypts with. Raises ``CredentialsError`` listing all mistakes.

    ``owner_keys``: every appKey, corpId or suiteKey that a message may be for; the first one is used for
    a reply when no other is named.
    """

    token: str = field(repr=False)
    aes_key: str = field(repr=False)
    owner_keys: tuple[str, ...]
    key: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        problems = []
        if not _TOKEN_RE.fullmatch(self.token):
            problems.append("the token must be 1 to 64 printable ASCII characters without spaces")
        if problem := _key_problem(self.aes_key):
            problems.append(problem)
        if not self.owner_keys:
            problems.append("no owner key; it is the appKey (Client ID), the corpId or the suiteKey")
        problems += [
            f"the owner key {owner!r} is not an appKey, corpId or suiteKey"
            for owner in self.owner_keys
            if not _OWNER_RE.fullmatch(owner)
        ]
        if problems:
            raise CredentialsError(problems)
        object.__setattr__(self, "key", decode_key(self.aes_key))


@dataclass(frozen=True, slots=True)
class SignatureParameters:
    """Signature, timestamp (the literal text; epoch ms) and nonce of a callback or of a reply."""

    signature: str
    timestamp: str
    nonce: str

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> Self:
        """Read from a callback's query, or from a reply's JSON object of strings.

        Both spellings of ``signature``/``msg_signature`` and ``timestamp``/``timeStamp`` are in use; a
        console subscription sends both signatures. Other parameters are the registered URL's own, and
        ignored. An empty value counts as absent. A multidict's repeated names are all looked at.

        Raises ``ParametersError`` when one is absent or two values contradict each other.
        """
        found: dict[str, str] = {}
        for name, value in query.items():
            parameter = _PARAMETERS.get(name)
            if parameter is None or not value:
                continue
            if found.setdefault(parameter, value) != value:
                raise ParametersError(
                    f"the query holds two different values of {parameter}; ask the sender which"
                )
        if len(found) < 3:
            missing = [name for name in ("signature", "timestamp", "nonce") if name not in found]
            raise ParametersError(
                f"not in the query: {', '.join(missing)}. DingTalk appends signature, timestamp and nonce to "
                "the registered URL's query; if this was DingTalk, a proxy in front of us drops them"
            )
        return cls(found["signature"], found["timestamp"], found["nonce"])

    @property
    def timestamp_ms(self) -> int | None:
        """The timestamp as epoch ms, ``None`` when it is no such number."""
        text = self.timestamp
        return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else None


@dataclass(frozen=True, slots=True)
class DecryptedCallback:
    """An accepted message: its bytes as they came, the owner it is for, and the credentials that fitted."""

    plaintext: bytes = field(repr=False)
    owner_key: str
    credentials: Credentials


def sign(token: str, timestamp: str, nonce: str, encrypt: str) -> str:
    """The signature over one message: 40 lower-case hex digits."""
    text = "".join(sorted((token, timestamp, nonce, encrypt)))
    # surrogatepass: what comes from outside may be any str, and must lead to a mismatch, not to a crash
    return sha1(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


def encrypt(aes_key: bytes, message: bytes, owner_key: str, *, random16: bytes | None = None) -> str:
    """``message`` for ``owner_key``, encrypted with the 32-byte ``aes_key``, as base64 without line breaks.

    ``random16`` (16 bytes) is for reproducing known ciphertexts. The random ones are ASCII, since some
    receivers decode the whole plaintext as text before they cut it.
    """
    if random16 is None:
        random16 = binascii.b2a_base64(os.urandom(12), newline=False)
    elif len(random16) != _RANDOM:
        raise ValueError("random16 must be 16 bytes")
    plain = b"".join((random16, len(message).to_bytes(4, "big"), message, owner_key.encode()))
    padded = plain + _PADDING[_PAD_BLOCK - len(plain) % _PAD_BLOCK]
    return binascii.b2a_base64(_cbc(aes_key).encrypt(padded), newline=False).decode("ascii")


def decrypt(aes_key: bytes, encrypted: str) -> tuple[bytes, str]:
    """``(message, owner key)`` of a base64 ciphertext. Raises ``CiphertextError``.

    The base64 must be exact, except for line breaks: the official Python 3 sample emits them. The padding is
    checked whole: with a wrong AES key it is what fails.
    """
    return _decrypt(_cbc(aes_key).decrypt, encrypted)


def _cbc(aes_key: bytes) -> Any:
    """pycryptodome's cipher object, which has no types."""
    return AES.new(aes_key, AES.MODE_CBC, aes_key[:_AES_BLOCK])


def _decrypt(decipher: Decipher, encrypted: str) -> tuple[bytes, str]:
    """``decrypt`` by a cipher that may have decrypted other messages before.

    The cipher takes all of them for one long ciphertext. In CBC a block's plaintext depends on that block and
    the one before it alone: so only the first block of a message comes out wrong, and that holds the 16
    random bytes, which nobody reads.
    """
    try:
        ciphertext = _from_base64(encrypted)
    except ValueError:  # binascii.Error is one, and so is non-ASCII text
        raise CiphertextError("base64", "the field encrypt is not base64") from None
    size = len(ciphertext)
    if not size or size % _AES_BLOCK:
        raise CiphertextError(
            "block",
            f"the ciphertext has {size} bytes, no multiple of {_AES_BLOCK}; it was cut or altered",
        )
    plain = decipher(ciphertext)
    pad = plain[-1]
    if not 1 <= pad <= _PAD_BLOCK or not plain.endswith(_PADDING[pad]):
        raise CiphertextError(
            "padding",
            "the padding is wrong: DINGTALK_AES_KEY is probably not the subscription's EncodingAESKey",
        )
    content = plain[:-pad]
    end = _HEADER + int.from_bytes(content[_RANDOM:_HEADER], "big")
    if len(content) < _HEADER or end > len(content):
        raise CiphertextError(
            "length",
            "the message is shorter than its length field says: altered, or encrypted with another AES key",
        )
    return content[_HEADER:end], content[end:].decode("utf-8", "backslashreplace")


def _from_base64(text: str) -> bytes:
    if "\n" in text or "\r" in text:
        text = text.replace("\r", "").replace("\n", "")
    return binascii.a2b_base64(text, strict_mode=True)


class CallbackCrypto:
    """Decrypts what DingTalk sends, encrypts what we answer; several credentials may be valid at once.

    Not thread-safe: it keeps a cipher for each, since making one costs more than decrypting with it.
    """

    def __init__(self, credentials: Sequence[Credentials]) -> None:
        """Raises ``CredentialsError`` when there are none."""
        if not credentials:
            raise CredentialsError(["none given; at least one token, AES key and owner key is needed"])
        self.credentials: tuple[Credentials, ...] = tuple(credentials)
        self._deciphers: tuple[Decipher, ...] = tuple(_cbc(one.key).decrypt for one in self.credentials)

    def decrypt_callback(self, parameters: SignatureParameters, encrypt: str) -> DecryptedCallback:
        """Verify, then decrypt. Nothing is decrypted before a signature fits.

        Raises ``SignatureMismatch``, ``CiphertextError`` or ``OwnerMismatch``, all ``CallbackError``. Where
        several credentials share the token, the failure that got furthest is raised.
        """
        given = parameters.signature.encode("utf-8", "surrogatepass")
        timestamp, nonce = parameters.timestamp, parameters.nonce
        # a full list, so that the time spent does not reveal which credentials fitted
        signed_by = [
            (c, decipher)
            for c, decipher in zip(self.credentials, self._deciphers, strict=True)
            if compare_digest(sign(c.token, timestamp, nonce, encrypt).encode(), given)
        ]
        if not signed_by:
            raise SignatureMismatch(len(self.credentials))
        failures: list[CallbackError] = []
        for credentials, decipher in signed_by:
            try:
                plaintext, owner = _decrypt(decipher, encrypt)
            except CiphertextError as error:
                failures.append(error)
                continue
            if owner in credentials.owner_keys or (
                owner == DEFAULT_SUITE_OWNER and _is_suite_creation_check(plaintext)
            ):
                return DecryptedCallback(plaintext, owner, credentials)
            failures.append(OwnerMismatch(_printable(owner), credentials.owner_keys))
        raise next((f for f in failures if isinstance(f, OwnerMismatch)), failures[0])

    def encrypt_reply(
        self,
        message: bytes,
        reply_to: DecryptedCallback | Credentials,
        owner_key: str | None = None,
        *,
        timestamp: str,
        nonce: str,
    ) -> dict[str, str]:
        """``message`` signed and encrypted, as the JSON object that DingTalk wants for an answer.

        ``reply_to`` a callback answers it with its own credentials and owner; ``owner_key`` overrides the
        owner. ``timestamp`` is epoch ms as text. (http-callback-overview: all four values are
        strings, and ``timeStamp`` has a capital S.)
        """
        if isinstance(reply_to, DecryptedCallback):
            credentials, owner = reply_to.credentials, reply_to.owner_key
        else:
            credentials, owner = reply_to, reply_to.owner_keys[0]
        encrypted = encrypt(credentials.key, message, owner if owner_key is None else owner_key)
        return {
            "msg_signature": sign(credentials.token, timestamp, nonce, encrypted),
            "timeStamp": timestamp,
            "nonce": nonce,
            "encrypt": encrypted,
        }


def _is_suite_creation_check(plaintext: bytes) -> bool:
    try:
        event = json.loads(plaintext)
    except (ValueError, RecursionError):
        return False
    return isinstance(event, dict) and event.get("EventType") == "check_create_suite_url"


def _printable(owner: str) -> str:
    # a length field that is too small would leave a piece of the message here: never show that
    return owner if _OWNER_RE.fullmatch(owner) else f"({len(owner)} characters that are no id)"

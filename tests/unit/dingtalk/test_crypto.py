"""The cipher and the signature of callbacks: against published vectors, and with any input."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from Crypto.Cipher import AES
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.dingtalk.crypto import (
    CallbackCrypto,
    Credentials,
    SignatureParameters,
    decode_key,
    decrypt,
    encrypt,
    sign,
)
from dingbridge.dingtalk.errors import CALLBACK_FAULTS, CallbackError, CiphertextError, SignatureMismatch
from tests.unit.dingtalk.sealing import CREDENTIALS, CRYPTO, KEY, NONCE, OWNER, TIMESTAMP, raw_encrypt, signed

VECTORS: list[dict[str, Any]] = json.loads(
    Path(__file__).with_name("vectors.json").read_text(encoding="utf-8")
)
SIGNED = [v for v in VECTORS if "signature" in v]


def names(vectors: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(v, id=v["id"]) for v in vectors]


@pytest.mark.parametrize("vector", names(VECTORS))
class TestVectors:
    def test_decrypts(self, vector: dict[str, Any]) -> None:
        assert decrypt(decode_key(vector["aes_key"]), vector["encrypt"]) == (
            vector["plaintext"].encode(),
            vector["owner_key"],
        )

    def test_encrypts_again_byte_for_byte(self, vector: dict[str, Any]) -> None:
        again = encrypt(
            decode_key(vector["aes_key"]),
            vector["plaintext"].encode(),
            vector["owner_key"],
            random16=vector["random16"].encode(),
        )
        assert again == vector["encrypt"]


@pytest.mark.parametrize("vector", names(SIGNED))
class TestSignedVectors:
    def test_sign(self, vector: dict[str, Any]) -> None:
        signature = sign(vector["token"], vector["timestamp"], vector["nonce"], vector["encrypt"])
        assert signature == vector["signature"]

    def test_open(self, vector: dict[str, Any]) -> None:
        credentials = Credentials(vector["token"], vector["aes_key"], (vector["owner_key"],))
        parameters = SignatureParameters(vector["signature"], vector["timestamp"], vector["nonce"])
        opened = CallbackCrypto([credentials]).decrypt_callback(parameters, vector["encrypt"])
        assert opened.plaintext == vector["plaintext"].encode()
        assert opened.owner_key == vector["owner_key"]
        assert opened.credentials is credentials


def test_the_vectors_hold_the_hard_cases() -> None:
    assert {v["pad"] for v in VECTORS} >= {1, 17, 22, 31, 32}
    assert any(v["aes_key"].endswith("j") for v in VECTORS), "a key whose 43rd character has unused bits set"
    assert any(len(v["plaintext"].encode()) == 128 for v in VECTORS), "a length byte of 0x80"
    assert len(SIGNED) >= 9


class TestCipher:
    @pytest.mark.parametrize("pad", range(1, 33))
    def test_every_padding_is_accepted(self, pad: int) -> None:
        message = b"x" * ((32 - pad - 20 - len(OWNER)) % 32)
        plain = b"r" * 16 + len(message).to_bytes(4, "big") + message + OWNER.encode()
        assert decrypt(KEY, raw_encrypt(plain + bytes([pad]) * pad)) == (message, OWNER)
        assert encrypt(KEY, message, OWNER, random16=b"r" * 16) == raw_encrypt(plain + bytes([pad]) * pad)

    def test_padding_to_16_as_the_go_and_rust_samples_do(self) -> None:
        plain = b"r" * 16 + (7).to_bytes(4, "big") + b"success" + OWNER.encode()
        pad = 16 - len(plain) % 16
        assert decrypt(KEY, raw_encrypt(plain + bytes([pad]) * pad)) == (b"success", OWNER)

    def test_line_breaks_as_the_python_sample_emits_them(self) -> None:
        message = b"x" * 200
        broken = base64.encodebytes(base64.b64decode(encrypt(KEY, message, OWNER))).decode()
        assert "\n" in broken
        assert decrypt(KEY, broken) == (message, OWNER)
        assert decrypt(KEY, broken.replace("\n", "\r\n")) == (message, OWNER)

    def test_random_part_differs_and_is_ascii(self) -> None:
        ciphertexts = {encrypt(KEY, b"success", OWNER) for _ in range(50)}
        assert len(ciphertexts) == 50
        plains = [AES.new(KEY, AES.MODE_CBC, KEY[:16]).decrypt(base64.b64decode(c)) for c in ciphertexts]
        assert all(p[:16].isascii() for p in plains)

    def test_random_part_of_another_length(self) -> None:
        with pytest.raises(ValueError, match="16 bytes"):
            encrypt(KEY, b"", OWNER, random16=b"short")

    @pytest.mark.parametrize(
        ("encrypted", "reason"),
        [
            ("no base64!", "base64"),
            ("钉钉", "base64"),
            ("\ud800", "base64"),
            ("YWJj YWJj", "base64"),
            ("YWJjZA=", "base64"),
            ("YWJjZA==YWJj", "base64"),
            (
                encrypt(KEY, b"success", OWNER, random16=b"r" * 16).replace("+", "-").replace("/", "_")
                + "-_",
                "base64",
            ),
            ("", "block"),
            ("\n", "block"),
            (base64.b64encode(b"x" * 162).decode(), "block"),
            (raw_encrypt(b"x" * 31 + b"\x00"), "padding"),
            (raw_encrypt(b"x" * 31 + b"\x21"), "padding"),
            (raw_encrypt(b"x" * 30 + b"\x01\x02"), "padding"),
            (raw_encrypt(b"\x20" * 16), "padding"),
            (raw_encrypt(b"\x10" * 16), "length"),
            (raw_encrypt(b"r" * 16 + b"\x00" * 3 + b"\x0d" * 13), "length"),
            (raw_encrypt(b"r" * 16 + (13).to_bytes(4, "big") + b"m" * 11 + b"\x01"), "length"),
            (raw_encrypt(b"r" * 16 + b"\xff" * 4 + b"m" * 11 + b"\x01"), "length"),
        ],
    )
    def test_faults_have_names(self, encrypted: str, reason: str) -> None:
        with pytest.raises(CiphertextError) as caught:
            decrypt(KEY, encrypted)
        assert caught.value.reason == reason
        assert caught.value.reason in CALLBACK_FAULTS

    def test_wrong_key_is_named(self) -> None:
        other = decode_key("B" * 43)
        with pytest.raises(CiphertextError, match="DINGTALK_AES_KEY"):
            decrypt(other, encrypt(KEY, b"success", OWNER, random16=b"r" * 16))


messages = st.binary(max_size=300)
nonces = st.text(st.characters(codec="utf-8"), max_size=20)


@given(
    message=messages,
    owner=st.text(st.characters(codec="utf-8"), max_size=40),
    key=st.binary(min_size=32, max_size=32),
)
def test_what_one_side_encrypts_the_other_decrypts(message: bytes, owner: str, key: bytes) -> None:
    assert decrypt(key, encrypt(key, message, owner)) == (message, owner)


@given(message=messages, timestamp=nonces, nonce=nonces)
def test_what_one_side_seals_the_other_opens(message: bytes, timestamp: str, nonce: str) -> None:
    sealed = CRYPTO.encrypt_reply(message, CREDENTIALS, timestamp=timestamp, nonce=nonce)
    parameters = SignatureParameters(sealed["msg_signature"], sealed["timeStamp"], sealed["nonce"])
    assert CRYPTO.decrypt_callback(parameters, sealed["encrypt"]).plaintext == message


@given(data=st.data(), message=messages)
def test_any_altered_character_is_refused(data: st.DataObject, message: bytes) -> None:
    sealed = CRYPTO.encrypt_reply(message, CREDENTIALS, timestamp=TIMESTAMP, nonce=NONCE)
    field = data.draw(st.sampled_from(sorted(sealed)))
    at = data.draw(st.integers(0, len(sealed[field]) - 1))
    bit = data.draw(st.integers(0, 7))
    sealed[field] = sealed[field][:at] + chr(ord(sealed[field][at]) ^ (1 << bit)) + sealed[field][at + 1 :]
    parameters = SignatureParameters(sealed["msg_signature"], sealed["timeStamp"], sealed["nonce"])
    with pytest.raises(SignatureMismatch):
        CRYPTO.decrypt_callback(parameters, sealed["encrypt"])


@given(text=st.text(max_size=100))
def test_whatever_is_sent_signed_it_is_opened_or_refused_in_words(text: str) -> None:
    with pytest.raises(CallbackError):
        CRYPTO.decrypt_callback(signed(text), text)


@given(blocks=st.integers(1, 6), data=st.data())
def test_any_signed_ciphertext_is_opened_or_refused_in_words(blocks: int, data: st.DataObject) -> None:
    encrypted = base64.b64encode(data.draw(st.binary(min_size=16 * blocks, max_size=16 * blocks))).decode()
    with pytest.raises(CallbackError):
        CRYPTO.decrypt_callback(signed(encrypted), encrypted)

"""The callback crypto against published vectors, and against itself with arbitrary input."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from Crypto.Cipher import AES
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict

from dingtalk import crypto
from dingtalk.crypto import (
    DEFAULT_SUITE_OWNER,
    CallbackCrypto,
    Credentials,
    SignatureParameters,
    decode_key,
    decrypt,
    encrypt,
    sign,
)
from dingtalk.errors import (
    CALLBACK_FAULTS,
    CallbackError,
    CiphertextError,
    CredentialsError,
    OwnerMismatch,
    ParametersError,
    SignatureMismatch,
)

VECTORS: list[dict[str, Any]] = json.loads(
    Path(__file__).with_name("vectors.json").read_text(encoding="utf-8")
)
SIGNED = [v for v in VECTORS if "signature" in v]
TOKEN = "tokenForTests01"
AES_KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFA"
KEY = decode_key(AES_KEY)
OWNER = "dingappkeyexample01"
TIMESTAMP, NONCE = "1731000000123", "nEXhMP4r"
CREDENTIALS = Credentials(TOKEN, AES_KEY, (OWNER,))
CRYPTO = CallbackCrypto([CREDENTIALS])


def names(vectors: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(v, id=v["id"]) for v in vectors]


def signed(encrypted: str, token: str = TOKEN) -> SignatureParameters:
    return SignatureParameters(sign(token, TIMESTAMP, NONCE, encrypted), TIMESTAMP, NONCE)


def raw_encrypt(plain: bytes) -> str:
    """A ciphertext whose plaintext, padding included, is ours to choose."""
    return base64.b64encode(AES.new(KEY, AES.MODE_CBC, KEY[:16]).encrypt(plain)).decode()


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
        opened = CallbackCrypto([credentials]).open(parameters, vector["encrypt"])
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


class TestOpen:
    def test_reply_opens_with_the_same_rules(self) -> None:
        reply = CRYPTO.seal(b"success", CREDENTIALS, timestamp=TIMESTAMP, nonce=NONCE)
        assert list(reply) == ["msg_signature", "timeStamp", "nonce", "encrypt"]
        assert all(isinstance(value, str) for value in reply.values())
        opened = CRYPTO.open(SignatureParameters.from_query(reply), reply["encrypt"])
        assert (opened.plaintext, opened.owner_key) == (b"success", OWNER)

    def test_several_owners_and_the_reply_is_for_the_one_seen(self) -> None:
        credentials = Credentials(TOKEN, AES_KEY, ("dingappkey01", "dingcorp01"))
        both = CallbackCrypto([credentials])
        for owner in credentials.owner_keys:
            encrypted = encrypt(KEY, b"{}", owner)
            opened = both.open(signed(encrypted), encrypted)
            assert opened.owner_key == owner
            reply = both.seal(b"success", opened, timestamp=TIMESTAMP, nonce=NONCE)
            assert decrypt(KEY, reply["encrypt"]) == (b"success", owner)

    def test_owner_of_a_reply_may_be_chosen(self) -> None:
        reply = CRYPTO.seal(b"success", CREDENTIALS, "another", timestamp=TIMESTAMP, nonce=NONCE)
        assert decrypt(KEY, reply["encrypt"]) == (b"success", "another")

    def test_old_and_new_credentials_are_valid_at_once(self) -> None:
        new = Credentials("newToken", "B" * 43, ("newowner",))
        both = CallbackCrypto([CREDENTIALS, new])
        for credentials in (CREDENTIALS, new):
            pushed = CallbackCrypto([credentials]).seal(b"{}", credentials, timestamp=TIMESTAMP, nonce=NONCE)
            opened = both.open(SignatureParameters.from_query(pushed), pushed["encrypt"])
            assert opened.credentials is credentials
            reply = both.seal(b"success", opened, timestamp=TIMESTAMP, nonce=NONCE)
            CallbackCrypto([credentials]).open(SignatureParameters.from_query(reply), reply["encrypt"])

    @pytest.mark.parametrize("new_first", [True, False])
    def test_only_the_aes_key_or_the_owner_differs(self, new_first: bool) -> None:
        new_key = Credentials(TOKEN, "B" * 43, (OWNER,))
        new_owner = Credentials(TOKEN, AES_KEY, ("newowner",))
        for other in (new_key, new_owner):
            both = CallbackCrypto([other, CREDENTIALS] if new_first else [CREDENTIALS, other])
            for credentials in (other, CREDENTIALS):
                encrypted = encrypt(credentials.key, b"{}", credentials.owner_keys[0])
                assert both.open(signed(encrypted), encrypted).credentials is credentials

    @pytest.mark.parametrize("wrong_key_first", [True, False])
    def test_the_failure_that_got_furthest_is_named(self, wrong_key_first: bool) -> None:
        wrong_key = Credentials(TOKEN, "B" * 43, (OWNER,))
        order = [wrong_key, CREDENTIALS] if wrong_key_first else [CREDENTIALS, wrong_key]
        encrypted = encrypt(KEY, b"{}", "dingsomebodyelse", random16=b"r" * 16)
        with pytest.raises(OwnerMismatch):
            CallbackCrypto(order).open(signed(encrypted), encrypted)

    def test_wrong_owner_is_named_with_the_one_seen_and_the_remedy(self) -> None:
        encrypted = encrypt(KEY, b'{"EventType":"check_url","secret":"plaintext"}', "dingcorp99")
        with pytest.raises(OwnerMismatch, match=r"dingcorp99.*DINGTALK_OWNER_KEY") as caught:
            CRYPTO.open(signed(encrypted), encrypted)
        assert caught.value.owner_seen == "dingcorp99"
        assert caught.value.reason == "owner"
        assert "plaintext" not in str(caught.value)

    @pytest.mark.parametrize(
        "tail", [b'"mobile":"13800000000"}' + OWNER.encode(), b"\xff\xfe", "王芳".encode(), b""]
    )
    def test_what_is_no_id_is_not_shown_as_owner(self, tail: bytes) -> None:
        plain = b"r" * 16 + (2).to_bytes(4, "big") + b"{}" + tail
        pad = 32 - len(plain) % 32
        encrypted = raw_encrypt(plain + bytes([pad]) * pad)
        with pytest.raises(OwnerMismatch, match="no id") as caught:
            CRYPTO.open(signed(encrypted), encrypted)
        assert "138" not in str(caught.value)
        assert "王" not in str(caught.value)

    def test_wrong_token_is_refused_before_decryption(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def never(*_: object) -> tuple[bytes, str]:
            raise AssertionError("decrypted before the signature fitted")

        encrypted = encrypt(KEY, b"{}", OWNER)
        monkeypatch.setattr(crypto, "decrypt", never)
        with pytest.raises(SignatureMismatch, match="DINGTALK_TOKEN") as caught:
            CRYPTO.open(signed(encrypted, token="another"), encrypted)
        assert caught.value.reason == "signature"

    @pytest.mark.parametrize("signature", ["", "签名", "\ud800", "A" * 40, "0" * 39])
    def test_signatures_of_any_form_are_only_mismatches(self, signature: str) -> None:
        encrypted = encrypt(KEY, b"{}", OWNER)
        with pytest.raises(SignatureMismatch):
            CRYPTO.open(SignatureParameters(signature, TIMESTAMP, NONCE), encrypted)

    def test_upper_case_signature_is_refused(self) -> None:
        encrypted = encrypt(KEY, b"{}", OWNER, random16=b"r" * 16)
        good = signed(encrypted)
        with pytest.raises(SignatureMismatch):
            CRYPTO.open(SignatureParameters(good.signature.upper(), TIMESTAMP, NONCE), encrypted)

    def test_signed_but_no_base64_says_so(self) -> None:
        with pytest.raises(CiphertextError, match="not base64"):
            CRYPTO.open(signed("no base64!"), "no base64!")

    @pytest.mark.parametrize(
        "plaintext", [b"\xff\xfe", b"", b"{", b"[1]", b"[" * 100_000, b"NaN", b'{"a":1,"a":2}']
    )
    def test_content_is_none_of_its_business(self, plaintext: bytes) -> None:
        encrypted = encrypt(KEY, plaintext, OWNER)
        assert CRYPTO.open(signed(encrypted), encrypted).plaintext == plaintext

    def test_nothing_secret_in_a_repr(self) -> None:
        encrypted = encrypt(KEY, b"plaintext", OWNER)
        shown = repr(CRYPTO.open(signed(encrypted), encrypted))
        assert OWNER in shown
        for secret in (TOKEN, AES_KEY, repr(KEY), "plaintext"):
            assert secret not in shown


class TestSuiteCreation:
    """A suite's first check is for a constant owner, since the suite has no key yet."""

    def open(self, plaintext: bytes) -> bytes:
        encrypted = encrypt(KEY, plaintext, DEFAULT_SUITE_OWNER)
        opened = CRYPTO.open(signed(encrypted), encrypted)
        assert opened.owner_key == DEFAULT_SUITE_OWNER
        return opened.plaintext

    def test_is_accepted_with_the_constant_owner(self) -> None:
        self.open(b'{"EventType":"check_create_suite_url","Random":"LPIdSnlF","TestSuiteKey":"suite1"}')

    @pytest.mark.parametrize(
        "plaintext",
        [
            b'{"EventType":"check_update_suite_url"}',
            b'{"EventType":"user_add_org"}',
            b'["check_create_suite_url"]',
            b'"check_create_suite_url"',
            b"check_create_suite_url",
            b"\xff",
            b"[" * 100_000,
        ],
    )
    def test_nothing_else_is(self, plaintext: bytes) -> None:
        with pytest.raises(OwnerMismatch) as caught:
            self.open(plaintext)
        assert caught.value.owner_seen == DEFAULT_SUITE_OWNER


class TestParameters:
    def test_both_spellings(self) -> None:
        expected = SignatureParameters("s", "1731000000123", "n")
        spellings: list[dict[str, str]] = [
            {"signature": "s", "timestamp": "1731000000123", "nonce": "n"},
            {"msg_signature": "s", "timeStamp": "1731000000123", "nonce": "n"},
            {"signature": "s", "msg_signature": "s", "timestamp": "1731000000123", "nonce": "n"},
            {"r": "/ding/call-back", "msg_signature": "s", "timestamp": "1731000000123", "nonce": "n"},
            {"signature": "", "msg_signature": "s", "timestamp": "1731000000123", "nonce": "n"},
        ]
        for query in spellings:
            assert SignatureParameters.from_query(query) == expected

    @pytest.mark.parametrize(
        "query",
        [
            {"signature": "s", "msg_signature": "t", "timestamp": "1", "nonce": "n"},
            {"signature": "s", "timestamp": "1", "timeStamp": "2", "nonce": "n"},
            MultiDict([("signature", "s"), ("timestamp", "1"), ("nonce", "n"), ("nonce", "m")]),
        ],
    )
    def test_contradictory_values_are_refused(self, query: Any) -> None:
        with pytest.raises(ParametersError, match="different values") as caught:
            SignatureParameters.from_query(query)
        assert caught.value.reason == "parameters"

    def test_all_that_is_absent_is_named(self) -> None:
        with pytest.raises(ParametersError, match="signature, nonce"):
            SignatureParameters.from_query({"timestamp": "1731000000123", "nonce": ""})

    @pytest.mark.parametrize(
        ("timestamp", "expected"),
        [
            ("1731000000123", 1731000000123),
            ("0", 0),
            ("-1", None),
            ("１", None),
            ("1e3", None),
            ("9" * 21, None),
        ],
    )
    def test_timestamp_as_a_number(self, timestamp: str, expected: int | None) -> None:
        assert SignatureParameters("s", timestamp, "n").timestamp_ms == expected


class TestCredentials:
    def test_all_mistakes_are_listed_without_the_secrets(self) -> None:
        with pytest.raises(CredentialsError) as caught:
            Credentials("secret token", "secret-key", ("ding owner", ""))
        assert len(caught.value.problems) == 4
        assert caught.value.exit_code == 2
        assert "secret" not in str(caught.value)

    def test_an_owner_is_needed(self) -> None:
        with pytest.raises(CredentialsError, match="owner key"):
            Credentials(TOKEN, AES_KEY, ())

    @pytest.mark.parametrize(
        "aes_key", ["", "a" * 42, "a" * 44, "a" * 42 + "=", "a" * 42 + "+", "a" * 43 + "\n"]
    )
    def test_bad_keys(self, aes_key: str) -> None:
        with pytest.raises(CredentialsError, match="43"):
            decode_key(aes_key)

    @given(st.text("ABCDEFabcdefxyzXYZ0189", min_size=43, max_size=43))
    def test_any_43rd_character_will_do(self, aes_key: str) -> None:
        assert len(decode_key(aes_key)) == 32

    def test_none_at_all(self) -> None:
        with pytest.raises(CredentialsError):
            CallbackCrypto([])


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
    sealed = CRYPTO.seal(message, CREDENTIALS, timestamp=timestamp, nonce=nonce)
    parameters = SignatureParameters(sealed["msg_signature"], sealed["timeStamp"], sealed["nonce"])
    assert CRYPTO.open(parameters, sealed["encrypt"]).plaintext == message


@given(data=st.data(), message=messages)
def test_any_altered_character_is_refused(data: st.DataObject, message: bytes) -> None:
    sealed = CRYPTO.seal(message, CREDENTIALS, timestamp=TIMESTAMP, nonce=NONCE)
    field = data.draw(st.sampled_from(sorted(sealed)))
    at = data.draw(st.integers(0, len(sealed[field]) - 1))
    bit = data.draw(st.integers(0, 7))
    sealed[field] = sealed[field][:at] + chr(ord(sealed[field][at]) ^ (1 << bit)) + sealed[field][at + 1 :]
    parameters = SignatureParameters(sealed["msg_signature"], sealed["timeStamp"], sealed["nonce"])
    with pytest.raises(SignatureMismatch):
        CRYPTO.open(parameters, sealed["encrypt"])


@given(text=st.text(max_size=100))
def test_whatever_is_sent_signed_it_is_opened_or_refused_in_words(text: str) -> None:
    with pytest.raises(CallbackError):
        CRYPTO.open(signed(text), text)


@given(blocks=st.integers(1, 6), data=st.data())
def test_any_signed_ciphertext_is_opened_or_refused_in_words(blocks: int, data: st.DataObject) -> None:
    encrypted = base64.b64encode(data.draw(st.binary(min_size=16 * blocks, max_size=16 * blocks))).decode()
    with pytest.raises(CallbackError):
        CRYPTO.open(signed(encrypted), encrypted)

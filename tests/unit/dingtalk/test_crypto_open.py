"""Which callbacks open, with which parameters and credentials; what does not open says why."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict

from dingbridge.dingtalk import crypto
from dingbridge.dingtalk.crypto import (
    DEFAULT_SUITE_OWNER,
    CallbackCrypto,
    Credentials,
    SignatureParameters,
    decode_key,
    decrypt,
    encrypt,
)
from dingbridge.dingtalk.errors import (
    CiphertextError,
    CredentialsError,
    OwnerMismatch,
    ParametersError,
    SignatureMismatch,
)
from tests.unit.dingtalk.sealing import (
    AES_KEY,
    CREDENTIALS,
    CRYPTO,
    KEY,
    NONCE,
    OWNER,
    TIMESTAMP,
    TOKEN,
    raw_encrypt,
    signed,
)


class TestOpen:
    def test_reply_opens_with_the_same_rules(self) -> None:
        reply = CRYPTO.encrypt_reply(b"success", CREDENTIALS, timestamp=TIMESTAMP, nonce=NONCE)
        assert list(reply) == ["msg_signature", "timeStamp", "nonce", "encrypt"]
        assert all(isinstance(value, str) for value in reply.values())
        opened = CRYPTO.decrypt_callback(SignatureParameters.from_query(reply), reply["encrypt"])
        assert (opened.plaintext, opened.owner_key) == (b"success", OWNER)

    def test_several_owners_and_the_reply_is_for_the_one_seen(self) -> None:
        credentials = Credentials(TOKEN, AES_KEY, ("dingappkey01", "dingcorp01"))
        both = CallbackCrypto([credentials])
        for owner in credentials.owner_keys:
            encrypted = encrypt(KEY, b"{}", owner)
            opened = both.decrypt_callback(signed(encrypted), encrypted)
            assert opened.owner_key == owner
            reply = both.encrypt_reply(b"success", opened, timestamp=TIMESTAMP, nonce=NONCE)
            assert decrypt(KEY, reply["encrypt"]) == (b"success", owner)

    def test_owner_of_a_reply_may_be_chosen(self) -> None:
        reply = CRYPTO.encrypt_reply(b"success", CREDENTIALS, "another", timestamp=TIMESTAMP, nonce=NONCE)
        assert decrypt(KEY, reply["encrypt"]) == (b"success", "another")

    def test_old_and_new_credentials_are_valid_at_once(self) -> None:
        new = Credentials("newToken", "B" * 43, ("newowner",))
        both = CallbackCrypto([CREDENTIALS, new])
        for credentials in (CREDENTIALS, new):
            pushed = CallbackCrypto([credentials]).encrypt_reply(
                b"{}", credentials, timestamp=TIMESTAMP, nonce=NONCE
            )
            opened = both.decrypt_callback(SignatureParameters.from_query(pushed), pushed["encrypt"])
            assert opened.credentials is credentials
            reply = both.encrypt_reply(b"success", opened, timestamp=TIMESTAMP, nonce=NONCE)
            CallbackCrypto([credentials]).decrypt_callback(
                SignatureParameters.from_query(reply), reply["encrypt"]
            )

    @pytest.mark.parametrize("new_first", [True, False])
    def test_only_the_aes_key_or_the_owner_differs(self, new_first: bool) -> None:
        new_key = Credentials(TOKEN, "B" * 43, (OWNER,))
        new_owner = Credentials(TOKEN, AES_KEY, ("newowner",))
        for other in (new_key, new_owner):
            both = CallbackCrypto([other, CREDENTIALS] if new_first else [CREDENTIALS, other])
            for credentials in (other, CREDENTIALS):
                encrypted = encrypt(credentials.key, b"{}", credentials.owner_keys[0])
                assert both.decrypt_callback(signed(encrypted), encrypted).credentials is credentials

    @pytest.mark.parametrize("wrong_key_first", [True, False])
    def test_the_failure_that_got_furthest_is_named(self, wrong_key_first: bool) -> None:
        wrong_key = Credentials(TOKEN, "B" * 43, (OWNER,))
        order = [wrong_key, CREDENTIALS] if wrong_key_first else [CREDENTIALS, wrong_key]
        encrypted = encrypt(KEY, b"{}", "dingsomebodyelse", random16=b"r" * 16)
        with pytest.raises(OwnerMismatch):
            CallbackCrypto(order).decrypt_callback(signed(encrypted), encrypted)

    def test_wrong_owner_is_named_with_the_one_seen_and_the_remedy(self) -> None:
        encrypted = encrypt(KEY, b'{"EventType":"check_url","secret":"plaintext"}', "dingcorp99")
        with pytest.raises(OwnerMismatch, match=r"dingcorp99.*DINGTALK_OWNER_KEY") as caught:
            CRYPTO.decrypt_callback(signed(encrypted), encrypted)
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
            CRYPTO.decrypt_callback(signed(encrypted), encrypted)
        assert "138" not in str(caught.value)
        assert "王" not in str(caught.value)

    def test_wrong_token_is_refused_before_decryption(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def never(*_: object) -> tuple[bytes, str]:
            raise AssertionError("decrypted before the signature fitted")

        encrypted = encrypt(KEY, b"{}", OWNER)
        monkeypatch.setattr(crypto, "_decrypt", never)
        with pytest.raises(SignatureMismatch, match="DINGTALK_TOKEN") as caught:
            CRYPTO.decrypt_callback(signed(encrypted, token="another"), encrypted)
        assert caught.value.reason == "signature"

    @pytest.mark.parametrize("signature", ["", "签名", "\ud800", "A" * 40, "0" * 39])
    def test_signatures_of_any_form_are_only_mismatches(self, signature: str) -> None:
        encrypted = encrypt(KEY, b"{}", OWNER)
        with pytest.raises(SignatureMismatch):
            CRYPTO.decrypt_callback(SignatureParameters(signature, TIMESTAMP, NONCE), encrypted)

    def test_upper_case_signature_is_refused(self) -> None:
        encrypted = encrypt(KEY, b"{}", OWNER, random16=b"r" * 16)
        good = signed(encrypted)
        with pytest.raises(SignatureMismatch):
            CRYPTO.decrypt_callback(SignatureParameters(good.signature.upper(), TIMESTAMP, NONCE), encrypted)

    def test_signed_but_no_base64_says_so(self) -> None:
        with pytest.raises(CiphertextError, match="not base64"):
            CRYPTO.decrypt_callback(signed("no base64!"), "no base64!")

    @pytest.mark.parametrize(
        "plaintext", [b"\xff\xfe", b"", b"{", b"[1]", b"[" * 100_000, b"NaN", b'{"a":1,"a":2}']
    )
    def test_content_is_none_of_its_business(self, plaintext: bytes) -> None:
        encrypted = encrypt(KEY, plaintext, OWNER)
        assert CRYPTO.decrypt_callback(signed(encrypted), encrypted).plaintext == plaintext

    @given(st.lists(st.binary(max_size=100), min_size=1, max_size=8), st.binary(max_size=64))
    def test_what_came_before_makes_no_difference(self, plaintexts: list[bytes], altered: bytes) -> None:
        one = CallbackCrypto([CREDENTIALS])
        for plaintext in plaintexts:
            broken = base64.b64encode(altered).decode()
            with pytest.raises(CiphertextError):
                one.decrypt_callback(signed(broken), broken)
            encrypted = encrypt(KEY, plaintext, OWNER)
            assert one.decrypt_callback(signed(encrypted), encrypted).plaintext == plaintext

    def test_nothing_secret_in_a_repr(self) -> None:
        encrypted = encrypt(KEY, b"plaintext", OWNER)
        shown = repr(CRYPTO.decrypt_callback(signed(encrypted), encrypted))
        assert OWNER in shown
        for secret in (TOKEN, AES_KEY, repr(KEY), "plaintext"):
            assert secret not in shown


class TestSuiteCreation:
    """A suite's first check is for a constant owner, since the suite has no key yet."""

    def open(self, plaintext: bytes) -> bytes:
        encrypted = encrypt(KEY, plaintext, DEFAULT_SUITE_OWNER)
        opened = CRYPTO.decrypt_callback(signed(encrypted), encrypted)
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

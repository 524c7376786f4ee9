"""Credentials, and callbacks sealed with them: what the tests of the callback crypto share."""

import base64

from Crypto.Cipher import AES

from dingbridge.dingtalk.crypto import CallbackCrypto, Credentials, SignatureParameters, decode_key, sign

TOKEN = "tokenForTests01"
AES_KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFA"
KEY = decode_key(AES_KEY)
OWNER = "dingappkeyexample01"
TIMESTAMP, NONCE = "1731000000123", "nEXhMP4r"
CREDENTIALS = Credentials(TOKEN, AES_KEY, (OWNER,))
CRYPTO = CallbackCrypto([CREDENTIALS])


def signed(encrypted: str, token: str = TOKEN) -> SignatureParameters:
    return SignatureParameters(sign(token, TIMESTAMP, NONCE, encrypted), TIMESTAMP, NONCE)


def raw_encrypt(plain: bytes) -> str:
    """A ciphertext whose plaintext, padding included, is ours to choose."""
    return base64.b64encode(AES.new(KEY, AES.MODE_CBC, KEY[:16]).encrypt(plain)).decode()

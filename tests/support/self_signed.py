"""A certificate for an address that signs itself, and its key, in one PEM file: a private CA of one server.

Made by pycryptodome, which the project has anyway: Python's own ``ssl`` cannot make one.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from Crypto.Hash import SHA256
from Crypto.IO import PEM
from Crypto.PublicKey import RSA
from Crypto.Signature import pkcs1_15
from Crypto.Util.asn1 import DerBitString, DerInteger, DerObjectId, DerOctetString, DerSequence

SHA256_WITH_RSA = DerSequence([DerObjectId("1.2.840.113549.1.1.11"), b"\x05\x00"])

_TRUE = b"\x01\x01\xff"


def write(
    folder: Path,
    *,
    address: str = "127.0.0.1",
    hosts: Sequence[str] = (),
    days: tuple[float, float] = (-1, 30),
) -> tuple[Path, Path]:
    """Writes both; returns the file with certificate and key, for the server, and the certificate alone.

    ``address`` is the IPv4 address that it is for, ``hosts`` are further names; ``days`` from now on it is
    valid, from the first to the last.
    """
    key = _key()
    common_name = DerSequence([DerObjectId("2.5.4.3"), _tagged(0x0C, address.encode())])
    name = DerSequence([_tagged(0x31, common_name.encode())])
    now = datetime.now(UTC)
    validity = DerSequence([_tagged(0x17, f"{now + d:%y%m%d%H%M%SZ}".encode()) for d in map(timedelta, days)])
    # as OpenSSL's strict mode wants them, which Python has on since 3.13: subjectAltName (iPAddress,
    # dNSName), basicConstraints (CA), keyUsage (digitalSignature, keyCertSign), subjectKeyIdentifier
    dns = [_tagged(0x82, host.encode()) for host in hosts]
    names = DerSequence([_tagged(0x87, bytes(map(int, address.split(".")))), *dns]).encode()
    extensions = DerSequence(
        [
            _extension("2.5.29.17", names),
            _extension("2.5.29.19", DerSequence([_TRUE]).encode(), critical=True),
            _extension("2.5.29.15", b"\x03\x02\x02\x84", critical=True),
            _extension(
                "2.5.29.14", DerOctetString(SHA256.new(key.public_key().export_key("DER")).digest()).encode()
            ),
        ]
    )
    body = DerSequence(
        [
            _tagged(0xA0, DerInteger(2).encode()),  # version 3
            DerInteger(1),
            SHA256_WITH_RSA,
            name,
            validity,
            name,
            key.public_key().export_key("DER"),
            _tagged(0xA3, extensions.encode()),
        ]
    ).encode()
    signature = pkcs1_15.new(key).sign(SHA256.new(body))
    whole = DerSequence([body, SHA256_WITH_RSA, DerBitString(signature)]).encode()
    certificate = folder / "server.crt"
    certificate.write_text(_pem(whole))
    both = folder / "server.pem"
    both.write_bytes(certificate.read_bytes() + key.export_key("PEM", pkcs=8) + b"\n")
    both.chmod(0o600)
    return both, certificate


def _extension(oid: str, value: bytes, *, critical: bool = False) -> DerSequence:
    return DerSequence([DerObjectId(oid), *([_TRUE] if critical else []), DerOctetString(value).encode()])


@cache
def _key() -> RSA.RsaKey:
    return RSA.generate(2048)


def _tagged(tag: int, content: bytes) -> bytes:
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8 or 1, "big")
    return bytes([tag]) + (length if len(content) < 0x80 else bytes([0x80 | len(length)]) + length) + content


def _pem(der: bytes) -> str:
    return str(PEM.encode(der, "CERTIFICATE")) + "\n"

"""Whom we trust as a client: the authorities of a PEM file, or those of the system."""

import ssl
from pathlib import Path


def trusting(ca_file: Path | str | None) -> ssl.SSLContext:
    """A client's context that trusts the authorities in ``ca_file``, without one those of the system.

    Raises ``ValueError``, in words, for a file that cannot be read or holds no certificate.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # an ssl.SSLError is one, too, and its text is OpenSSL's
        reason = "no certificate in PEM" if isinstance(error, ssl.SSLError) else error.strerror
        raise ValueError(f"{ca_file} cannot be used ({reason})") from None

"""The address of a consumer's database, as text and taken apart.

A password may stand in it, so every mistake is reported in fixed words, and nothing of the address is
repeated. Connecting is the consumers' (``dingbridge/worker/store/database.py``).
"""

import re
import ssl
from typing import TYPE_CHECKING, Final

from dingbridge.settings.tls import trusting

if TYPE_CHECKING:
    from sqlalchemy import URL

_SQLITE: Final = re.compile(r"sqlite://(?:/[\s\S]*)?")
_POSTGRES: Final = re.compile(
    r"postgres(?:ql)?://"
    r"(?:[^:/]*(?::[^@]*)?@)?"  # user and password, split as SQLAlchemy (2.0) does
    r"(?:\[[^\[\]/?@]+\]|[^\[\]/:?@]*)(?::(?P<port>[0-9]{1,5}))?"
    r"(?:/[^?@]*)?(?:\?[^@]*)?"
)
"""SQLAlchemy itself takes ``u:p@ss@host/x`` for a host ``ss@host``, which then is in errors: an ``@``
behind the user can only be a part of the password that should have been escaped."""

_FOREIGN: Final = "must begin with sqlite:/// or postgresql://; the driver is ours"
_UNREADABLE: Final = (
    "cannot be read as postgresql://user:password@host:port/name; in user, password and name write @ as %40, "
    ": as %3A, / as %2F and ? as %3F; a port is 1 to 65535"
)

_TLS_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_OPTIONS: Final = (
    "may have the options sslmode, sslrootcert and host behind a ?, as ?sslmode=verify-full, and no others; "
    f"sslmode is one of {', '.join(_TLS_MODES)}"
)


def parse_database_url(text: str) -> "URL":
    """The address ``postgresql://user:password@host:port/name``, ``sqlite:///path`` or ``sqlite://`` (in
    memory). Raises ``ValueError`` for any other, in words that hold nothing of it."""
    if not text.startswith(("sqlite://", "postgresql://", "postgres://")):
        raise ValueError(_FOREIGN)
    from sqlalchemy import make_url  # who has no database need not wait for its import

    if text.startswith("sqlite"):
        if not _SQLITE.fullmatch(text):
            raise ValueError(_FOREIGN)
        return make_url(text)
    form = _POSTGRES.fullmatch(text)
    if form is None or not 0 < int(form["port"] or 1) < 65536:
        raise ValueError(_UNREADABLE)
    address = make_url(text).set(drivername="postgresql")
    mode = address.query.get("sslmode", "prefer")
    if not address.query.keys() <= {"host", "sslmode", "sslrootcert"} or mode not in _TLS_MODES:
        raise ValueError(_OPTIONS)
    tls_of(address)
    return address


def tls_of(address: "URL") -> str | ssl.SSLContext:
    """What asyncpg calls ``ssl``, for libpq's ``sslmode`` and ``sslrootcert`` in a PostgreSQL's address
    (https://www.postgresql.org/docs/17/libpq-ssl.html). Without a file the system's authorities are trusted.

    Raises ``ValueError`` where the file cannot be used.
    """
    mode, authorities = (str(address.query.get(name, "")) for name in ("sslmode", "sslrootcert"))
    if not authorities and not mode.startswith("verify"):
        return mode or "prefer"
    context = trusting(authorities or None)
    context.check_hostname = mode == "verify-full"
    return context


def in_memory(address: "URL") -> bool:
    """Whether it is SQLite without a file (https://sqlite.org/inmemorydb.html): gone with its process."""
    if not address.drivername.startswith("sqlite"):
        return False
    path = address.database or ""
    by_uri = path.startswith("file:") and (":memory:" in path or address.query.get("mode") == "memory")
    return path in ("", ":memory:") or by_uri

"""PostgreSQL's own programs: ``pg_dump`` makes a copy beside who writes, ``pg_restore`` puts it back, all or
nothing. If they are not installed, the error has the command to run elsewhere: by its standard streams,
since another container does not have the folder.

The address goes by libpq's variables (postgresql.org/docs/17/libpq-envars.html): no password stands in a
command line. Not here: the mark in the restored database (``databases.py``).
"""

import asyncio
import os
import shlex
import shutil
from pathlib import Path
from typing import Final

from dingbridge.backup.sqlite import to_disk
from dingbridge.errors import BridgeError
from dingbridge.settings.database_url import parse_database_url
from dingbridge.worker.store.restored import MARKS

_DUMP: Final = ("pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--exclude-table={MARKS}")
_RESTORE: Final = ("pg_restore", "--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error")

_WITH_VALUES: Final = ("DETAIL:", "CONTEXT:", "Command was:")
"""Begin the lines of an error that may hold values of a row."""


class NotInstalled(BridgeError):
    """A program of PostgreSQL's is not here; the message has the command to be run where it is."""


async def dump(url: str, file: Path) -> None:
    """Copy the database at ``url`` to the new ``file`` (0600). Raises ``NotInstalled``, ``BridgeError``."""
    await asyncio.to_thread(file.parent.mkdir, mode=0o700, parents=True, exist_ok=True)
    rest = f"{_user(url)}{shlex.quote(_name(url))} > {shlex.quote(str(file))}"
    _installed(_DUMP, rest)
    await asyncio.to_thread(file.touch, mode=0o600)
    try:
        await _run(url, *_DUMP, f"--file={file}")
    except BridgeError as error:
        if "server version mismatch" not in str(error):
            raise
        await asyncio.to_thread(file.unlink)
        raise _not_installed(_DUMP, rest) from error
    await asyncio.to_thread(to_disk, file)


async def load(url: str, file: Path) -> None:
    """Put ``file`` into the database at ``url``, in one transaction. Raises as ``dump`` does."""
    _installed(_RESTORE, f"{_user(url)}--dbname={shlex.quote(_name(url))} < {shlex.quote(str(file))}")
    await _run(url, *_RESTORE, f"--dbname={_name(url)}", str(file))


def _installed(command: tuple[str, ...], rest: str) -> None:
    if shutil.which(command[0]) is None:
        raise _not_installed(command, rest)


def _not_installed(command: tuple[str, ...], rest: str) -> NotInstalled:
    return NotInstalled(
        f"{command[0]} is not installed here, or is older than the server. Install PostgreSQL's client "
        f"programs, at least of the server's version; or run it where they are, as on the server: "
        f"{' '.join(command)} {rest}"
    )


def _user(url: str) -> str:
    user = parse_database_url(url).username
    return f"--username={shlex.quote(user)} " if user else ""


def _name(url: str) -> str:
    return parse_database_url(url).database or "postgres"


async def _run(url: str, *command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, env={**os.environ, **_variables(url), "LC_ALL": "C"}, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    if process.returncode:
        lines = said.decode(errors="replace").splitlines()
        words = " ".join(line for line in lines if not line.startswith(_WITH_VALUES))[-500:]
        raise BridgeError(f"{command[0]} ended with {process.returncode}: {words}")


def _variables(url: str) -> dict[str, str]:
    """libpq's variables for ``url``."""
    address = parse_database_url(url)
    query = {name: str(value) for name, value in address.query.items()}
    found = {
        "PGHOST": query.get("host") or address.host or "",
        "PGPORT": str(address.port or ""),
        "PGUSER": address.username or "",
        "PGPASSWORD": str(address.password or ""),
        "PGDATABASE": _name(url),
        "PGSSLMODE": query.get("sslmode", ""),
        "PGSSLROOTCERT": query.get("sslrootcert", ""),
    }
    return {name: value for name, value in found.items() if value}

"""The console's audit: who did what, when, and to how many; a line of JSON each, only ever added to.

The file is ``console-audit.jsonl`` in DATA_DIR, mode 0600; a line is on the disk before its act is done. It
holds no payloads and no passwords, and is not pruned: an operator archives it.
"""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

import orjson

from dingbridge.errors import BridgeError

ACTS: Final = ("command", "command_ended", "refused", "login", "login_refused", "logout", "looked_up")
"""What ``AuditEntry.act`` can be."""

_BLOCK: Final = 1 << 16


class AuditError(BridgeError):
    """The audit cannot be written or read; without its line nothing is done."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A line. ``count`` is how many records a command concerned, or for how many refusals the line stands (a
    flood gets few lines); ``reason`` why something was refused. Of a look-up ``count`` is how many people
    and titles it showed, ``found`` the first people's userids."""

    at: datetime
    user: str
    act: str
    role: str = ""
    address: str = ""
    command: str | None = None
    count: int | None = None
    exit_code: int | None = None
    reason: str | None = None
    kinds: list[str] | None = None
    found: list[str] | None = None


_FIELDS: Final = frozenset(field.name for field in fields(AuditEntry))


class Audit:
    """The audit in one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._one_writer = asyncio.Lock()

    async def write(self, act: str, *, user: str, **more: Any) -> None:
        """Add a line of now, with ``more`` fields of ``AuditEntry``, and have it on the disk. Raises
        ``AuditError``."""
        entry = asdict(AuditEntry(datetime.now(UTC), user, act, **more))
        entry["at"] = entry["at"].isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = orjson.dumps({name: value for name, value in entry.items() if value is not None})
        async with self._one_writer:
            await asyncio.to_thread(self._append, line + b"\n")

    async def read(self, limit: int = 200) -> list[AuditEntry]:
        """The latest entries, newest first. Raises ``AuditError``."""
        return await asyncio.to_thread(self._read, limit)

    def _append(self, line: bytes) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                size = os.fstat(handle).st_size
                if size and os.pread(handle, 1, size - 1) != b"\n":  # torn by a power cut or a full disk
                    line = b"\n" + line
                if os.write(handle, line) != len(line):
                    raise OSError(None, "the disk is full")
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise AuditError(
                f"the audit {self.path} cannot be written ({error.strerror}); nothing is done that is not in "
                "it: make room there, or give the console its rights"
            ) from error

    def _read(self, limit: int) -> list[AuditEntry]:
        try:
            entries = filter(None, map(_entry, _backwards(self.path)))
            return list(islice(entries, limit))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise AuditError(f"the audit {self.path} cannot be read ({error.strerror})") from error


def _backwards(path: Path) -> Iterator[bytes]:
    """The file's lines, the last first; of a large file only what is asked for is read."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        rest = b""
        while end > 0:
            begin = max(0, end - _BLOCK)
            file.seek(begin)
            rest, *lines = (file.read(end - begin) + rest).split(b"\n")
            yield from reversed(lines)
            end = begin
        yield rest


def _entry(line: bytes) -> AuditEntry | None:
    """None for an incomplete line: a power cut may have torn it."""
    try:
        values = orjson.loads(line)
        at = datetime.fromisoformat(values.pop("at"))
        # a newer version may have added fields
        return AuditEntry(at, **{name: value for name, value in values.items() if name in _FIELDS})
    except (ValueError, TypeError, KeyError, AttributeError):
        return None

"""``manifest.json``: what a back-up holds. It is written last, so a back-up without one was not finished."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from dingbridge.errors import BridgeError
from dingbridge.files import new_file

NAME: Final = "manifest.json"
FORMAT: Final = 1


class BadBackup(BridgeError):
    """A back-up that cannot be restored: not finished, changed since, or of another format."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Committed(_Model):
    """What a group had committed in one partition, and where that ended."""

    topic: str
    partition: int
    offset: int
    end: int


class DatabaseCopy(_Model):
    """The copy of a database of ``consumers``; ``file`` is relative to the back-up's folder. ``by_hand``: it
    had to be put there by hand, so its hash is not known."""

    file: str
    kind: Literal["sqlite", "postgresql"]
    consumers: list[str]
    by_hand: bool = False


class Manifest(_Model):
    """``at``: when the back-up was begun. ``groups``: the committed offsets by consumer. ``stores``: by name
    those beside the databases. ``files``: SHA-256 (hex) by path, relative to the folder. ``prefixes``: of the
    topics, ``TOPIC_PREFIX`` and ``CONTROL_PREFIX``."""

    format: Literal[1] = FORMAT
    id: str
    version: str
    at: datetime
    cluster: str
    prefixes: tuple[str, str]
    groups: dict[str, list[Committed]]
    databases: list[DatabaseCopy]
    stores: list[str]
    files: dict[str, str]

    @property
    def at_ms(self) -> int:
        return round(self.at.timestamp() * 1000)

    def write(self, folder: Path) -> None:
        """Raises ``OSError``; then there is no manifest."""
        new_file(folder / NAME, self.model_dump_json(indent=2).encode() + b"\n")

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """The manifest of the back-up in ``folder``, whose files are as it says. Raises ``BadBackup``."""
        path = folder / NAME
        try:
            found = cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise BadBackup(
                f"{folder} has no {NAME}: it is no back-up, or one that was not finished; take another"
            ) from None
        except (OSError, ValidationError) as error:
            raise BadBackup(
                f"{path} cannot be read, or is of another format than {FORMAT} ({type(error).__name__}); "
                f"dingbridge here is {version('dingbridge')}"
            ) from error
        found.check(folder)
        return found

    def check(self, folder: Path) -> None:
        """Raises ``BadBackup`` where a file is missing or not what was written."""
        faults = []
        for name, sha256 in self.files.items():
            try:
                if digest_of(folder / name) != sha256:
                    faults.append(f"{name} is not what was written")
            except OSError as error:
                faults.append(f"{name} cannot be read ({error.strerror})")
            for ending in ("-wal", "-journal"):  # SQLite would take it for a part of the file
                if (folder / (name + ending)).exists():
                    faults.append(f"{name}{ending} is not of the back-up")
        for copy in self.databases:
            if copy.by_hand and not (folder / copy.file).is_file():
                faults.append(f"{copy.file} was to be put there by hand, and is not there")
            elif not copy.by_hand and copy.file not in self.files:
                faults.append(f"{copy.file} has no hash")
        if faults:
            raise BadBackup(f"the back-up in {folder} is not whole: {'; '.join(faults)}; take another")


def digest_of(path: Path) -> str:
    """SHA-256 (hex) of a file. Raises ``OSError``."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests(folder: Path) -> Mapping[str, str]:
    """Those of all files below ``folder``, by relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): digest_of(path) for path in files}

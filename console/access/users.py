"""Users by a file, and what each role may do.

The file is TOML, ``[users.<name>]`` with ``role`` and ``password`` (argon2id in PHC form), mode 0600; a user
without a password is a unionid, who logs in by DingTalk. It is written by ``dingbridge console set-password``
and ``set-role``, and read again when it changes.
"""

import re
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

import tomlkit
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from tomlkit.exceptions import TOMLKitError

from dingbridge.errors import BridgeError
from dingbridge.files import new_file, replace_file

MIN_PASSWORD: Final = 8
MAX_PASSWORD: Final = 256
"""Characters of a password, at least and at most."""

_NAME: Final = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_HASHER: Final = PasswordHasher()
"""argon2-cffi's defaults: RFC 9106, low-memory profile."""


class Role(IntEnum):
    """What a user may do; each role may what those before it may."""

    VIEWER = 1
    """sees ids, types, times and counts; values are masked"""
    READER = 2
    """sees payloads and the text of errors"""
    OPERATOR = 3
    """may act"""


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who has proved who they are."""

    name: str
    """Of the file; else ``oidc:…`` or ``proxy:…``, so that nobody is taken for somebody of another origin."""
    role: Role


class UsersError(BridgeError):
    """The users file cannot be read or written, or a value cannot be written to it."""


def role_of(text: str) -> Role:
    """``viewer``, ``reader`` or ``operator``. Raises ``UsersError``."""
    try:
        return Role[text.strip().upper()]
    except KeyError:
        raise UsersError(f"{text!r} is no role; there are viewer, reader and operator") from None


def check_name(name: str) -> None:
    """Raises ``UsersError`` for what cannot be a user's name."""
    if not _NAME.fullmatch(name):
        raise UsersError(f"{name!r} is no user name: use 1 to 64 of A-Z a-z 0-9 . _ @ -")


@dataclass(frozen=True, slots=True)
class _Entry:
    user: User
    hash: str
    """Empty: no password is right."""


class UsersFile:
    """The users in one file. Not there: nobody."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_at: tuple[int, int, int] | None = None
        self._entries: dict[str, _Entry] = {}
        self._of_nobody = ""

    def names(self) -> list[str]:
        """All users. Raises ``UsersError``."""
        return list(self._current())

    def find(self, name: str) -> tuple[User, str] | None:
        """The user and a text that changes with the password, empty without one. Raises ``UsersError``."""
        entry = self._current().get(name)
        return None if entry is None else (entry.user, entry.hash)

    def verify(self, name: str, password: str) -> User | None:
        """The user, if the password is right. As slow for a name that is unknown (about 50 ms of a core and
        64 MiB). Raises ``UsersError``."""
        entry = self._current().get(name)
        if entry is None or not entry.hash:
            entry, self._of_nobody = None, self._of_nobody or _HASHER.hash("nobody's password")
        try:
            _HASHER.verify(self._of_nobody if entry is None else entry.hash, password)
        except (VerificationError, InvalidHashError):
            return None
        return None if entry is None else entry.user

    def set_password(self, name: str, password: str, role: Role | None) -> User:
        """Add or change a user; without ``role`` it stays, and is a new user's ``VIEWER``. Raises
        ``UsersError``."""
        check_name(name)
        if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
            raise UsersError(
                f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters; nothing was changed"
            )
        before = self._current().get(name)
        user = User(name, role or (before.user.role if before is not None else Role.VIEWER))
        self._write(user, _HASHER.hash(password))
        return user

    def set_role(self, name: str, role: Role) -> tuple[User, bool]:
        """Add a user of DingTalk's, or give anybody another role. Returns also whether they have a password.
        Raises ``UsersError``."""
        check_name(name)
        user = User(name, role)
        self._write(user, None)
        return user, bool(self._current()[name].hash)

    def _write(self, user: User, password_hash: str | None) -> None:
        try:
            there = self.path.exists()
            document = tomlkit.parse(self.path.read_text(encoding="utf-8")) if there else tomlkit.document()
            users = document.setdefault("users", tomlkit.table(is_super_table=True))
            entry = users.setdefault(user.name, tomlkit.table())
            entry["role"] = user.role.name.lower()
            if password_hash is not None:
                entry["password"] = password_hash
            data = tomlkit.dumps(document).encode()
            (replace_file if there else new_file)(self.path, data)
        except OSError as error:
            raise UsersError(
                f"{self.path} cannot be written ({error.strerror}); set DATA_DIR to where it can be"
            ) from error

    def _current(self) -> dict[str, _Entry]:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            self._read_at, self._entries = None, {}
            return self._entries
        except OSError as error:
            raise self._unreadable(error.strerror or type(error).__name__) from error
        if status.st_mode & 0o077:
            raise self._unreadable(f"others can read it: chmod 600 {self.path}")
        now = (status.st_mtime_ns, status.st_size, status.st_ino)
        if now != self._read_at:
            self._entries = self._parsed()
            self._read_at = now
        return self._entries

    def _parsed(self) -> dict[str, _Entry]:
        try:
            document = tomlkit.parse(self.path.read_text(encoding="utf-8")).unwrap()
        except (OSError, UnicodeDecodeError, TOMLKitError) as error:
            problem = f"{type(error).__name__}; correct it, or delete it and add the users again"
            raise self._unreadable(problem) from error
        entries = {}
        users = document.get("users", {})
        for name, values in users.items() if isinstance(users, dict) else ():
            try:
                check_name(name)
                role, password = role_of(str(values["role"])), str(values.get("password", ""))
                entries[name] = _Entry(User(name, role), password)
            except (UsersError, KeyError, TypeError, AttributeError) as error:
                raise self._unreadable(f"users.{name}: needs a role; set-password or set-role") from error
        return entries

    def _unreadable(self, why: str) -> UsersError:
        return UsersError(f"the console's users file {self.path} cannot be used: {why}")

"""Reading ``DINGTALK_APPS_FILE``: whole or not at all, every mistake at once, and whether it changed.

It is TOML, a table for each app; each secret stands there, or in a file that ``<key>_file`` names, relative
to this one::

    [apps.hr]
    token_file = "hr.token"
    aes_key_file = "hr.aes-key"
    owner_keys = ["dingabc", "dingcorp2"]
    app_key = "dingabc"
    app_secret_file = "hr.app-secret"
    corp_id = "dingcorp2"

    [[apps.hr.previous]]              # still accepted, until then; `dingbridge callback rotate` writes these
    token_file = "hr.token.old"
    aes_key_file = "hr.aes-key.old"
    until = 2026-11-26T08:00:00Z
"""

import re
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from dingbridge.apps.model import (
    FORM_OF_TOKENS,
    NAME_RE,
    OWNER_RE,
    OWNER_WORDS,
    SAMPLE_CREDENTIALS,
    TOKEN_RE,
    VARIABLE,
    App,
    AppCredentials,
)

_AES_KEY_RE = re.compile(r"[A-Za-z0-9]{43}")
_SECRETS: Final = ("token", "aes_key", "app_secret")
_APP_KEYS: Final = frozenset(
    {*_SECRETS, *(f"{name}_file" for name in _SECRETS)}
    | {"owner_keys", "app_key", "corp_id", "suite", "previous", "next"}
)
_PAIR_KEYS: Final = frozenset({"token", "token_file", "aes_key", "aes_key_file"})


def files_of(path: Path) -> list[Path]:
    """The apps file and every file that it names, to see whether any of them changed. Never raises."""
    found = [path]
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return found
    pending: list[Any] = [document]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            named = [v for k, v in value.items() if k.endswith("_file") and isinstance(v, str)]
            found += [path.parent / name for name in named]
            pending += value.values()
        elif isinstance(value, list):
            pending += value
    return found


def read_apps(path: Path, *, live: bool = False) -> tuple[dict[str, App], list[str]]:
    """The apps of the file, and every mistake in it. ``live``: the API is DingTalk's own, so that the public
    sample values are mistakes too."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        return {}, [f"{VARIABLE}: {path} cannot be read ({error.strerror or type(error).__name__})"]
    except UnicodeDecodeError:
        return {}, [f"{VARIABLE}: {path} is not UTF-8 text"]
    except tomllib.TOMLDecodeError as error:
        return {}, [f"{VARIABLE}: {path} is no TOML ({_place(error)})"]
    except RecursionError:
        return {}, [f"{VARIABLE}: {path} is no TOML (nested too deep)"]
    tables = document.get("apps")
    others = sorted(document.keys() - {"apps"})
    problems = [f"{VARIABLE}: {name}: is no setting; apps are [apps.<name>]" for name in others]
    if not isinstance(tables, dict) or not tables:
        return {}, [*problems, f"{VARIABLE}: {path} names no app; one begins with [apps.<name>]"]
    apps = {}
    for name, table in tables.items():
        reader = _Reader(name, path.parent, live)
        app = reader.app(table)
        problems += reader.problems
        if app is not None:
            apps[name] = app
    return apps, problems


def _place(error: tomllib.TOMLDecodeError) -> str:
    """Where it stops being TOML, without the text there, which may be a secret."""
    found = re.search(r"line \d+, column \d+|end of document", str(error))
    return found[0] if found else "somewhere"


class _Reader:
    """Reads one app's table and gathers its mistakes."""

    def __init__(self, name: str, folder: Path, live: bool) -> None:
        self.name = name
        self.problems: list[str] = []
        self._folder, self._live = folder, live

    def app(self, table: Any) -> App | None:
        if not NAME_RE.fullmatch(self.name):
            self._wrong("", "an app's name is 1 to 64 of a-z, 0-9 and -")
        if not isinstance(table, dict):
            self._wrong("", "is no table; it begins with [apps.<name>]")
            return None
        self._unknown("", table, _APP_KEYS)
        current = self._pair("", table)
        following = self._others("next", table)
        previous = self._others("previous", table)
        owners = self._owners(table.get("owner_keys"))
        app_secret = self._secret("", table, "app_secret", needed=False)
        app_key, corp_id = self._id(table, "app_key"), self._id(table, "corp_id")
        suite = table.get("suite", False)
        if not isinstance(suite, bool):
            self._wrong("suite", "is true or false")
        if bool(app_key) != bool(app_secret) and not self.problems:
            self._wrong("", "app_key and app_secret belong together; one of them is missing")
        if self._live:
            for key, value in (("app_key", app_key), ("app_secret", app_secret)):
                if value and value in SAMPLE_CREDENTIALS.values():
                    self._wrong(key, "is the public sample value of the local stack")
        if self.problems or current is None:
            return None
        pairs = (current, *following, *previous)
        return App(self.name, pairs, owners, app_key, app_secret, corp_id, bool(suite))

    def _wrong(self, key: str, words: str) -> None:
        place = f"apps.{self.name}" + (f".{key}" if key else "")
        self.problems.append(f"{VARIABLE}: {place}: {words}")

    def _unknown(self, place: str, table: Mapping[str, Any], known: frozenset[str]) -> None:
        for key in sorted(table.keys() - known):
            self._wrong(f"{place}{key}", f"is no setting; there are {', '.join(sorted(known))}")

    def _others(self, kind: str, table: Mapping[str, Any]) -> list[AppCredentials]:
        """``next`` is a table, ``previous`` a list of tables with ``until``."""
        found = table.get(kind, [])
        tables = [found] if kind == "next" and isinstance(found, dict) else found
        if not isinstance(tables, list) or not all(isinstance(entry, dict) for entry in tables):
            bracket = "[apps.<name>.next]" if kind == "next" else "[[apps.<name>.previous]]"
            self._wrong(kind, f"begins with {bracket}")
            return []
        pairs = []
        for entry in tables:
            place = f"{kind}."
            self._unknown(place, entry, _PAIR_KEYS | ({"until"} if kind == "previous" else set()))
            until = entry.get("until")
            if kind == "previous" and not (isinstance(until, datetime) and until.tzinfo is not None):
                self._wrong(f"{place}until", "needed: a time with its zone, as 2026-11-26T08:00:00Z")
                continue
            pair = self._pair(place, entry)
            if pair is not None:
                at = until.astimezone(UTC) if isinstance(until, datetime) else None
                pairs.append(AppCredentials(pair.token, pair.aes_key, at))
        return pairs

    def _pair(self, place: str, table: Mapping[str, Any]) -> AppCredentials | None:
        token = self._secret(place, table, "token")
        aes_key = self._secret(place, table, "aes_key")
        if token and not TOKEN_RE.fullmatch(token):
            self._wrong(f"{place}token", FORM_OF_TOKENS)
        if aes_key and not _AES_KEY_RE.fullmatch(aes_key):
            self._wrong(
                f"{place}aes_key",
                f"has {len(aes_key)} characters or others than A-Z a-z 0-9; an EncodingAESKey is exactly 43",
            )
        if self._live and {token, aes_key} & set(SAMPLE_CREDENTIALS.values()):
            self._wrong(f"{place}token", "or aes_key is the public sample value of the local stack")
        return AppCredentials(token, aes_key) if token and aes_key else None

    def _secret(self, place: str, table: Mapping[str, Any], key: str, *, needed: bool = True) -> str | None:
        value, file = table.get(key), table.get(f"{key}_file")
        if value is not None and file is not None:
            self._wrong(f"{place}{key}", f"stands twice, as {key} and as {key}_file")
            return None
        if file is not None:
            if not isinstance(file, str) or not file:
                self._wrong(f"{place}{key}_file", "is no text; it names a file")
                return None
            try:
                value = (self._folder / file).read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, ValueError) as error:
                other = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else "no name of a file"
                reason = getattr(error, "strerror", None) or other
                self._wrong(f"{place}{key}_file", f"names a file that cannot be read ({reason})")
                return None
        if value is None or value == "":
            if needed:
                self._wrong(f"{place}{key}", f"not set (or {key}_file)")
            return None
        if not isinstance(value, str):
            self._wrong(f"{place}{key}", "is no text")
            return None
        return value

    def _owners(self, value: Any) -> tuple[str, ...]:
        owners = value if isinstance(value, list) else [] if value is None else [value]
        if not owners:
            self._wrong("owner_keys", 'not set; as ["<Client ID>", "<corpId>"]')
        for owner in owners:
            if not isinstance(owner, str) or not OWNER_RE.fullmatch(owner):
                self._wrong("owner_keys", f"{str(owner)[:80]!r} {OWNER_WORDS}")
        return tuple(str(owner) for owner in owners)

    def _id(self, table: Mapping[str, Any], key: str) -> str | None:
        value = table.get(key)
        if value is None or value == "":
            return None
        if not isinstance(value, str) or not OWNER_RE.fullmatch(value):
            self._wrong(key, "is no id of DingTalk's")
            return None
        return value


def signature(paths: list[Path]) -> tuple[Any, ...]:
    """What changes when any of ``paths`` is written, replaced, made or deleted. Never raises."""
    found: list[Any] = []
    for path in paths:
        try:
            status = path.stat()
            found.append((str(path), status.st_mtime_ns, status.st_size, status.st_ino))
        except (OSError, ValueError):
            found.append((str(path), None))
    return tuple(found)

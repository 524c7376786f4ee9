"""Changing an app's credentials in ``DINGTALK_APPS_FILE``: a few lines, the rest as the operator wrote it.

Text in, text out, and one function that puts it in the file's place. Every change is parsed and compared with
what it should mean before it is given back: a file that is written in a way these edits do not understand is
refused, never spoilt. What a rotation is, and in which order it goes, is
``dingbridge/cli/callback/rotate.py``'s.
"""

import copy
import os
import re
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from dingbridge.errors import BridgeError

Entry = Mapping[str, Any]
"""A pair of credentials as it stands in the file: ``token`` or ``token_file``, ``aes_key`` or its file."""

PAIR: Final = ("token", "token_file", "aes_key", "aes_key_file")
_HEADER_RE = re.compile(r"\s*\[\[?\s*([^\]]+?)\s*\]\]?\s*(#.*)?$")


def entry_of(text: str, name: str) -> Entry:
    """The app's current pair as it stands there."""
    table = tomllib.loads(text)["apps"][name]
    return {key: table[key] for key in PAIR if key in table}


def next_of(text: str, name: str) -> Entry | None:
    """The pair that is to come, if a rotation was begun."""
    found = tomllib.loads(text)["apps"][name].get("next")
    return None if found is None else dict(found)


def previous_of(text: str, name: str) -> list[Entry]:
    """Those that are, or were, still accepted: each with ``until``."""
    return list(tomllib.loads(text)["apps"][name].get("previous", []))


def begun(text: str, name: str, following: Entry, now: datetime) -> str:
    """With ``following`` as the pair to come, and without those whose time has run out at ``now``."""
    kept = [entry for entry in previous_of(text, name) if entry["until"] > now]
    expected = tomllib.loads(text)
    _set(expected["apps"][name], "previous", kept)
    expected["apps"][name]["next"] = dict(following)
    changed = _without(text, name, "previous") + _previous(name, kept)
    return _checked(changed + _table(f"[apps.{name}.next]", following), expected, name)


def finished(text: str, name: str, until: datetime) -> str:
    """With the pair to come as the current one, and the current one accepted until ``until``."""
    following, current = next_of(text, name), entry_of(text, name)
    assert following is not None  # noqa: S101 - a rotation was begun
    until = until.astimezone(UTC).replace(microsecond=0)
    previous = [*previous_of(text, name), {**current, "until": until}]
    expected = tomllib.loads(text)
    table = expected["apps"][name]
    del table["next"]
    for key in current:
        del table[key]
    table |= following
    table["previous"] = previous
    changed = _without(_without(_pair_replaced(text, name, following), name, "next"), name, "previous")
    return _checked(changed + _previous(name, previous), expected, name)


def put_in_place(path: Path, text: str) -> None:
    """Replace the file whole, with its mode and owner, durably: who reads it gets the old one or the new one.

    Raises ``BridgeError`` when it cannot be written; then nothing has changed.
    """
    path = path.resolve()
    temporary = path.with_name(f".{path.name}.new")
    try:
        status = path.stat()
        temporary.unlink(missing_ok=True)
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, text.encode())
            if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(handle, status.st_uid, status.st_gid)
            os.fchmod(handle, status.st_mode & 0o777)
            os.fsync(handle)
        finally:
            os.close(handle)
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise BridgeError(
            f"{path} cannot be replaced ({error.strerror or type(error).__name__}); whoever rotates must be "
            "able to write the file and its folder"
        ) from None


def _set(table: dict[str, Any], key: str, value: list[Entry]) -> None:
    if value:
        table[key] = copy.deepcopy(value)
    else:
        table.pop(key, None)


def _checked(text: str, expected: dict[str, Any], name: str) -> str:
    try:
        as_read = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        as_read = {}
    if as_read != expected:
        raise BridgeError(
            f"the apps file cannot be changed safely: write [apps.{name}] as a table with a line for each "
            "setting, as in the guide; nothing was changed"
        )
    return text


def _is(line: str, *names: str) -> bool:
    """Whether a line begins the table of one of ``names``."""
    found = _HEADER_RE.match(line)
    return found is not None and found[1].replace(" ", "").replace('"', "") in names


def _pair_replaced(text: str, name: str, entry: Entry) -> str:
    """The lines of the current pair give way to ``entry``'s, at the head of the app's table."""
    lines, inside = [], False
    for line in text.splitlines(keepends=True):
        if _HEADER_RE.match(line):
            inside = _is(line, f"apps.{name}")
            lines.append(line if line.endswith("\n") else line + "\n")
            if inside:
                lines += _lines(entry)
        elif not (inside and re.match(rf"\s*({'|'.join(PAIR)})\s*=", line)):
            lines.append(line)
    return "".join(lines)


def _without(text: str, name: str, kind: str) -> str:
    """Without the tables ``[apps.<name>.<kind>]``, each up to the next header."""
    lines, inside = [], False
    for line in text.splitlines(keepends=True):
        if _HEADER_RE.match(line):
            inside = _is(line, f"apps.{name}.{kind}")
        if not inside:
            lines.append(line)
    return "".join(lines).rstrip("\n") + "\n"


def _previous(name: str, entries: list[Entry]) -> str:
    return "".join(_table(f"[[apps.{name}.previous]]", entry) for entry in entries)


def _table(header: str, entry: Entry) -> str:
    return f"\n{header}\n" + "".join(_lines(entry))


def _lines(entry: Entry) -> list[str]:
    # what stands in a pair is printable ASCII, checked when the file was read, and paths
    return [f"{key} = {_value(value)}\n" for key, value in entry.items()]


def _value(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'

"""Changing an app's credentials in ``DINGTALK_APPS_FILE``: its tables, the rest as the operator wrote it.

Text in, text out, and one function that puts it in the file's place. What a rotation is, and in which order
it goes, is ``dingbridge/cli/callback/rotate.py``'s.
"""

import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import tomlkit
from tomlkit.items import Table

from dingbridge.errors import BridgeError
from dingbridge.files import replace_file

Entry = Mapping[str, Any]
"""A pair of credentials as it is in the file: ``token`` or ``token_file``, ``aes_key`` or its file."""

PAIR: Final = ("token", "token_file", "aes_key", "aes_key_file")
_UNUSUAL: Final = (
    "the apps file cannot be changed safely: write the app as a table [apps.<name>] with a line for each "
    "setting, as in the guide; nothing was changed"
)


def entry_of(text: str, name: str) -> Entry:
    """The app's current pair as it stands there."""
    return {key: value for key, value in _app(text, name).items() if key in PAIR}


def next_of(text: str, name: str) -> Entry | None:
    """The pair that is to come, if a rotation was begun."""
    found: Entry | None = _app(text, name).get("next")
    return found


def previous_of(text: str, name: str) -> list[Entry]:
    """Those that are, or were, still accepted: each with ``until``."""
    return list(_app(text, name).get("previous", []))


def begun(text: str, name: str, following: Entry, now: datetime) -> str:
    """With ``following`` as the pair to come, and without those whose time has run out at ``now``."""
    kept = [entry for entry in previous_of(text, name) if entry["until"] > now]
    document = tomlkit.parse(text)
    app = _table(document, name)
    _set_previous(app, kept)
    app.pop("next", None)
    app.append("next", _new_table(following))
    return _dumped(document)


def finished(text: str, name: str, until: datetime) -> str:
    """With the pair to come as the current one, and the current one accepted until ``until``."""
    following, current = next_of(text, name), entry_of(text, name)
    assert following is not None  # noqa: S101 - a rotation was begun
    until = until.astimezone(UTC).replace(microsecond=0)
    document = tomlkit.parse(text)
    app = _table(document, name)
    del app["next"]
    for key in current:
        if key in following:
            app[key] = following[key]
        else:
            del app[key]
    _set_previous(app, [*previous_of(text, name), {**current, "until": until}])
    return _dumped(document)


def put_in_place(path: Path, text: str) -> None:
    """Replace the file. Raises ``BridgeError`` when it cannot be written; then nothing has changed."""
    try:
        replace_file(path, text.encode())
    except OSError as error:
        raise BridgeError(
            f"{path} cannot be replaced ({error.strerror or type(error).__name__}); its user must be "
            "able to write the file and its folder"
        ) from None


def _app(text: str, name: str) -> dict[str, Any]:
    app: dict[str, Any] = tomlkit.parse(text).unwrap()["apps"][name]
    return app


def _table(document: tomlkit.TOMLDocument, name: str) -> Table:
    """The app's table, to be changed. Raises ``BridgeError`` for one that is written inline."""
    app = document["apps"][name]
    if not isinstance(app, Table):
        raise BridgeError(_UNUSUAL)
    return app


def _dumped(document: tomlkit.TOMLDocument) -> str:
    """Its text. Raises ``BridgeError`` if that does not say what the document does: tomlkit keeps the
    operator's layout, and an unusual one must not cost a credential."""
    text = tomlkit.dumps(document)
    try:
        as_meant = tomllib.loads(text) == document.unwrap()
    except tomllib.TOMLDecodeError:
        as_meant = False
    if not as_meant:
        raise BridgeError(_UNUSUAL)
    return text


def _set_previous(app: Table, entries: list[Entry]) -> None:
    app.pop("previous", None)
    if entries:
        tables = tomlkit.aot()
        for entry in entries:
            tables.append(_new_table(entry))
        app.append("previous", tables)


def _new_table(entry: Entry) -> Table:
    table = tomlkit.table()
    for key, value in entry.items():
        table.add(key, value)
    table.add(tomlkit.nl())
    return table

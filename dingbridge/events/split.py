"""One callback, one record for each thing that it names.

Responsible for: finding what a normalised payload is about and cutting its list of users,
departments or attendance items so that each part is about one; an attendance item that names
several users is cut, too. Not responsible for ids or envelopes.

The parts together hold everything: fields other than the list stand in each part, equal entries stay
together in one part, and entries that name nothing (null, an object without an id) form a last part
that is about nothing in particular.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from dingbridge.events.catalogue import Subject
from dingbridge.events.facts import item_corp, item_identity
from dingbridge.events.strict_json import dumps

MAX_FAN_OUT_BYTES = 64 * 1024 * 1024
"""What the records of one callback may weigh together. Ten thousand users are a few MB; a long list
beside a long text, copied for each entry, would be terabytes."""

_ENVELOPE_BYTES = 1024  # what each record weighs besides its data, generously


class TooManyEntities(Exception):
    """The records of this callback together would be larger than ``MAX_FAN_OUT_BYTES``."""


class Part(NamedTuple):
    """One record's share. ``suffix`` is what its id needs beyond the callback's own (the subject, or
    an item's own key; None where the type has no list), ``corp_id`` is the company: its items'
    own where they name one, else the callback's."""

    data: dict[str, Any]
    subject: str | None
    suffix: str | None
    corp_id: str | None


def split(data: dict[str, Any], subject: Subject | None, corp_id: str | None, size: int) -> list[Part]:
    """Cut normalised ``data`` by its type's subject rule. ``corp_id`` is the company of entries that
    name none, ``size`` the callback's size in bytes.

    Never returns an empty list. Raises ``TooManyEntities``.
    """
    if subject is None:
        return [Part(data, None, None, corp_id)]
    usual = data.get(subject.fields[0])  # a text, or a list of one text
    if not subject.is_list:
        text = usual if type(usual) is str and usual else _subject(data, subject.fields)
        return [Part(data, text, None, corp_id)]
    if subject.items is None and type(usual) is list and len(usual) == 1:
        (only,) = usual
        if type(only) is str and only:
            return [Part(data, only, only, corp_id)]
    name = next(_names(data, subject.fields if subject.items is None else (subject.items,)), None)
    value = data[name] if name is not None else None
    groups: dict[tuple[str | None, str | None], list[Any]] = {}  # by company and suffix
    about: dict[tuple[str | None, str | None], set[str | None]] = {}
    entries, copied = value if isinstance(value, list) else [value], 0
    if subject.item_list:
        entries, copied = _cut_items(entries, subject.fields)
    for entry in entries:
        corp, suffix, text = _describe(entry, subject)
        group = (corp or corp_id, suffix)
        groups.setdefault(group, []).append(entry)
        about.setdefault(group, set()).add(text)
    if name is None or not groups:
        return [Part(data, None, None, corp_id)]
    if len(groups) > 1:
        _check_size(data, name, len(groups), size, copied)
    return [
        Part(
            data if len(groups) == 1 else {**data, name: entries},
            # Two items of one identity but different users are about neither.
            next(iter(about[group])) if len(about[group]) == 1 else None,
            group[1],
            group[0],
        )
        for group, entries in groups.items()
    ]


def _cut_items(items: list[Any], fields: tuple[str, ...]) -> tuple[list[Any], int]:
    """The items, each that names several users as one for each user; and the bytes that stand in more than
    one of them. Raises ``TooManyEntities``."""
    cut: list[Any] = []
    copied = 0
    for item in items:
        name = _list_in(item, fields)
        same: dict[str | None, list[Any]] = {}
        for user in item[name] if name is not None else ():
            same.setdefault(_text(user), []).append(user)
        if name is None or len(same) < 2:
            cut.append(item)
            continue
        copied += (len(same) - 1) * len(dumps({key: value for key, value in item.items() if key != name}))
        if copied > MAX_FAN_OUT_BYTES:  # before as much is made
            raise TooManyEntities
        cut += [{**item, name: users} for users in same.values()]
    return cut, copied


def _list_in(item: Any, fields: tuple[str, ...]) -> str | None:
    """The name under which an item names its users, if that is a list."""
    name = next(_names(item, fields), None) if isinstance(item, dict) else None
    return name if name is not None and isinstance(item[name], list) else None


def _describe(entry: Any, subject: Subject) -> tuple[str | None, str | None, str | None]:
    """The company, suffix and subject of one entry of a list."""
    if subject.items is None:
        text = _text(entry)
        return None, text, text
    if not isinstance(entry, dict):
        return None, None, None
    if subject.item_list and (name := _list_in(entry, subject.fields)) is not None:
        text = _text(entry[name][0]) if entry[name] else None  # all name the same
    else:
        text = _subject(entry, subject.fields)
    return item_corp(entry), item_identity(entry, subject.item_key) or text, text


def _subject(data: dict[str, Any], fields: tuple[str, ...]) -> str | None:
    """What the first usable one of these fields names."""
    texts = (_text(data[name]) for name in _names(data, fields))
    return next((text for text in texts if text is not None), None)


def _check_size(data: dict[str, Any], name: str, parts: int, size: int, in_items: int) -> None:
    if parts * (size + _ENVELOPE_BYTES) <= MAX_FAN_OUT_BYTES:
        return  # an upper bound that costs nothing and holds for nearly all
    copied = len(dumps({key: value for key, value in data.items() if key != name}))
    if parts * (copied + _ENVELOPE_BYTES) + in_items > MAX_FAN_OUT_BYTES:
        raise TooManyEntities


def _names(data: dict[str, Any], names: tuple[str, ...]) -> Iterator[str]:
    """The names under which a field may stand: as the catalogue has it, then in any other case."""
    for name in names:
        if name in data:
            yield name
    folded = {name.lower() for name in names}
    yield from sorted(name for name in data if name.lower() in folded and name not in names)


def _text(value: Any) -> str | None:
    """A subject as text: a non-empty string or an integer, else nothing."""
    if isinstance(value, str):
        return value or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None

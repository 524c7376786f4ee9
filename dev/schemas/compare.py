"""What has changed between two states of the contract, and which changes break whom.

Responsible for the judgement, from two AsyncAPI documents of ours (``asyncapi``) and the subjects of the
catalogue, of which keys are made. Not responsible for where they come from (``check``).

Forward semantics: whoever was built against the old contract meets the records of the new one. So of what we
send, every new record must be one that the old schema describes: a new optional field, or a new topic, breaks
nobody. Of what we receive it is the other way round: every old message must still be taken.

A break is *announced* where ``dataschema`` names a higher version (of ``data``), or the contract has a new
first number (of everything). The rules, in words: ``docs/reference/contract.md``.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from dev.schemas.subset import Difference, Kind, Schema, branches, differences, joined

Json = Mapping[str, Any]
Action = Literal["send", "receive"]

_SENT: Final[Mapping[Kind, str]] = {
    "type": "a reader that was generated for the former type cannot decode it",
    "values": "a reader that knows a closed list of values meets one that is not in it",
    "limits": "a reader that made room for the former limit cannot hold it",
    "form": "a reader that takes it apart by its form fails",
    "gone": "a reader that uses it finds nothing there",
    "may be missing": "a reader that relies on it fails where it is absent",
    "not taken": "a reader that refuses what it does not know refuses the record",
    "not judged": "nobody can say whether the former readers understand it",
}
_RECEIVED: Final[Mapping[Kind, str]] = {
    "type": "a message of the former type is refused",
    "values": "a message with one of the former values is refused",
    "limits": "a message within the former limits is refused",
    "form": "a message of the former form may be refused",
    "may be missing": "a message without it was taken and is refused",
    "not taken": "a message that holds it was taken and is refused",
    "not judged": "nobody can say whether former messages are still taken",
}
_KEY: Final = "the order of events is kept by key: readers that sort or compact by it go wrong"
_ADDRESS: Final = "whoever reads or writes the former topic gets nothing, and no error"
_CONTENT: Final = "a reader that chooses its parser by it cannot read the record"

_CODE = re.compile(r"`[^`]*`")
_URN = re.compile(r"urn:dingbridge:.*:([0-9]+)")


@dataclass(frozen=True, slots=True)
class Contract:
    """One state: the document, and by EventType what it is about (as the catalogue has it), where known."""

    document: Json
    subjects: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """``topic`` is the EventType, or the control topic's name; ``path`` the place in the record, or else
    ``topic``, ``key``, ``header …``. ``why`` is empty for what breaks nobody; ``announced`` breaks are under
    a new version."""

    topic: str
    path: str
    words: str
    why: str = ""
    announced: bool = False

    @property
    def breaks(self) -> bool:
        return self.why != ""


def compare(old: Contract, new: Contract) -> list[Change]:
    """All changes, in the order of the topics' names. Raises ``KeyError`` for a document that is not ours."""
    before, now = old.document["channels"], new.document["channels"]
    changes: list[Change] = []
    for name in sorted(before.keys() | now.keys()):
        if name not in now:
            changes.append(Change(name, "topic", "removed", _ADDRESS))
        elif name not in before:
            changes.append(Change(name, "topic", "added"))
        else:
            action = _action(new.document, name)
            changes += _channel(name, before[name], now[name], action)
            changes += _subject(name, old.subjects, new.subjects)
    if _first(new.document) > _first(old.document):
        return [replace(change, announced=change.breaks) for change in changes]
    return changes


def _channel(name: str, old: Json, new: Json, action: Action) -> Iterator[Change]:
    if old["address"] != new["address"]:
        yield Change(name, "topic", f"{old['address']} became {new['address']}", _ADDRESS)
    before, now = old["messages"], new["messages"]
    for message in sorted(before.keys() - now.keys()):
        why = "a reader that waits for it waits in vain" if action == "send" else "it is refused"
        yield Change(name, f"message {message}", "removed", why)
    for message in sorted(now.keys() - before.keys()):
        yield Change(name, f"message {message}", "added")
    for message in sorted(before.keys() & now.keys()):
        yield from _message(name, before[message], now[message], action)


def _message(name: str, old: Json, new: Json, action: Action) -> Iterator[Change]:
    if old.get("contentType") != new.get("contentType"):
        yield Change(
            name, "content type", f"{old.get('contentType')} became {new.get('contentType')}", _CONTENT
        )
    was, is_now = _key(old), _key(new)
    if was != is_now:
        yield Change(name, "key", f"{was} became {is_now}", _KEY)
    for change in _schemas(name, old.get("headers", True), new.get("headers", True), action):
        yield replace(change, path=f"header {change.path}".rstrip())
    raised = _version(new["payload"]) > _version(old["payload"])
    for change in _schemas(name, old["payload"], new["payload"], action):
        of_data = change.path == "data" or change.path.startswith("data.")
        yield replace(change, announced=change.breaks and raised and of_data)


def _schemas(name: str, old: Schema, new: Schema, action: Action) -> Iterator[Change]:
    for path in _new_names(old, new):
        yield Change(name, path, "added")
    if action == "send":
        for found in differences(new, old):
            yield _change(name, found, _SENT)
        return
    for found in differences(old, new):
        if found.kind != "gone":  # a new name, which former messages do not hold
            yield _change(name, _turned(found), _RECEIVED)


def _change(name: str, found: Difference, why: Mapping[Kind, str]) -> Change:
    return Change(name, found.path, found.words, why[found.kind])


def _turned(found: Difference) -> Difference:
    """In words of who writes the message."""
    words = {
        "may be missing": "is required now",
        "not taken": "is not taken any more",
        "type": "other types are taken now",
        "values": "fewer values are taken now",
        "limits": "the limits are narrower",
        "form": "the form is another",
    }
    return replace(found, words=words.get(found.kind, found.words))


def _new_names(old: Schema, new: Schema, path: str = "") -> Iterator[str]:
    """Paths of names that the new schema describes and the old one does not."""
    if isinstance(old, bool) or isinstance(new, bool):
        return
    for branch in branches(new):
        former = next((one for one in branches(old) if one.get("type") == branch.get("type")), None)
        if former is None:
            continue
        before = former.get("properties", {})
        for name, schema in branch.get("properties", {}).items():
            if name in before:
                yield from _new_names(before[name], schema, joined(path, name))
            else:
                yield joined(path, name)
        if "items" in former and "items" in branch:
            yield from _new_names(former["items"], branch["items"], f"{path}[]")


def _subject(name: str, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> Iterator[Change]:
    """Which fields the key is made of, and how a callback is split, if the keys' words do not show it."""
    if old is None or new is None or name not in old or name not in new:
        return
    was, is_now = old[name] or {}, new[name] or {}
    if was != is_now and was.get("kind") == is_now.get("kind"):
        parts = sorted(part for part in was.keys() | is_now.keys() if was.get(part) != is_now.get(part))
        words = "; ".join(f"{part}: {was.get(part)} became {is_now.get(part)}" for part in parts)
        yield Change(name, "key", words, _KEY)


def _key(message: Json) -> str:
    """What the key is, without the words around it."""
    key = message.get("bindings", {}).get("kafka", {}).get("key", {})
    description = key.get("description", "")
    return " ".join(_CODE.findall(description)) or description or "none"


def _version(payload: Any) -> int:
    """The version that a record of this schema names in ``dataschema``; 0 for one that names none."""
    examples = payload.get("properties", {}).get("dataschema", {}).get("examples", ())
    found = next((match for text in examples if (match := _URN.fullmatch(text))), None)
    return int(found[1]) if found else 0


def _first(document: Json) -> int:
    """The first number of the contract's own version."""
    return int(document["info"]["version"].partition(".")[0])


def _action(document: Json, channel: str) -> Action:
    """What we do in this channel."""
    for operation in document["operations"].values():
        if operation["channel"]["$ref"] == f"#/channels/{channel}":
            return "receive" if operation["action"] == "receive" else "send"
    return "send"

"""What must be known of a callback before it is kept: its type, company, id, time and identity.

Responsible for: reading those few facts from a plaintext, what identifies an event, and the key by which a
re-push is recognised. Every function here is total: whatever DingTalk signed, none of them raises. Not
responsible for what the callback means (``envelope``).
"""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from dingbridge.events.catalogue import EventSpec, catalogue, legal
from dingbridge.events.strict_json import loads_and_plain

Names = tuple[str, ...]
"""The names in a payload, in their order: payloads of one type mostly hold the same ones."""

MAX_TIME_MS = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp()) * 1000
"""Later times are no times: RFC 3339 has four digits for the year."""


class CallbackFacts(NamedTuple):
    """What must be known of a callback before it is kept.

    ``event_type`` is as it came and may be illegal or unknown. ``event_id`` is a non-empty string or a
    non-zero integer. ``time_ms`` is the best time in it, in epoch milliseconds; ``happened_ms`` is the
    event's own: the same, except for approvals that name only when they were begun. ``has_identity`` is false
    if a re-push cannot be distinguished from a second event with the same content: no id, no time, and no
    list item with an id of its own.
    """

    event_type: str | None
    corp_id: str | None
    event_id: str | int | None
    time_ms: int | None
    has_identity: bool
    happened_ms: int | None
    plain: bool = False
    """Whether ``orjson.loads`` alone reads the plaintext as ``strict_json`` does."""


NO_FACTS = CallbackFacts(None, None, None, None, False, None)


class StoredFacts(NamedTuple):
    """The facts that the journal keeps beside a callback, so that the relay need not find them again. ``id``
    is the callback's id, to which types that name several entities add a suffix. ``plain`` is 0 or 1."""

    event_type: str | None
    corp_id: str | None
    happened_ms: int | None
    id: str
    plain: int


NOTHING_STORED = StoredFacts(None, None, None, "", 0)


def stored_facts(facts: CallbackFacts, plaintext: bytes, received_ms: int) -> StoredFacts:
    """The facts to keep of a callback that was received at ``received_ms`` (epoch ms)."""
    id_ = callback_id(facts, plaintext, received_ms)
    return StoredFacts(facts.event_type, facts.corp_id, facts.happened_ms, id_, int(facts.plain))


def callback_id(facts: CallbackFacts, plaintext: bytes, received_ms: int) -> str:
    """``<EventType>:<eventId>``, else the content's hash, with the time of receipt behind it for a callback
    that may truly recur with the same content."""
    if (identity := named_identity(facts)) is not None:
        return identity
    digest = content_hash(plaintext).hex()
    return digest if facts.has_identity else f"{digest}-{received_ms}"


def extract_facts(plaintext: bytes) -> CallbackFacts:
    """The facts of a callback's plaintext; ``NO_FACTS`` where it is no JSON object that all readers
    would read alike (see ``strict_json``)."""
    try:
        payload, plain = loads_and_plain(plaintext)
        return facts_of(payload, plain) if isinstance(payload, dict) else NO_FACTS
    except Exception:  # total by contract: what fails here is kept, and named by ``envelope``
        return NO_FACTS


def facts_of(payload: dict[str, Any], plain: bool = False) -> CallbackFacts:
    """The same of a payload that is already read, from bytes that are ``plain`` or not.
    Names are matched whatever their case (DingTalk writes ``CorpId``, ``corpId`` and ``corpid``); of several
    that match, the first usable one in code point order counts, so the order of the payload's names changes
    nothing."""
    shape = _shape(tuple(payload))
    event_type = _first(payload, shape.event_type, _string)
    event_id = _first(payload, shape.event_id, _id)
    corp_id = _first(payload, shape.corp_id, _text)
    spec = catalogue.spec(event_type) if event_type is not None else None
    time_ms = happened_ms = _first(payload, shape.times, epoch_ms)
    if time_ms is None and shape.created:
        time_ms = _first(payload, shape.created, epoch_ms)
        happened_ms = None if _is_an_end(payload, spec) else time_ms
    has_identity = event_id is not None or time_ms is not None
    if spec is not None and spec.subject is not None and spec.subject.items is not None:
        items = items_of(payload, spec.subject.items)
        corp_id = corp_id or next((c for c in map(item_corp, items) if c is not None), None)
        key = spec.subject.item_key
        has_identity = has_identity or any(item_identity(item, key) is not None for item in items)
    return CallbackFacts(event_type, corp_id, event_id, time_ms, has_identity, happened_ms, plain)


def _is_an_end(payload: dict[str, Any], spec: EventSpec | None) -> bool:
    """Is it of an approval or its task, whose ``createTime`` it has, and not of their beginning? Comments are
    events of their own, and have their own."""
    subject = None if spec is None else spec.subject
    is_approval = subject is not None and subject.kind == "process-instance"
    return is_approval and payload.get("type") not in (None, "start", "comment")


def event_type_name(payload: dict[str, Any], event_type: str) -> str:
    """The name under which ``facts_of`` found this EventType in the payload."""
    if payload.get("EventType") == event_type:
        return "EventType"
    names = sorted(n for n in payload if n.lower() == "eventtype" and isinstance(payload[n], str))
    return names[0]


def items_of(payload: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The objects of the list that holds one event each (attendance), whatever the name's case."""
    folded = name.lower()
    names = sorted(n for n in payload if n.lower() == folded)
    value = payload[names[0]] if names else None
    return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, dict)]


def item_corp(item: dict[str, Any]) -> str | None:
    """The company of one list item, for bodies that name it nowhere else."""
    names = sorted(n for n in item if n.lower() == "corpid")
    return next((text for name in names if (text := _text(item[name])) is not None), None)


def item_identity(item: dict[str, Any], key: str | None) -> str | None:
    """A list item's own id as text, where its type has one and it is there."""
    value = _id(item.get(key)) if key is not None else None
    return None if value is None else str(value)


def epoch_ms(value: Any) -> int | None:
    """Epoch milliseconds, from an integer or its digits; None for anything else, such as a date."""
    if type(value) is str and value.isascii() and value.isdigit() and len(value) < 16:
        value = int(value)
    return value if type(value) is int and 0 < value <= MAX_TIME_MS else None


def content_hash(plaintext: bytes) -> bytes:
    """SHA-256 of the bytes as they came: parsing first would make callbacks equal that differ."""
    return hashlib.sha256(plaintext).digest()


def named_identity(facts: CallbackFacts) -> str | None:
    """``<EventType>:<eventId>`` where the callback names itself, else None: then its bytes identify it.

    DingTalk asks for idempotence by ``eventId`` (slug
    ``appendix-b-proposals-for-rational-use-of-resources``), but does not say that two types never share
    one. A legal type holds no colon, so the two parts cannot run into each other.
    """
    if facts.event_id is None or facts.event_type is None or not legal(facts.event_type):
        return None
    return f"{facts.event_type}:{facts.event_id}"


def dedupe_key(facts: CallbackFacts, app: str, plaintext: bytes) -> bytes:
    """24 bytes that are equal for a callback and its re-push.

    8 bytes are the event's own time in milliseconds (big-endian, 0 where there is none), so that an index
    of such keys grows at its end. 16 are of a digest over app, company, EventType and event id, or over app
    and content where the callback does not name itself.

    A repeat that escapes is harmless, a false repeat would be a loss: hence every part counts.
    """
    identity = named_identity(facts)
    if identity is None:
        named, content = f"content\0{app}\0", content_hash(plaintext)
    else:
        corp = "-" if facts.corp_id is None else f"{len(facts.corp_id)}:{facts.corp_id}"
        named, content = f"id\0{app}\0{corp}\0{identity}", b""
    digest = hashlib.sha256(named.encode(errors="surrogatepass") + content).digest()
    return (facts.time_ms or 0).to_bytes(8, "big") + digest[:16]


def _text(value: Any) -> str | None:
    return value if type(value) is str and value else None


def _id(value: Any) -> str | int | None:
    return (value or None) if type(value) is str or type(value) is int else None


def _string(value: Any) -> str | None:
    return value if type(value) is str else None


def _first(payload: dict[str, Any], names: Names, usable: Callable[[Any], Any]) -> Any:
    for name in names:
        if (fact := usable(payload[name])) is not None:
            return fact
    return None


class _Shape(NamedTuple):
    """Under which of a payload's names each fact may stand, the preferred one first."""

    event_type: Names
    event_id: Names
    corp_id: Names
    times: Names
    created: Names


@lru_cache(maxsize=1_000)
def _shape(names: Names) -> _Shape:
    ordered = sorted(names)
    return _Shape(
        *(tuple(name for wanted in fact for name in ordered if name.lower() == wanted) for fact in _FACTS)
    )


_FACTS = (
    ("eventtype",),
    ("eventid",),
    ("corpid", "authcorpid"),
    ("eventtime", "timestamp", "finishtime", "finshtime"),  # as the pages of workflow_* print finishTime
    ("createtime",),
)

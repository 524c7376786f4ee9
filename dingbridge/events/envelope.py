"""From a journal row to the records that Kafka gets.

Responsible for: the envelope (CloudEvents 1.0 in structured mode), its ids, keys and headers. A callback
that cannot be normalised is *unclassified*: it too becomes a record, with its bytes and the reason.
Not responsible for sending, topics' prefixes, or anything that may block or fail.

``to_records`` is total: it never raises. A fault of ours ends in an unclassified record whose
``fault`` names the exception's type, and in a log line that says where.
"""

from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import PurePath
from typing import Any, Literal, NamedTuple
from urllib.parse import quote

import orjson
import structlog

from dingbridge.events.catalogue import UNCLASSIFIED, EventSpec, Form, catalogue, legal, part_of
from dingbridge.events.catalogue import Part as ResyncPart
from dingbridge.events.facts import (
    MAX_TIME_MS,
    NO_FACTS,
    CallbackFacts,
    StoredFacts,
    extract_facts,
    facts_of,
    stored_facts,
)
from dingbridge.events.normalise import Layout, Normalised, normalise
from dingbridge.events.split import Part, TooManyEntities, split
from dingbridge.events.strict_json import Unreadable, dumps, loads

SCHEMA_VERSION = 1
"""The version in the ``dataschema`` of types that the catalogue does not have; it has one for each other."""

CONTENT_TYPE = b"application/cloudevents+json"
TYPE_PREFIX = "com.dingtalk."
FAILED_LIST = "failed-list"
"""``via`` of a callback that we rebuilt from an item of ``get_call_back_failed_result``. Such an item holds
less than the push, so the event's id may differ from that of the push: its record has ``rebuilt``."""
PUSHED = frozenset(("http", "stream"))
"""``via`` of a callback that DingTalk pushed to us."""

NO_CORP_ID = "-"
"""Stands in source, key and header in place of the corpId of a callback that names none, if its app's company
is not known either."""
OTHER_COMPANY = "other-company"
"""``fault`` of a callback that names another company than the one its app belongs to."""

_EPOCH = datetime(1970, 1, 1)  # without a zone: only ever printed, with the Z of UTC
_MILLISECONDS = tuple(f".{ms:03}Z".encode() for ms in range(1000))
_quoted = orjson.dumps
_log = structlog.get_logger(__name__)


class Received(NamedTuple):
    """One journal row: a callback as it came. ``journal`` is the journal's id and ``seq`` the row's
    place in it, ``received_ms`` epoch milliseconds, ``via`` one of ``http``, ``failed-list``,
    ``stream``; ``body`` is the decrypted plaintext. ``corp_id``: the company that the app belongs to; None
    for a suite, of whose pushes each names its company. ``facts``: those of ``body``, where they are known
    already."""

    seq: int
    journal: str
    received_ms: int
    app: str
    via: str
    body: bytes
    corp_id: str | None = None
    facts: StoredFacts | None = None


class Drift(NamedTuple):
    """One difference between a callback's data and the catalogue: ``kind`` is ``missing``, ``type`` or
    ``unknown_field``; ``field`` the place in ``data``, such as ``dataList[].userId``."""

    kind: Literal["missing", "type", "unknown_field"]
    field: str


DriftCheck = Callable[[Layout, Mapping[str, Any]], tuple[Drift, ...]]
"""Finds the drift in normalised data of a known type: ``dingbridge.schema.drift.drift_in``."""


class OtherCompany(NamedTuple):
    """A callback of ``app`` names the company ``named``, and the app belongs to ``own``."""

    app: str
    named: str
    own: str


class Record(NamedTuple):
    """One Kafka record.

    ``event_type`` is None for what belongs in the unclassified topic, else a legal EventType, ``known``
    if the catalogue has it. ``id`` is the event's CloudEvents id. ``fault`` says why a record is
    unclassified: ``not-json``, ``not-an-object``, ``no-event-type``, ``illegal-event-type``,
    ``duplicate-keys``, ``nan``, ``surrogates``, ``too-deep``, ``too-many-entities``, ``other-company`` (then
    ``other_company`` says which) or ``fault:<ExceptionType>`` for a fault of ours. Only the first record of a
    callback has ``drift``, if it was checked, and ``delay_s``: how long (s) after the event DingTalk pushed
    it, where both times are known. ``resync``: the type is about somebody or something, but this event does
    not say whom: consumers must compare this part of what they keep with DingTalk.
    """

    event_type: str | None
    known: bool
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    id: str
    fault: str | None = None
    drift: tuple[Drift, ...] = ()
    delay_s: float | None = None
    resync: ResyncPart | None = None
    other_company: OtherCompany | None = None


def to_records(received: Received, check: DriftCheck | None = None) -> list[Record]:
    """Normalise one callback. Never raises and never returns an empty list.

    The records of one callback hold, together, all of its content; they are in the order of its list.
    ``check`` finds their drift; if it raises, there is none. Callbacks that we rebuilt from the failed list
    are not checked.
    """
    try:
        return _classified(received, check)
    except Unreadable as error:
        return [_unclassified(received, _facts(received, NO_FACTS), error.fault)]
    except _Unclassifiable as error:
        return [_unclassified(received, error.facts, error.fault, error.other_company)]
    except Exception as error:
        _report(error, received)
        facts = _facts(received, extract_facts(received.body))
        return [_unclassified(received, facts, f"fault:{type(error).__name__}")]


def rfc3339(epoch_ms: int) -> str:
    """UTC with milliseconds: ``2024-11-07T17:20:00.123Z``."""
    return _rfc3339(epoch_ms).decode()


def _rfc3339(epoch_ms: int) -> bytes:
    if not 0 <= epoch_ms <= MAX_TIME_MS:
        epoch_ms = min(max(epoch_ms, 0), MAX_TIME_MS)
    second, ms = divmod(epoch_ms, 1000)
    return _to_the_second(second) + _MILLISECONDS[ms]


@lru_cache(maxsize=1024)  # what is published at one time happened within a few seconds
def _to_the_second(epoch_s: int) -> bytes:
    return (_EPOCH + timedelta(seconds=epoch_s)).isoformat(timespec="seconds").encode()


class _Unclassifiable(Exception):
    def __init__(self, fault: str, facts: StoredFacts, other_company: OtherCompany | None = None) -> None:
        super().__init__(fault)
        self.fault = fault
        self.facts = facts
        self.other_company = other_company


def _facts(received: Received, found: CallbackFacts) -> StoredFacts:
    return received.facts or stored_facts(found, received.body, received.received_ms)


def _classified(received: Received, check: DriftCheck | None) -> list[Record]:
    facts = received.facts
    # Plain bytes were read by `strict_json` as the callback came: orjson alone reads them the same.
    payload = orjson.loads(received.body) if facts is not None and facts.plain else loads(received.body)
    if not isinstance(payload, dict):
        raise _Unclassifiable("not-an-object", _facts(received, NO_FACTS))
    if facts is None:
        facts = _facts(received, facts_of(payload))
    event_type = facts.event_type
    if event_type is None:
        raise _Unclassifiable("no-event-type", facts)
    spec = catalogue.spec(event_type)
    if spec is None and not legal(event_type):
        raise _Unclassifiable("illegal-event-type", facts)
    normalised = normalise(payload, event_type, spec)
    subject = None if spec is None else spec.subject
    own, named = received.corp_id, facts.corp_id
    try:
        parts = split(normalised.data, subject, named or own, len(received.body))
    except TooManyEntities:
        raise _Unclassifiable("too-many-entities", facts) from None
    if own is not None and named is not None and named != own:
        raise _other_company(received, facts, named)
    drift: tuple[Drift, ...] = ()
    if check is not None and spec is not None and received.via != FAILED_LIST:
        drift = _drift(received, normalised, check)
    return _records(received, facts, event_type, spec, normalised, parts, drift)


def _other_company(received: Received, facts: StoredFacts, named: str) -> _Unclassifiable:
    other = OtherCompany(received.app, named, received.corp_id or NO_CORP_ID)
    return _Unclassifiable(OTHER_COMPANY, facts, other)


def _drift(received: Received, normalised: Normalised, check: DriftCheck) -> tuple[Drift, ...]:
    try:
        return check(normalised.layout, normalised.data)
    except Exception as error:  # a fault of ours must not make the callback unclassified
        _report(error, received)
        return ()


def _records(
    received: Received,
    facts: StoredFacts,
    event_type: str,
    spec: EventSpec | None,
    normalised: Normalised,
    parts: list[Part],
    drift: tuple[Drift, ...],
) -> list[Record]:
    version = SCHEMA_VERSION if spec is None else spec.version
    extra = (("verbatim", ",".join(normalised.verbatim)),) if normalised.verbatim else ()
    has_subject = spec is not None and spec.subject is not None
    seq, journal, received_ms, app, via, _, own, _ = received
    received_at, happened_ms, id_base = _rfc3339(received_ms), facts.happened_ms, facts.id
    time, delay_s = received_at, None
    if happened_ms is not None:
        time = _rfc3339(happened_ms)
        delay_s = max(0, received_ms - happened_ms) / 1000 if via in PUSHED else None
    records = []
    for data, subject, suffix, corp_id in parts:
        if own is not None and corp_id is not None and corp_id != own:  # an item of a list names it
            raise _other_company(received, facts, corp_id)
        common = _common(
            event_type, version, corp_id or NO_CORP_ID, app, journal, via, normalised.form, extra
        )
        id_ = id_base if suffix is None else f"{id_base}/{suffix}"
        key, about = common.corp, b""
        if subject is not None:
            key, about = f"{key}:{subject}", b',"subject":' + _quoted(subject)
        value = common.value % (_quoted(id_), about, time, _quoted(key), seq, received_at, dumps(data))
        headers = (*common.headers, ("dingbridge-id", id_.encode()))
        resync = part_of(event_type) if has_subject and subject is None else None
        records.append(
            Record(
                event_type, spec is not None, key.encode(), value, headers, id_, None, drift, delay_s, resync
            )
        )
        drift, delay_s = (), None  # the first record of a callback has them
    return records


def _unclassified(
    received: Received, facts: StoredFacts, fault: str, other_company: OtherCompany | None = None
) -> Record:
    corp_id = received.corp_id or facts.corp_id or NO_CORP_ID
    seq, journal, received_ms, app, via, *_ = received
    common = _common(UNCLASSIFIED, 0, corp_id, app, journal, via, "unknown", (("fault", fault),))
    received_at = _rfc3339(received_ms)
    time = received_at if facts.happened_ms is None else _rfc3339(facts.happened_ms)
    key, body = common.corp, b'"%b"' % b64encode(received.body)
    value = common.value % (_quoted(facts.id), b"", time, _quoted(key), seq, received_at, body)
    headers = (*common.headers, ("dingbridge-id", facts.id.encode()))
    return Record(None, False, key.encode(), value, headers, facts.id, fault, other_company=other_company)


class _Common(NamedTuple):
    """What records of one type, company, app, journal, way of receipt and form have in common: ``value`` is a
    template, in which the id, the subject's attribute, the time, the key, the place in the journal, the time
    of receipt and the data are missing; ``headers`` are the first three."""

    corp: str
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


@lru_cache(maxsize=1_000)
def _common(
    event_type: str,
    version: int,
    corp: str,
    app: str,
    journal: str,
    via: str,
    form: Form,
    extra: tuple[tuple[str, str], ...],
) -> _Common:
    content = {"datacontenttype": "application/json", "dataschema": urn(event_type, version)}
    data = "data"
    if event_type == UNCLASSIFIED:
        content, data = {"datacontenttype": "application/octet-stream"}, "data_base64"
    rebuilt = {"rebuilt": "true"} if via == FAILED_LIST else {}
    value = (
        b'{"specversion":"1.0","id":%b'
        + _fixed({"source": source(corp, app), "type": TYPE_PREFIX + event_type})
        + b'%b,"time":"%b"'
        + _fixed(content)
        + b',"partitionkey":%b,"sequence":"%020d"'
        + _fixed({"journal": journal})
        + b',"receivedtime":"%b"'
        + _fixed({"via": via, "form": form} | rebuilt | dict(extra))
        + b',"%b":%%b}' % data.encode()
    )
    headers = (
        ("content-type", CONTENT_TYPE),
        ("dingbridge-type", event_type.encode()),
        ("dingbridge-corp", corp.encode()),
    )
    return _Common(corp, value, headers)


def _fixed(attributes: dict[str, str]) -> bytes:
    """Some of an envelope's attributes, as they stand in the template."""
    return b"," + dumps(attributes)[1:-1].replace(b"%", b"%%")


def urn(name: str, version: int) -> str:
    """What ``dataschema`` says, and the ``$id`` of the schema that it names."""
    return f"urn:dingbridge:{name}:{version}"


def source(corp: str, app: str) -> str:
    return f"/dingtalk/{corp if corp.isalnum() and corp.isascii() else quote(corp, safe='')}/{app}"


def _report(error: Exception, received: Received) -> None:
    """Log type and place only: an exception's text may hold the callback's content."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{PurePath(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else None
    _log.error(
        "events.fault",
        exception=type(error).__name__,
        at=place,
        journal=received.journal,
        seq=received.seq,
    )

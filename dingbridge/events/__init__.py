"""The contract between DingTalk and whoever reads our topics: catalogue, normalisation, records, events.

Pure functions on bytes and values, no I/O. This is the public surface; the modules are:
``facts`` (what is read before a callback is kept), ``envelope`` (journal row to Kafka records),
``event`` (Kafka record to event), ``catalogue`` (the known EventTypes), ``control`` (events of the bridge's
own), and beneath them ``strict_json``, ``normalise`` and ``split``. What ``data`` of each
EventType holds, as types, is in ``dingbridge/generated``.
"""

from dingbridge.events.catalogue import (
    EVENT_TYPE_RE,
    UNCLASSIFIED,
    URL_CHECKS,
    Catalogue,
    EventSpec,
    Field,
    Subject,
    catalogue,
    known,
    legal,
)
from dingbridge.events.envelope import SCHEMA_VERSION, Received, Record, to_records
from dingbridge.events.event import Event, NotAnEvent, decode, to_dingtalk
from dingbridge.events.facts import CallbackFacts, content_hash, dedupe_key, extract_facts

__all__ = [
    "EVENT_TYPE_RE",
    "SCHEMA_VERSION",
    "UNCLASSIFIED",
    "URL_CHECKS",
    "CallbackFacts",
    "Catalogue",
    "Event",
    "EventSpec",
    "Field",
    "NotAnEvent",
    "Received",
    "Record",
    "Subject",
    "catalogue",
    "content_hash",
    "decode",
    "dedupe_key",
    "extract_facts",
    "known",
    "legal",
    "to_dingtalk",
    "to_records",
]

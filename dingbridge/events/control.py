"""The bridge's own events, sent to one consumer's inbox; DingTalk never sends them.

There is one such type, the resync request: compare your part of a company with DingTalk, since events of it
may be lost, or did not name what changed. Its name is no legal EventType, so no event of DingTalk's can have
it.
"""

from typing import Any, Final, NamedTuple

from dingbridge.events.catalogue import Part
from dingbridge.events.envelope import CONTENT_TYPE, NO_CORP_ID, rfc3339, source
from dingbridge.events.strict_json import dumps

RESYNC_REQUESTED: Final = "com.dingbridge.resync_requested"
"""``type`` of the event, and its ``event_type`` once it is decoded. Its data: ``part`` (which events may be
missing), ``since`` (epoch ms: what happened earlier is known) and ``reason``."""


class ControlRecord(NamedTuple):
    """A record for an inbox."""

    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


def resync_requested(
    *, id: str, app: str, corp_id: str | None, now_ms: int, since_ms: int, part: Part, reason: str
) -> ControlRecord:
    """A resync request. The same ``id`` is one request, however often it is written; the worker holds
    it back until ``now_ms``. Its key is not that of the company's events, which must not wait for it."""
    corp = corp_id or NO_CORP_ID
    key = f"{corp}:resync"
    envelope: dict[str, Any] = {
        "specversion": "1.0",
        "id": id,
        "source": source(corp, app),
        "type": RESYNC_REQUESTED,
        "time": rfc3339(now_ms),
        "datacontenttype": "application/json",
        "dataschema": "urn:dingbridge:resync_requested:1",
        "partitionkey": key,
        "sequence": f"{0:020}",
        "journal": "recovery",
        "receivedtime": rfc3339(now_ms),
        "via": "failed-list",
        "form": "unknown",
        "data": {"part": part, "since": since_ms, "reason": reason},
    }
    headers = (
        ("content-type", CONTENT_TYPE),
        ("dingbridge-type", RESYNC_REQUESTED.encode()),
        ("dingbridge-corp", corp.encode()),
        ("dingbridge-id", id.encode()),
    )
    return ControlRecord(key.encode(), dumps(envelope), headers)

"""The records that a worker has fetched and not finished, for a person: in logs, and as ``GET /in-flight`` of
the private listener.

Ids, types, times and places only, as in logs: no value of an event, no text of an error, and only the hash of
a key.
"""

import heapq
import time
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import Any, Final

from dingbridge.logging import excerpt
from dingbridge.worker.delivery import hash_key
from dingbridge.worker.queues.breaker import Breaker
from dingbridge.worker.queues.offset_tracker import QueuedRecord

MOST_SHOWN: Final = 50
"""Most records in one answer: records that failed before come first, then the oldest."""


def describe(
    consumer: str,
    unfinished: Iterable[QueuedRecord],
    running: Collection[QueuedRecord],
    open_breakers: Collection[Breaker],
) -> dict[str, Any]:
    """The answer of ``/in-flight`` as plain JSON; times are RFC 3339 in UTC, ``None`` where there is none.

    ``state`` of a record: ``running``; ``retrying`` (its next attempt is at ``next_attempt_at``); ``paused``
    (it waits for a dependency that ``paused`` names); ``queued`` (for its turn).
    """
    held = {queued for breaker in open_breakers for queued in (*breaker.waiting, *breaker.tried)}
    total, ranked, booted = 0, [], time.time() - time.monotonic()
    for queued in unfinished:
        total += 1
        failed = queued.trouble is not None and bool(queued.trouble.outcome)
        ranked.append((not failed, queued.fetched_at, total, queued))
    shown = [queued for *_, queued in heapq.nsmallest(MOST_SHOWN, ranked)]
    return {
        "consumer": consumer,
        "total": total,
        "paused": [
            {
                "dependency": breaker.name,
                "waits_for": breaker.reason,
                "since": _time(booted + (breaker.since or 0)),
                "failures": breaker.failures,
                "records": len(breaker.waiting) + len(breaker.tried) + (breaker.probe is not None),
                "next_attempt_at": _time(breaker.next_at),
            }
            for breaker in open_breakers
        ],
        "records": [_record(queued, queued in running, queued in held) for queued in shown],
    }


def words_of(consumer: str, queued: QueuedRecord) -> dict[str, str | int | None]:
    """What may stand in a log about a record: ids and types, no values."""
    event, trouble = queued.event, queued.trouble
    return {
        "consumer": consumer,
        "event_id": excerpt(event.id) if event else None,
        "event_type": excerpt(event.event_type) if event else None,
        "key": hash_key(queued.key if isinstance(queued.key, bytes) else None),
        "topic": queued.partition.topic,
        "partition": queued.partition.partition,
        "offset": queued.offset,
        "attempt": 0 if trouble is None else trouble.attempts + trouble.own_failures,
    }


def _record(queued: QueuedRecord, running: bool, paused: bool) -> dict[str, Any]:
    event, trouble = queued.event, queued.trouble
    again = None if queued.timer is None else time.time() - time.monotonic() + queued.timer.when()
    state = "running" if running else "paused" if paused else "retrying" if again is not None else "queued"
    return {
        "topic": queued.partition.topic,
        "partition": queued.partition.partition,
        "offset": queued.offset,
        "key": hash_key(queued.key if isinstance(queued.key, bytes) else None),
        "source": event.source if event else None,
        "event_id": event.id if event else _id_header(queued),
        "event_type": event.event_type if event else None,
        "state": state,
        "attempts": 0 if trouble is None else trouble.attempts + trouble.own_failures,
        "since": _time(queued.fetched_at),
        "next_attempt_at": _time(again),
        "outcome": (trouble.outcome if trouble else "") or None,
        "error": (trouble.error if trouble else "") or None,
    }


def _id_header(queued: QueuedRecord) -> str | None:
    """The event's id of a record that nobody has decoded yet."""
    for name, value in queued.record.headers if queued.record is not None else ():
        if name == "dingbridge-id" and value:
            return bytes(value).decode(errors="replace")
    return None


def _time(at: float | None) -> str | None:
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

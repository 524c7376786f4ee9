"""The records that a worker has fetched and not finished, for an operator: ``GET /in-flight`` of the private
listener.

Ids, types, times and places only, as in logs: no value of an event, no text of an error, and only the hash of
a key.
"""

import heapq
import time
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from aiokafka import TopicPartition

from dingbridge.worker.delivery import hash_key
from dingbridge.worker.queues.offset_tracker import QueuedRecord
from dingbridge.worker.queues.pauses import Pause

MOST_SHOWN: Final = 1_000
"""Records in one answer: first those that failed before, then the oldest."""


def describe(
    consumer: str,
    unfinished: Iterable[QueuedRecord],
    running: Collection[QueuedRecord],
    paused: Mapping[TopicPartition, Pause],
) -> dict[str, Any]:
    """The answer of ``/in-flight`` as plain JSON; times are RFC 3339 in UTC, ``None`` where there is none.

    ``state`` of a record: ``running``; ``retrying`` (its next attempt is at ``next_attempt_at``); ``paused``
    (its partition waits for what ``paused`` names); ``queued`` (for its turn).
    """
    total, ranked, booted = 0, [], time.time() - time.monotonic()
    for queued in unfinished:
        total += 1
        ranked.append((not queued.last_outcome, queued.fetched_at, total, queued))
    shown = [queued for *_, queued in heapq.nsmallest(MOST_SHOWN, ranked)]
    return {
        "consumer": consumer,
        "total": total,
        "paused": [
            {
                "topic": partition.topic,
                "partition": partition.partition,
                "waits_for": pause.reason,
                "since": _time(booted + pause.since),
                "failures": pause.failures,
                "offset": pause.next.offset if pause.next else None,
                "next_attempt_at": _time(pause.next_at),
            }
            for partition, pause in sorted(paused.items())
        ],
        "records": [_record(queued, queued in running, queued.partition in paused) for queued in shown],
    }


def _record(queued: QueuedRecord, running: bool, paused: bool) -> dict[str, Any]:
    event = queued.event
    again = queued.next_attempt_at
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
        "attempts": queued.attempts + queued.own_failures,
        "since": _time(queued.fetched_at),
        "next_attempt_at": _time(again),
        "outcome": queued.last_outcome or None,
        "error": queued.last_error or None,
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

"""The tasks of an approval, one for each approver, from their events and the API's document. Pure, no clock.

As with instances, the rows are a function of all that is known and not of its order. While an approval runs,
its tasks are known from events alone. At its end the document has them, and it counts unless it is older than
the events. A comment is an event of the same type, but no task: it has no id, and rows of its own.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from dingbridge.consumers.approval.archive.document import EventFields, Events, Row, first, objects
from dingbridge.consumers.approval.archive.masking import Hide
from dingbridge.consumers.approval.archive.times import ApiClock
from dingbridge.snapshots.coerce import as_json, as_text, from_epoch_ms

OPEN = frozenset({"NEW", "RUNNING", "PAUSED"})
"""``status`` of a task that waits for its approver."""

_STATUS = {"start": "RUNNING", "finish": "COMPLETED", "redirect": "COMPLETED", "cancel": "CANCELED"}
_RESULTS = {"agree": "AGREE", "refuse": "REFUSE", "redirect": "REDIRECTED"}
"""An event's ``result`` (approval-events-1) as the document spells it."""


def task_id(data: Mapping[str, Any]) -> str | None:
    """The task that an event is about, None for a comment and for the oldest events, which named none."""
    return as_text(data.get("taskId")) or None


def comment_row(data: Mapping[str, Any], hide: Hide = dict) -> Row:
    """The row of ``approval_comments`` of an event of type ``comment``; its id is the same whoever is
    masked."""
    said = [as_text(data.get(name)) for name in ("staffId", "createTime", "content")]
    digest = hashlib.sha256(as_json(said).encode()).hexdigest()[:32]
    at, shown = from_epoch_ms(data.get("createTime")), hide(dict(data))
    userid, content = as_text(shown.get("staffId")), as_text(shown.get("content"))
    return {"comment_id": digest, "userid": userid, "commented_at": at, "content": content}


def task_rows(
    document: Mapping[str, Any] | None, events: Mapping[str, Events], clock: ApiClock
) -> dict[str, Row]:
    """The rows of ``approval_tasks`` by task id; ``events`` by task id."""
    # a task without an id is known by its place alone
    api = {
        as_text(task.get("taskId")) or f"#{position}": (position, task)
        for position, task in objects((document or {}).get("tasks"))
    }
    rows = {}
    for id_ in {**events, **api}:
        position, task = api.get(id_, (None, {}))
        rows[id_] = _row(position, task, events.get(id_, {}), clock)
    return rows


def _row(position: int | None, api: Mapping[str, Any], events: Events, clock: ApiClock) -> Row:
    from_events = EventFields(events)
    ended = EventFields(
        {kind: event for kind, event in events.items() if kind in _STATUS and kind != "start"}
    )
    status, result = as_text(api.get("status")), as_text(api.get("result"))
    if (status is None or status.upper() in OPEN) and events:
        kind = max((kind for kind in events if kind in _STATUS), key=lambda k: _rank(events, k), default=None)
        if kind is not None:
            said = str(ended("result") or ("redirect" if kind == "redirect" else "")).lower()
            status, result = _STATUS[kind], _RESULTS.get(said, said.upper()) or result
    return {
        "position": position,
        "userid": as_text(first(api.get("userId"), from_events("staffId"))),
        "status": status,
        "result": result,
        "remark": as_text(ended("remark")),
        "activity_id": as_text(first(api.get("activityId"), from_events("activityId"))),
        "group_name": as_text(api.get("taskGroupName")),
        "mobile_url": as_text(api.get("mobileUrl")),
        "pc_url": as_text(api.get("pcUrl")),
        "started_at": clock.finer(from_events("createTime"), api.get("createTime")),
        "started_at_raw": as_text(api.get("createTime")),
        "finished_at": clock.finer(ended("finishTime"), api.get("finishTime")),
        "finished_at_raw": as_text(api.get("finishTime")),
        "raw_events": as_json(events) if events else None,
    }


def _rank(events: Events, kind: str) -> tuple[bool, str, str]:
    """An end counts more than a start, whatever their times; of two ends the later."""
    return kind != "start", events[kind]["time"], kind

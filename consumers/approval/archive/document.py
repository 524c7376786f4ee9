"""The archive's rows of an approval, from its events and the API's document. Pure, no clock.

The rows are a function of all that is known: the latest event of each type, and the document. They do not
depend on the order in which it became known, so late, doubled and swapped events end in the same rows.
Only events have ``processCode`` and ``url`` (event-bpms-instance-change); only the document has the form
(obtains-the-details-of-a-single-approval-instance-pop). Anything may be absent, and a list that is absent is
not empty. What is not known (a type of record, a result) stays as it came. Not here: the instance's tasks
(``tasks.py``) and its files (``attachments.py``).
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from dingbridge.consumers.approval.archive.components import Value, kind_of, parse, table_rows
from dingbridge.consumers.approval.archive.masking import MASK
from dingbridge.consumers.approval.archive.times import ApiClock
from dingbridge.snapshots.coerce import as_json, as_list, as_text

Row = dict[str, Any]
Events = dict[str, dict[str, Any]]
"""The latest event of each ``type``: ``{"finish": {"time": ISO 8601, "data": {…}}, …}``."""

COMPLETED, TERMINATED = "COMPLETED", "TERMINATED"
"""``status`` of an instance that is at its end, as the API has it. Any other one waits."""
ENDS = ("finish", "terminate")
"""The types of event with which an instance ends; ``delete`` has times of its own."""


def with_event(events: Events, kind: str, time: str, data: Mapping[str, Any]) -> Events:
    """``events`` and one more. Of two of one kind the later stays; of two at one time, first the one in which
    somebody was masked, else always the same one."""
    new = {"time": time, "data": dict(data)}
    old = events.get(kind)
    if old is not None and _order(old) >= _order(new):
        return events
    return {**events, kind: new}


def _order(event: Mapping[str, Any]) -> tuple[str, bool, str]:
    text = as_json(event)
    return event["time"], MASK in text, text


def clock_of(events: Events, document: Mapping[str, Any] | None) -> ApiClock:
    """How the times of ``document`` are to be read."""
    api = document or {}
    return ApiClock(api.get("createTime"), first(api.get("businessId"), EventFields(events)("businessId")))


def instance_row(events: Events, document: Mapping[str, Any] | None, process_code: str | None = None) -> Row:
    """The row of ``approval_instances``, without its keys, its ``app``, ``updated_at``, and what other
    instances say about it.

    ``process_code`` is the template as it is known from elsewhere, for events that do not name it.
    """
    api, clock = document or {}, clock_of(events, document)
    from_events = EventFields(events)
    from_end = EventFields({kind: event for kind, event in events.items() if kind in ENDS})
    deleted = events.get("delete")
    return {
        "process_code": as_text(from_events("processCode")) or process_code,
        "business_id": as_text(first(api.get("businessId"), from_events("businessId"))),
        "title": as_text(first(api.get("title"), from_events("title"))),
        "url": as_text(from_events("url")),
        "originator_userid": as_text(first(api.get("originatorUserId"), from_events("staffId"))),
        "originator_dept_id": as_text(api.get("originatorDeptId")),
        "originator_dept_name": as_text(api.get("originatorDeptName")),
        "outcome": outcome(document),
        "status": as_text(api.get("status")),
        "result": as_text(first(api.get("result"), from_end("result"))),
        "biz_category_id": as_text(from_events("bizCategoryId")),
        "business_type": as_text(from_events("businessType")),
        "biz_action": as_text(api.get("bizAction")),
        "biz_data": as_text(api.get("bizData")),
        "main_instance_id": as_text(api.get("mainProcessInstanceId")) or None,
        "approver_userids": _json_list(api.get("approverUserIds")),
        "cc_userids": _json_list(api.get("ccUserIds")),
        "attached_instance_ids": _json_list(api.get("attachedProcessInstanceIds")),
        "started_at": clock.finer(from_events("createTime"), api.get("createTime")),
        "started_at_raw": as_text(api.get("createTime")),
        "finished_at": clock.finer(from_end("finishTime"), api.get("finishTime")),
        "finished_at_raw": as_text(api.get("finishTime")),
        "true_utc": None if document is None else clock.true_utc,
        "deleted_at": None if deleted is None else datetime.fromisoformat(deleted["time"]),
        "document_state": "pending" if document is None else "full",
        "raw_events": as_json(events),
        "raw_document": None if document is None else as_json(document),
    }


def outcome(document: Mapping[str, Any] | None) -> str | None:
    """``approved``, ``refused``, ``terminated``, ``finished`` (how is not known), or None: DingTalk has not
    shown it at its end. An event alone decides nothing."""
    results = {"agree": "approved", "refuse": "refused"}
    status = status_of(document)
    if document is not None and status == COMPLETED:
        return results.get(str(document.get("result")).lower(), "finished")
    return "terminated" if status == TERMINATED else None


def status_of(document: Mapping[str, Any] | None) -> str:
    """The ``status`` of a document in upper case; empty where there is none."""
    return str((document or {}).get("status") or "").upper()


def at_end(document: Mapping[str, Any] | None) -> bool:
    """Return whether the API has the instance at its end: its form may change until then, and never after
    it."""
    return status_of(document) in (COMPLETED, TERMINATED)


def approved(document: Mapping[str, Any] | None) -> bool:
    """Return whether the API itself has the instance as ended and approved."""
    return status_of(document) == COMPLETED and outcome(document) == "approved"


def missing_fields(document: Mapping[str, Any]) -> list[str]:
    """The names of the fields that every document has and this answer lacks: then it is none
    (obtains-the-details-of-a-single-approval-instance-pop)."""
    missing = [name for name in ("status", "businessId") if not document.get(name)]
    return missing + ["formComponentValues"] * (not isinstance(document.get("formComponentValues"), list))


def form_rows(document: Mapping[str, Any], zone: ZoneInfo) -> list[Row]:
    """The rows of ``approval_form_values``, in the form's order; ``zone`` is that of times in forms."""
    return [
        {
            "position": position,
            "field_id": as_text(field.get("id")),
            "name": as_text(field.get("name")),
            "biz_alias": as_text(field.get("bizAlias")),
            "component_type": as_text(field.get("componentType")),
            "ext_value": as_text(field.get("extValue")),
            **value_of(field, zone).columns(),
        }
        for position, field in objects(document.get("formComponentValues"))
    ]


def table_cells(value: Mapping[str, Any], zone: ZoneInfo) -> list[list[Row]]:
    """The rows of a table, each with its cells, of a row of ``approval_form_values``: the cells have the same
    columns. None for a value that is no table."""
    rows: dict[int, list[Row]] = {}
    for row, cell in cells_of({"componentType": value["component_type"], "value": value["value"]}):
        columns = {
            "field_id": as_text(cell.get("key")),
            "name": cell_name(cell),
            "component_type": as_text(cell.get("componentType")),
            "ext_value": as_text(_cell_ext(cell)),
            **cell_value(cell, zone).columns(),
        }
        rows.setdefault(row, []).append(columns)
    return list(rows.values())


def value_of(field: Mapping[str, Any], zone: ZoneInfo) -> Value:
    """A field of the form by its type."""
    kind = kind_of(field.get("componentType"), field.get("id"))
    return parse(kind, field.get("value"), field.get("extValue"), zone)


def cells_of(field: Mapping[str, Any]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The cells of a field that is a table, or does not say what it is, each with the number of its row."""
    if field.get("componentType") is None or kind_of(field["componentType"]) == "table":
        for row, cells in table_rows(field.get("value")):
            for _, cell in objects(cells):
                yield row, cell


def cell_name(cell: Mapping[str, Any]) -> str | None:
    """The name of the column that the cell is in."""
    return as_text(first(cell.get("label"), cell.get("name")))


def cell_value(cell: Mapping[str, Any], zone: ZoneInfo) -> Value:
    """A cell by its type, which its key says where it names none (captured 2021-07)."""
    kind = kind_of(cell.get("componentType"), cell.get("key"))
    return parse(kind, cell.get("value"), _cell_ext(cell), zone)


def _cell_ext(cell: Mapping[str, Any]) -> Any:
    return first(cell.get("extendValue"), cell.get("extValue"))


def operation_rows(document: Mapping[str, Any], clock: ApiClock) -> list[Row]:
    """The rows of ``approval_operations``. Their order is the list's: in one minute their times are equal."""
    return [
        {
            "position": position,
            "userid": as_text(record.get("userId")),
            "operation_type": as_text(record.get("type")),
            "operation_result": as_text(record.get("result")),
            "remark": as_text(record.get("remark")),
            "activity_id": as_text(record.get("activityId")),
            "show_name": as_text(record.get("showName")),
            "attachments": _json_list(record.get("attachments")),
            "images": _json_list(record.get("images")),
            "cc_userids": _json_list(record.get("ccUserIds")),
            "operated_at": clock.time(record.get("date")),
            "operated_at_raw": as_text(record.get("date")),
        }
        for position, record in objects(document.get("operationRecords"))
    ]


class EventFields:
    """The value of a field in the latest event that has one; ``""`` if it is empty in all."""

    def __init__(self, events: Events) -> None:
        self._data = [event["data"] for _, event in _latest_first(events)]

    def __call__(self, name: str) -> Any:
        said = [data[name] for data in self._data if data.get(name) is not None]
        return next((value for value in said if value != ""), said[0] if said else None)


def _latest_first(events: Events) -> list[tuple[str, dict[str, Any]]]:
    return sorted(events.items(), key=lambda item: (item[1]["time"], item[0]), reverse=True)


def first(*values: Any) -> Any:
    """The first value that is not empty, else an empty one, else None."""
    present = [value for value in values if value is not None]
    return next((value for value in present if value != ""), present[0] if present else None)


def objects(value: Any) -> Iterable[tuple[int, Mapping[str, Any]]]:
    """The objects in a list, numbered by their place in it."""
    for position, item in enumerate(as_list(value) or []):
        if isinstance(item, Mapping):
            yield position, item


def _json_list(value: Any) -> str | None:
    items = as_list(value)
    return None if items is None else as_json(items)

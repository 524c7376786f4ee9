"""What an approval's events and the API's document say about it, as the archive's rows. Pure, no clock.

The rows are a function of all that is known: the latest event of each type, and the document. They do not
depend on the order in which it became known, so late, doubled and swapped events end in the same rows.
Only events have ``processCode`` and ``url`` (event-bpms-instance-change); only the document has the form
(get-details-single-approval-instance). Anything may be absent.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from zoneinfo import ZoneInfo

from consumers.approval.times import local_time
from consumers.mirror.values import as_json, as_list, as_text, from_epoch_ms, parse_json

Row = dict[str, Any]
Events = dict[str, dict[str, Any]]
"""The latest event of each ``type``: ``{"finish": {"time": ISO 8601, "data": {…}}, …}``."""

ENDS = ("finish", "terminate")
"""The types of event with which an instance ends; ``delete`` has times of its own."""


def with_event(events: Events, kind: str, time: str, data: Mapping[str, Any]) -> Events:
    """``events`` and one more; of two of one kind the later stays, of two at one time always the same one."""
    new = {"time": time, "data": dict(data)}
    old = events.get(kind)
    if old is not None and (old["time"], as_json(old)) >= (time, as_json(new)):
        return events
    return {**events, kind: new}


def instance_row(events: Events, document: Mapping[str, Any] | None, zone: ZoneInfo) -> Row:
    """The row of ``approval_instances``, without its keys and ``updated_at``."""
    api = document or {}
    told, told_at_end = _Told(events), _Told({kind: event for kind, event in events.items() if kind in ENDS})
    started, started_raw = _time(api.get("create_time"), told("createTime"), zone)
    finished, finished_raw = _time(api.get("finish_time"), told_at_end("finishTime"), zone)
    deleted = events.get("delete")
    return {
        "process_code": as_text(told("processCode")),
        "business_id": as_text(_first(api.get("business_id"), told("businessId"))),
        "title": as_text(_first(api.get("title"), told("title"))),
        "url": as_text(told("url")),
        "originator_userid": as_text(_first(api.get("originator_userid"), told("staffId"))),
        "originator_dept_id": as_text(api.get("originator_dept_id")),
        "originator_dept_name": as_text(api.get("originator_dept_name")),
        "outcome": outcome(events, document),
        "status": as_text(api.get("status")),
        "result": as_text(_first(api.get("result"), told_at_end("result"))),
        "biz_category_id": as_text(told("bizCategoryId")),
        "business_type": as_text(told("businessType")),
        "biz_action": as_text(api.get("biz_action")),
        "main_instance_id": as_text(api.get("main_process_instance_id")),
        "approver_userids": _json_list(api.get("approver_userids")),
        "cc_userids": _json_list(api.get("cc_userids")),
        "attached_instance_ids": _json_list(api.get("attached_process_instance_ids")),
        "started_at": started,
        "started_at_raw": started_raw,
        "finished_at": finished,
        "finished_at_raw": finished_raw,
        "deleted_at": None if deleted is None else local_time(deleted["time"], zone),
        "document_state": "missing" if document is None else "full",
        "raw_events": as_json(events),
        "raw_document": None if document is None else as_json(document),
    }


def outcome(events: Events, document: Mapping[str, Any] | None) -> str | None:
    """``approved``, ``refused``, ``terminated``, ``finished`` (nobody says how), or None: not at its end.

    The document is asked first: COMPLETED with ``agree`` is approved. It may lag behind the event.
    """
    results = {"agree": "approved", "refuse": "refused"}
    api = document or {}
    status = str(api.get("status")).upper()
    if status == "COMPLETED":
        return results.get(str(api.get("result")).lower(), "finished")
    if status in ("TERMINATED", "CANCELED"):
        return "terminated"
    ends = [kind for kind, _ in _latest_first(events) if kind in ENDS]
    if not ends:
        return None
    if ends[0] == "terminate":
        return "terminated"
    return results.get(str(events["finish"]["data"].get("result")).lower(), "finished")


def form_rows(document: Mapping[str, Any]) -> list[Row]:
    """The rows of ``approval_form_values``, in the form's order."""
    rows = []
    for position, field in _objects(document.get("form_component_values")):
        value = as_text(field.get("value"))
        parsed = None if value is None else parse_json(value)
        rows.append(
            {
                "position": position,
                "field_id": as_text(field.get("id")),
                "name": as_text(field.get("name")),
                "component_type": as_text(field.get("component_type")),
                "value": value,
                "value_json": None if parsed is None else as_json(parsed),
                "ext_value": as_text(field.get("ext_value")),
            }
        )
    return rows


def cell_rows(document: Mapping[str, Any]) -> list[Row]:
    """The rows of ``approval_table_cells``: the cells of every table in the form."""
    rows = []
    for position, field in _objects(document.get("form_component_values")):
        if field.get("component_type") not in (None, "TableField"):
            continue
        for row, cells in table_rows(field.get("value")):
            for number, cell in _objects(cells):
                rows.append(
                    {
                        "position": position,
                        "row": row,
                        "cell": number,
                        "field_id": as_text(cell.get("key")),
                        "name": as_text(_first(cell.get("label"), cell.get("name"))),
                        "component_type": as_text(cell.get("componentType")),
                        "value": as_text(cell.get("value")),
                    }
                )
    return rows


def table_rows(value: Any) -> Iterator[tuple[int, list[Any]]]:
    """The rows of a TableField's value: its number and its cells. Nothing for any other value.

    The API answers ``[{"rowValue": [cell, …], "rowNumber": …}, …]``; forms that were filled in through the
    API may hold ``[[cell, …], …]``, as they were sent.
    """
    for number, row in enumerate(as_list(value) or []):
        cells = row.get("rowValue") if isinstance(row, Mapping) else row
        if isinstance(cells, list):
            yield number, cells


def operation_rows(document: Mapping[str, Any], zone: ZoneInfo) -> list[Row]:
    """The rows of ``approval_operations``."""
    return [
        {
            "position": position,
            "userid": as_text(record.get("userid")),
            "operation_type": as_text(record.get("operation_type")),
            "operation_result": as_text(record.get("operation_result")),
            "remark": as_text(record.get("remark")),
            "attachments": _json_list(record.get("attachments")),
            "operated_at": local_time(record.get("date"), zone),
            "operated_at_raw": as_text(record.get("date")),
        }
        for position, record in _objects(document.get("operation_records"))
    ]


def task_rows(document: Mapping[str, Any], zone: ZoneInfo) -> list[Row]:
    """The rows of ``approval_tasks``."""
    return [
        {
            "position": position,
            "task_id": as_text(task.get("taskid")),
            "userid": as_text(task.get("userid")),
            "status": as_text(task.get("task_status")),
            "result": as_text(task.get("task_result")),
            "activity_id": as_text(task.get("activity_id")),
            "url": as_text(task.get("url")),
            "started_at": local_time(task.get("create_time"), zone),
            "started_at_raw": as_text(task.get("create_time")),
            "finished_at": local_time(task.get("finish_time"), zone),
            "finished_at_raw": as_text(task.get("finish_time")),
        }
        for position, task in _objects(document.get("tasks"))
    ]


class _Told:
    """What the events say about a field: the latest that says something, else "" where one says nothing."""

    def __init__(self, events: Events) -> None:
        self._data = [event["data"] for _, event in _latest_first(events)]

    def __call__(self, name: str) -> Any:
        said = [data[name] for data in self._data if data.get(name) is not None]
        return next((value for value in said if value != ""), said[0] if said else None)


def _latest_first(events: Events) -> list[tuple[str, dict[str, Any]]]:
    return sorted(events.items(), key=lambda item: (item[1]["time"], item[0]), reverse=True)


def _first(*values: Any) -> Any:
    """The first value that says something, else an empty one, else None."""
    present = [value for value in values if value is not None]
    return next((value for value in present if value != ""), present[0] if present else None)


def _time(api: Any, event_ms: Any, zone: ZoneInfo) -> tuple[Any, str | None]:
    """The event's time is exact (epoch ms), the API's local and to the second; the raw text is the API's."""
    return from_epoch_ms(event_ms) or local_time(api, zone), as_text(api)


def _objects(value: Any) -> Iterable[tuple[int, Mapping[str, Any]]]:
    """The objects in a list, numbered by their place in it."""
    for position, item in enumerate(as_list(value) or []):
        if isinstance(item, Mapping):
            yield position, item


def _json_list(value: Any) -> str | None:
    items = as_list(value)
    return None if items is None else as_json(items)

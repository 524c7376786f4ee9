"""What an approval's events and the API's document say about it, as the archive's rows. Pure, no clock.

The rows are a function of all that is known: the latest event of each type, and the document. They do not
depend on the order in which it became known, so late, doubled and swapped events end in the same rows.
Only events have ``processCode`` and ``url`` (event-bpms-instance-change); only the document has the form
(get-details-single-approval-instance). Anything may be absent. Not here: the instance's tasks (``tasks.py``)
and its files (``attachments.py``).
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from zoneinfo import ZoneInfo

from consumers.approval.archive.components import kind_of, parse
from consumers.approval.archive.times import local_time
from dingbridge.snapshots.coerce import as_json, as_list, as_text, from_epoch_ms

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


def instance_row(
    events: Events, document: Mapping[str, Any] | None, zone: ZoneInfo, process_code: str | None = None
) -> Row:
    """The row of ``approval_instances``, without its keys, ``updated_at`` and ``parsed_with``.

    ``process_code`` is the template as it is known from elsewhere, for events that do not name it.
    """
    api = document or {}
    told, told_at_end = Told(events), Told({kind: event for kind, event in events.items() if kind in ENDS})
    ended = outcome(events, document)
    started, started_raw = _time(api.get("create_time"), told("createTime"), zone)
    finished, finished_raw = _time(api.get("finish_time"), told_at_end("finishTime"), zone)
    deleted = events.get("delete")
    return {
        "process_code": as_text(told("processCode")) or process_code,
        "business_id": as_text(first(api.get("business_id"), told("businessId"))),
        "title": as_text(first(api.get("title"), told("title"))),
        "url": as_text(told("url")),
        "originator_userid": as_text(first(api.get("originator_userid"), told("staffId"))),
        "originator_dept_id": as_text(api.get("originator_dept_id")),
        "originator_dept_name": as_text(api.get("originator_dept_name")),
        "outcome": ended,
        "status": as_text(api.get("status")),
        "result": as_text(first(api.get("result"), told_at_end("result"))),
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
        "document_state": "full" if document is not None else "missing" if ended else "pending",
        "raw_events": as_json(events),
        "raw_document": None if document is None else as_json(document),
    }


def outcome(events: Events, document: Mapping[str, Any] | None) -> str | None:
    """``approved``, ``refused``, ``terminated``, ``finished`` (nobody says how), or None: not at its end.

    The document is asked first: COMPLETED with ``agree`` is approved. It may lag behind the event. A
    ``terminate`` that is later than its ``finish`` takes the approval back, whatever a document says that may
    be older.
    """
    results = {"agree": "approved", "refuse": "refused"}
    api = document or {}
    ends = [kind for kind, _ in _latest_first(events) if kind in ENDS]
    if ends == ["terminate", "finish"]:
        return "terminated"
    status = str(api.get("status")).upper()
    if status == "COMPLETED":
        return results.get(str(api.get("result")).lower(), "finished")
    if status in ("TERMINATED", "CANCELED"):
        return "terminated"
    if not ends:
        return None
    if ends[0] == "terminate":
        return "terminated"
    return results.get(str(events["finish"]["data"].get("result")).lower(), "finished")


def form_rows(document: Mapping[str, Any], zone: ZoneInfo) -> list[Row]:
    """The rows of ``approval_form_values``, in the form's order."""
    rows = []
    for position, field in objects(document.get("form_component_values")):
        component, id_, ext = field.get("component_type"), field.get("id"), field.get("ext_value")
        value = parse(kind_of(component, id_), field.get("value"), ext, zone)
        rows.append(
            {
                "position": position,
                "field_id": as_text(id_),
                "name": as_text(field.get("name")),
                "component_type": as_text(component),
                "ext_value": as_text(ext),
                **value.columns(),
            }
        )
    return rows


def cell_rows(document: Mapping[str, Any], zone: ZoneInfo) -> list[Row]:
    """The rows of ``approval_table_cells``: the cells of every table in the form."""
    rows = []
    for position, field in objects(document.get("form_component_values")):
        if field.get("component_type") is not None and kind_of(field["component_type"]) != "table":
            continue
        for row, cells in table_rows(field.get("value")):
            for number, cell in objects(cells):
                component, id_ = cell.get("componentType"), cell.get("key")
                ext = first(cell.get("extendValue"), cell.get("extValue"))
                value = parse(kind_of(component, id_), cell.get("value"), ext, zone)
                rows.append(
                    {
                        "position": position,
                        "row": row,
                        "cell": number,
                        "field_id": as_text(id_),
                        "name": as_text(first(cell.get("label"), cell.get("name"))),
                        "component_type": as_text(component),
                        "ext_value": as_text(ext),
                        **value.columns(),
                    }
                )
    return rows


def table_rows(value: Any) -> Iterator[tuple[int, list[Any]]]:
    """The rows of a TableField's value: its number and its cells. Nothing for any other value.

    The API answers ``[{"rowValue": [cell, …], "rowNumber": …}, …]``; forms that were filled in through the
    API may hold ``[[cell, …], …]``, as they were sent. A table with no row filled in holds the definitions of
    its columns, ``[{"componentType": …, "props": …}, …]``.
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
        for position, record in objects(document.get("operation_records"))
    ]


class Told:
    """What the events say about a field: the latest that says something, else "" where one says nothing."""

    def __init__(self, events: Events) -> None:
        self._data = [event["data"] for _, event in _latest_first(events)]

    def __call__(self, name: str) -> Any:
        said = [data[name] for data in self._data if data.get(name) is not None]
        return next((value for value in said if value != ""), said[0] if said else None)


def _latest_first(events: Events) -> list[tuple[str, dict[str, Any]]]:
    return sorted(events.items(), key=lambda item: (item[1]["time"], item[0]), reverse=True)


def first(*values: Any) -> Any:
    """The first value that says something, else an empty one, else None."""
    present = [value for value in values if value is not None]
    return next((value for value in present if value != ""), present[0] if present else None)


def _time(api: Any, event_ms: Any, zone: ZoneInfo) -> tuple[Any, str | None]:
    """The event's time is exact (epoch ms), the API's local and to the second; the raw text is the API's."""
    return from_epoch_ms(event_ms) or local_time(api, zone), as_text(api)


def objects(value: Any) -> Iterable[tuple[int, Mapping[str, Any]]]:
    """The objects in a list, numbered by their place in it."""
    for position, item in enumerate(as_list(value) or []):
        if isinstance(item, Mapping):
            yield position, item


def _json_list(value: Any) -> str | None:
    items = as_list(value)
    return None if items is None else as_json(items)

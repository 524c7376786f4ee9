"""The approvals of one template as CSV, for a spreadsheet, or as JSON, for a program.

CSV: UTF-8 with a byte order mark, by which spreadsheets know the encoding; a row for each approval, a column
for each component of the form by its name. Each cell is in quotes, and a text that a spreadsheet would run as
a formula gets an apostrophe before it (https://owasp.org/www-community/attacks/CSV_Injection), also behind
what another one takes for the end of a cell; numbers of number components stay numbers. A table of the form
is one cell of JSON and, where there are files to write, a file of its own with a row for each of its rows.
Times are local (``DINGTALK_TIMEZONE``). JSON: a list of objects, one a line, with every value parsed as the
archive has it, numbers with all their digits; times are UTC, days are as the form has them. Not here: where
it is written (``consumers/approval/cli.py``).
"""

import csv
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from dingbridge import Reader
from dingbridge.consumers.approval.archive.components import NULL, parse, table_rows
from dingbridge.consumers.approval.archive.document import objects, table_cells
from dingbridge.consumers.approval.archive.query import (
    Approval,
    Filter,
    approvals,
    columns,
    label,
    table_columns,
)
from dingbridge.events.strict_json import dumps
from dingbridge.snapshots.coerce import as_list

BOM = "\ufeff"
_FORMULA = frozenset("=+-@−")
_CELL_END = re.compile(r"([;；\t\r\n])")
_NUMBER = re.compile(r"-?\d[\d,]*(\.\d+)?%?", re.ASCII)
HEAD = (
    "instance_id",
    "business_id",
    "title",
    "outcome",
    "originator_userid",
    "originator_dept_name",
    "started_at",
    "finished_at",
    "replaced_by",
    "revoked_by",
)
"""Columns of ``approval_instances`` before those of the form."""
TAIL = ("url", "status", "result", "biz_action", "main_instance_id", "document_state", "deleted_at")
OPERATION = ("userid", "operated_at", "operation_type", "operation_result", "show_name", "remark")
TASK = ("task_id", "userid", "status", "result", "started_at", "finished_at")
ATTACHMENT = ("file_name", "field_name", "state", "reason", "sha256", "size")
"""What JSON has beside them."""


class Sink(Protocol):
    """Takes text."""

    def write(self, text: str, /) -> object: ...


async def write_csv(
    db: Reader, chosen: Filter, sink: Sink, zone: ZoneInfo, tables: Mapping[str, Sink] | None = None
) -> int:
    """Write the approvals to ``sink``, and the rows of the form's tables to ``tables`` by their names.

    Returns the number of approvals. The same name twice in a form: its values stand in one cell, a line each.
    """
    names = await columns(db, chosen)
    sheet = _sheet(sink, [*HEAD, *map(_heading, names)])
    tables = tables or {}
    of_tables = await table_columns(db, chosen) if tables else {}
    sheets = {
        name: _sheet(tables[name], [*HEAD[:2], "row", *of_tables[name]])
        for name in of_tables
        if name in tables
    }
    number = 0
    async for approval in approvals(db, chosen):
        cells: dict[str, list[Mapping[str, Any]]] = {}
        for value in approval.fields:
            cells.setdefault(label(value), []).append(value)
        head = [escaped(_plain(approval.row[name], zone)) for name in HEAD]
        sheet.writerow([*head, *(_cell(cells.get(name, [])) for name in names)])
        for name, rows in _rows_of_tables(approval, zone).items():
            if name in sheets:
                for place, row in enumerate(rows, start=1):
                    sheets[name].writerow([*head[:2], place, *(row.get(c, "") for c in of_tables[name])])
        number += 1
    return number


async def write_json(db: Reader, chosen: Filter, sink: Sink, zone: ZoneInfo) -> int:
    """Write the approvals to ``sink`` as one JSON list; their number."""
    number = 0
    sink.write("[")
    async for approval in approvals(db, chosen):
        sink.write("\n" if number == 0 else ",\n")
        sink.write(dumps(as_object(approval, zone)).decode())
        number += 1
    sink.write("\n]\n")
    return number


def as_object(approval: Approval, zone: ZoneInfo) -> dict[str, Any]:
    """An approval as one JSON object; numbers may be ``Decimal``."""
    form = []
    for field in approval.fields:
        shown = _value_object(field, zone)
        if rows := table_cells(field, zone):
            shown["rows"] = [[_value_object(cell, zone) for cell in cells] for cells in rows]
        form.append(shown)
    return _picked(approval.row, ("corp_id", "process_code", *HEAD, *TAIL)) | {
        "form": form,
        "operations": [_picked(record, OPERATION) for record in approval.operations],
        "tasks": [_picked(task, TASK) for task in approval.tasks],
        "attachments": [_picked(file, ATTACHMENT) for file in approval.attachments],
    }


def cell_text(value: Mapping[str, Any]) -> str:
    """A value of the form as people read it in one cell."""
    text, parsed = value["value"], json.loads(value["value_json"]) if value["value_json"] else None
    if text is None or text.strip() == NULL:
        return ""
    items = as_list(parsed) or []
    match value["kind"]:
        case "multi_select" | "photo":
            return "; ".join(str(item) for item in items)
        case "contact" | "department":
            return "; ".join(str(_first(item, "name", "userid", "dept_id")) for item in items)
        case "relation":
            return "; ".join(str(_first(item, "title", "instance_id")) for item in items)
        case "attachment":
            return "; ".join(str(_first(item, "file_name", "file_id")) for item in items)
        case "date_range":
            return " ~ ".join(str(item) for item in items[:2])
        case "table":
            rows = [
                {label(_snake(cell)): str(cell.get("value") or "") for _, cell in objects(cells)}
                for _, cells in table_rows(text)
            ]
            return json.dumps(rows, ensure_ascii=False) if rows else ""
        case "leave" if isinstance(parsed, dict):
            return f"{parsed.get('from')} ~ {parsed.get('to')}"
        case _:
            return str(text)


def escaped(text: str, kind: str = "text") -> str:
    """``text`` so that no spreadsheet takes it for a formula, also not behind blanks or invisible characters,
    which some drop, in another width, which some fold, or behind a semicolon or a line's end, where some
    begin another cell. A number of a component whose ``kind`` is number or money stays one."""
    if kind in ("number", "money") and _NUMBER.fullmatch(text):
        return text
    safe = "".join(f"'{part}" if _is_formula(part) else part for part in _CELL_END.split(text))
    return f"'{safe}" if text[:1] in ("\t", "\r", "\n") and text.strip() else safe


def _is_formula(text: str) -> bool:
    seen = next((c for c in text if c != '"' and unicodedata.category(c)[0] not in "CZ"), "")
    return unicodedata.normalize("NFKC", seen)[:1] in _FORMULA


def _cell(values: Sequence[Mapping[str, Any]]) -> str:
    """All values of one name."""
    kind = values[0]["kind"] if len(values) == 1 else "text"
    return escaped("\n".join(map(cell_text, values)), kind)


def file_name(table: str) -> str:
    """A table's name as part of a file's: letters and digits of any script, and ``-``."""
    return re.sub(r"[^\w-]+", "_", table).strip("_")[:60] or "table"


def _sheet(sink: Sink, head: Sequence[str]) -> Any:
    sink.write(BOM)
    sheet = csv.writer(sink, quoting=csv.QUOTE_ALL)
    sheet.writerow([escaped(text) for text in head])
    return sheet


def _rows_of_tables(approval: Approval, zone: ZoneInfo) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for value in approval.fields:
        lines = [{label(cell): _cell([cell]) for cell in cells} for cells in table_cells(value, zone)]
        found.setdefault(label(value), []).extend(lines)
    return found


def _value_object(value: Mapping[str, Any], zone: ZoneInfo) -> dict[str, Any]:
    more = {
        "parsed": None if value["value_json"] is None else json.loads(value["value_json"]),
        # from the text, which has all its digits: SQLite's column has those of a float
        "number": parse(value["kind"], value["value"], value["ext_value"], zone).number,
        **_picked(value, ("starts_on", "ends_on", "starts_at", "ends_at")),
    }
    filled = {name: thing for name, thing in more.items() if thing is not None}
    return _picked(value, ("name", "component_type", "kind", "value")) | filled


def _picked(row: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """These columns, with times and days as ISO 8601."""
    return {n: row[n].isoformat() if isinstance(row[n], date) else row[n] for n in names}


def _plain(value: Any, zone: ZoneInfo) -> str:
    if isinstance(value, datetime):
        return value.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")
    return "" if value is None else str(value)


def _snake(cell: Mapping[str, Any]) -> dict[str, Any]:
    """A cell as it is in a table's value, with the names that the archive's rows have."""
    return {"name": cell.get("label") or cell.get("name"), "field_id": cell.get("key")}


def _heading(name: str) -> str:
    """A component with several names, as a range has them, shows all of them."""
    return " ~ ".join(str(part) for part in as_list(name) or [name])


def _first(item: Any, *names: str) -> Any:
    if not isinstance(item, Mapping):
        return item
    return next((item[name] for name in names if item.get(name)), "")

"""The values of a form's components, by their type: numbers as numbers, dates as times, lists as lists.

DingTalk writes every value as text: JSON inside it for the complex controls, the text ``null`` for what was
not filled in. What people see is in ``value``, ids often in ``extValue`` (in a table's cells:
``extendValue``). Names of the controls: create-or-update-an-approval-template; what each holds:
create-an-approval-instance, and answers of the API itself, which are less strict. A control that is not known
here keeps its text. Pure; never raises.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from dingbridge.consumers.approval.archive.times import local_day, local_time
from dingbridge.snapshots.coerce import as_int, as_json, as_list, as_text, parse_json

KINDS = {
    "TextField": "text",
    "TextareaField": "text",
    "PhoneField": "text",
    "IdCardField": "text",
    "NumberField": "number",
    "StarRatingField": "number",
    "CalculateField": "number",
    "MoneyField": "money",
    "DDSelectField": "select",
    "DDMultiSelectField": "multi_select",
    "DDDateField": "date",
    "DDDateRangeField": "date_range",
    "DDHolidayField": "leave",
    "TableField": "table",
    "DDAttachment": "attachment",
    "DDPhotoField": "photo",
    "InnerContactField": "contact",
    "DepartmentField": "department",
    "RelateField": "relation",
    "FormRelateField": "relation",
    "AddressField": "address",
}
"""``componentType`` → ``kind`` of ``approval_form_values``; any other is ``unknown``."""

NULL = "null"
"""What DingTalk writes into a text area that was left empty (captured 2022-06)."""
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)")
LARGEST = Decimal(10) ** 28
"""Numbers from here on stay text: the column has 28 digits before its point."""


@dataclass(frozen=True, slots=True)
class Value:
    """One value. ``text`` is as it came; ``json`` is a list or object in the one shape of its ``kind``:

    ``multi_select`` texts; ``contact`` ``{"userid", "name"}``; ``department`` ``{"dept_id", "name"}``;
    ``relation`` ``{"instance_id", "business_id", "title"}``; ``photo`` addresses; ``attachment``
    ``{"file_id", "file_name", "file_type", "file_size", "space_id"}``; ``date_range`` texts; ``leave``
    ``{"from", "to", "duration", "unit", "leave_type"}``; ``table`` its rows as they came, and
    ``{"columns": [{"field_id", "name", "component_type"}]}`` where no row is filled in; others as they came.

    ``starts_on`` and ``ends_on`` are the first and the last day of a date or range, as the form writes them;
    ``starts_at`` and ``ends_at`` its points in time, only where the form has a time of day.
    """

    kind: str
    text: str | None = None
    json: Any = None
    number: Decimal | None = None
    starts_on: date | None = None
    ends_on: date | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None

    @property
    def empty(self) -> bool:
        """Whether the field was left empty."""
        if self.text is None or not self.text.strip() or self.text.strip() == NULL:
            return True
        return self.kind == "table" and isinstance(self.json, dict)

    def columns(self) -> dict[str, Any]:
        """As the columns of ``approval_form_values`` that hold it. A table's rows are in ``value`` alone."""
        is_filled_table = self.kind == "table" and not self.empty
        return {
            "kind": self.kind,
            "value": self.text,
            "value_json": None if self.json is None or is_filled_table else as_json(self.json),
            "number": self.number,
            "starts_on": self.starts_on,
            "ends_on": self.ends_on,
            "starts_at": self.starts_at,
            "ends_at": self.ends_at,
        }


def kind_of(component_type: Any, field_id: Any = None) -> str:
    """The kind of a component; where it names no type, its id begins with it (``DDDateField-J8MTJZVE``)."""
    name = as_text(component_type) or re.split(r"[-_]", as_text(field_id) or "")[0]
    return KINDS.get(name, "unknown")


def parse(kind: str, value: Any, ext_value: Any, zone: ZoneInfo) -> Value:
    """The value of a component of ``kind``, with times in ``zone``."""
    text = as_text(value)
    plain = Value(kind, text, None if text is None else parse_json(text))
    if plain.empty or kind not in _PARSERS:
        return plain
    return _PARSERS[kind](plain, _parsed(ext_value), zone)


def number_of(text: Any) -> Decimal | None:
    """A decimal number, also with thousands separated by commas."""
    plain = (as_text(text) or "").strip().replace(",", "")
    if not plain.isascii() or not _NUMBER.fullmatch(plain):
        return None
    try:
        number = Decimal(plain)
    except InvalidOperation:
        return None
    return number if abs(number) < LARGEST else None


def _number(value: Value, ext: Any, zone: ZoneInfo) -> Value:
    return Value(value.kind, value.text, value.json, number=number_of(value.text))


def _date(value: Value, ext: Any, zone: ZoneInfo) -> Value:
    return _span(value, value.text, value.text, zone)


def _date_range(value: Value, ext: Any, zone: ZoneInfo) -> Value:
    parts = [as_text(part) for part in as_list(value.json) or []]
    if len(parts) < 2:
        return value
    # a range with "duration" on has it third, and then its unit
    number = number_of(parts[2]) if len(parts) > 2 else None
    return replace(_span(value, parts[0], parts[1], zone), number=number)


def _leave(value: Value, ext: Any, zone: ZoneInfo) -> Value:
    """``[from, to, duration, unit, type of leave, label]``."""
    parts = [as_text(part) for part in as_list(value.json) or []]
    if len(parts) < 2:
        return value
    names = ("from", "to", "duration", "unit", "leave_type")
    shape = dict(zip(names, [*parts, None, None, None], strict=False))
    span = _span(value, parts[0], parts[1], zone)
    return replace(span, json=shape, number=number_of(shape["duration"]))


def _span(value: Value, first: str | None, last: str | None, zone: ZoneInfo) -> Value:
    return replace(
        value,
        starts_on=local_day(first, zone),
        ends_on=local_day(last, zone),
        starts_at=local_time(first, zone),
        ends_at=local_time(last, zone),
    )


def _multi_select(value: Value, ext: Any, zone: ZoneInfo) -> Value:
    chosen = as_list(value.json)
    if chosen is None:
        return Value(value.kind, value.text, [value.text])
    return Value(value.kind, value.text, [as_text(choice) for choice in chosen])


def _people(value: Value, ext: Any, zone: ZoneInfo) -> Value:
    found = _named(ext, value.json, ("emplId", "userId", "userid"), ("name", "userName"))
    people = [{"userid": id_, "name": name} for id_, name in found or _names(value)]
    return Value(value.kind, value.text, people)


def _departments(value: Value, ext: Any, zone: ZoneInfo) -> Value:
    found = _named(ext, value.json, ("id", "deptId", "dept_id", "itemId"), ("name", "deptName"))
    departments = [{"dept_id": id_, "name": name} for id_, name in found or _names(value)]
    return Value(value.kind, value.text, departments)


def _relations(value: Value, ext: Any, zone: ZoneInfo) -> Value:
    """People see titles; ids stand beside them, ``{"list": [{"businessId", "procInstId"}]}``."""
    listed = ext.get("list") if isinstance(ext, Mapping) else ext
    said = as_list(value.json)
    texts = [value.text] if said is None else [as_text(text) for text in said]
    found = _objects(_parsed(listed)) or _objects(said)
    if not found:
        alone = [{"instance_id": text, "business_id": None, "title": None} for text in texts]
        return Value(value.kind, value.text, alone)
    titles = texts if len(texts) == len(found) and not _objects(said) else [None] * len(found)
    ids = ("procInstId", "processInstanceId", "instanceId", "process_instance_id")
    relations = [
        {
            "instance_id": _said(item, ids),
            "business_id": _said(item, ("businessId",)),
            "title": _said(item, ("title", "name", "label")) or title,
        }
        for item, title in zip(found, titles, strict=True)
    ]
    return Value(value.kind, value.text, relations)


def _photos(value: Value, ext: Any, zone: ZoneInfo) -> Value:
    addresses = as_list(value.json)
    if addresses is None:
        return Value(value.kind, value.text, [value.text])
    return Value(value.kind, value.text, [as_text(address) for address in addresses])


def _attachments(value: Value, ext: Any, zone: ZoneInfo) -> Value:
    return Value(value.kind, value.text, [file_shape(file) for file in _objects(value.json)])


def file_shape(file: Mapping[str, Any]) -> dict[str, Any]:
    """An attachment, of a form or of a record."""
    return {
        "file_id": as_text(file.get("fileId")),
        "file_name": as_text(file.get("fileName")),
        "file_type": as_text(file.get("fileType")),
        "file_size": as_int(file.get("fileSize")),
        "space_id": as_text(file.get("spaceId")),
    }


def table_rows(value: Any) -> Iterator[tuple[int, list[Any]]]:
    """The rows of a TableField's value: its number and its cells. Nothing for any other value.

    The API answers ``[{"rowValue": [cell, …], "rowNumber": …}, …]``; forms that were filled in through the
    API may hold ``[[cell, …], …]``, as they were sent.
    """
    for number, row in enumerate(as_list(value) or []):
        cells = row.get("rowValue") if isinstance(row, Mapping) else row
        if isinstance(cells, list):
            yield number, cells


def _table(value: Value, ext: Any, zone: ZoneInfo) -> Value:
    """One without a row holds the definitions of its columns, ``[{"componentName", "componentType",
    "props": {"id", "label", …}}, …]`` (captured 2021-07)."""
    columns = [
        {
            "field_id": as_text(item["props"].get("id")),
            "name": as_text(item["props"].get("label")),
            "component_type": as_text(item.get("componentType") or item.get("componentName")),
        }
        for item in _objects(value.json)
        if isinstance(item.get("props"), Mapping)
    ]
    return replace(value, json={"columns": columns}) if columns else value


_PARSERS: dict[str, Callable[[Value, Any, ZoneInfo], Value]] = {
    "number": _number,
    "money": _number,
    "date": _date,
    "date_range": _date_range,
    "leave": _leave,
    "multi_select": _multi_select,
    "contact": _people,
    "department": _departments,
    "relation": _relations,
    "table": _table,
    "photo": _photos,
    "attachment": _attachments,
}


def _parsed(value: Any) -> Any:
    return parse_json(value) if isinstance(value, str) else value


def _named(
    ext: Any, json: Any, ids: tuple[str, ...], names: tuple[str, ...]
) -> list[tuple[str | None, str | None]]:
    """Id and name of each object in ``ext``, else of those in ``json``."""
    for listed in (ext, json):
        if objects := _objects(listed):
            return [(_said(item, ids), _said(item, names)) for item in objects]
    return []


def _objects(listed: Any) -> list[Mapping[str, Any]]:
    return [item for item in as_list(listed) or [] if isinstance(item, Mapping)]


def _said(item: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    return next((as_text(item[key]) for key in keys if item.get(key) not in (None, "")), None)


def _names(value: Value) -> list[tuple[str | None, str | None]]:
    """Without objects, what people see: a name, or a list of them."""
    listed = as_list(value.json)
    return [(None, as_text(name)) for name in ([value.text] if listed is None else listed)]

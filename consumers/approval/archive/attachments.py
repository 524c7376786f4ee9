"""Which files an approval has, from the API's document: attachments, photos, files of its records. Pure.

Not here: how they are downloaded (``downloads.py``).
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any
from zoneinfo import ZoneInfo

from consumers.approval.archive.components import Value, kind_of, parse
from consumers.approval.archive.document import Row, first, objects, table_rows
from dingbridge.snapshots.coerce import as_int, as_list, as_text

WAITING, DONE, REFUSED = "waiting", "done", "refused"
"""States of ``approval_attachments``: to be downloaded, once ``ARCHIVE_DIR`` is set; downloaded; never, for
the ``reason`` beside it."""

NOT_OFFERED = "DingTalk offers no download of files in comments and records"
"""obtain-the-download-url-of-an-approval-attachment: file ids of the form's own controls only."""


def attachment_rows(document: Mapping[str, Any], zone: ZoneInfo) -> dict[str, Row]:
    """The rows of ``approval_attachments`` by ``attachment_id``, without keys and without what is known only
    once they are downloaded. A file that is in two places is the first one's."""
    found: dict[str, Row] = {}
    for field_name, value in _values(document, zone):
        for id_, row in _of_value(value):
            found.setdefault(id_, {**row, "field_name": field_name})
    for _, record in objects(document.get("operation_records")):
        for _, file in objects(record.get("attachments")):
            file_id = as_text(first(file.get("file_id"), file.get("fileId")))
            if file_id:
                row = _file_row(_snake(file)) | {"kind": "record", "state": REFUSED}
                found.setdefault(f"file:{file_id}", {**row, "field_name": None, "reason": NOT_OFFERED})
    return found


def _values(document: Mapping[str, Any], zone: ZoneInfo) -> Iterator[tuple[str | None, Value]]:
    """Name and value of every field and of every cell of the form's tables."""
    for _, field in objects(document.get("form_component_values")):
        name, kind = as_text(field.get("name")), kind_of(field.get("component_type"), field.get("id"))
        yield name, parse(kind, field.get("value"), field.get("ext_value"), zone)
        if kind == "table":
            for _, cells in table_rows(field.get("value")):
                for _, cell in objects(cells):
                    label = as_text(first(cell.get("label"), cell.get("name")))
                    kind_of_cell = kind_of(cell.get("componentType"), cell.get("key"))
                    value = parse(kind_of_cell, cell.get("value"), cell.get("extendValue"), zone)
                    yield f"{name}.{label}", value


def _of_value(value: Value) -> Iterator[tuple[str, Row]]:
    if value.kind == "attachment":
        for file in as_list(value.json) or []:
            if isinstance(file, Mapping) and file.get("file_id"):
                yield f"file:{file['file_id']}", _file_row(file)
    elif value.kind == "photo" and not value.empty:
        for url in as_list(value.json) or []:
            if url:
                digest = hashlib.sha256(str(url).encode()).hexdigest()
                yield f"photo:{digest}", {**_file_row({}), "kind": "photo", "url": url}


def _file_row(file: Mapping[str, Any]) -> Row:
    return {
        "kind": "file",
        "file_name": as_text(file.get("file_name")),
        "file_type": as_text(file.get("file_type")),
        "file_size": as_int(file.get("file_size")),
        "url": None,
        "state": WAITING,
        "reason": None,
    }


def _snake(file: Mapping[str, Any]) -> dict[str, Any]:
    """A record's file, which the API's two generations spell differently."""
    names = {"file_name": "fileName", "file_type": "fileType", "file_size": "fileSize"}
    return {ours: first(file.get(ours), file.get(theirs)) for ours, theirs in names.items()}

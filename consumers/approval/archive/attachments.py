"""Which files an approval has, from the API's document: attachments, photos, files of its records. Pure.

Not here: how they are downloaded (``downloads.py``).
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any
from zoneinfo import ZoneInfo

from dingbridge.consumers.approval.archive.components import Value, file_shape
from dingbridge.consumers.approval.archive.document import (
    Row,
    cell_name,
    cell_value,
    cells_of,
    objects,
    value_of,
)
from dingbridge.snapshots.coerce import as_int, as_list, as_text

WAITING, DONE, REFUSED = "waiting", "done", "refused"
"""States of ``approval_attachments``: to be downloaded, once ``ARCHIVE_DIR`` is set; downloaded; never, for
the ``reason`` beside it."""


def attachment_rows(document: Mapping[str, Any], zone: ZoneInfo) -> dict[str, Row]:
    """The rows of ``approval_attachments`` by ``attachment_id``, without keys and without what is known only
    once they are downloaded. A file that is in two places is the first one's."""
    found: dict[str, Row] = {}
    for field_name, value in _values(document, zone):
        for id_, row in _of_value(value):
            found.setdefault(id_, {**row, "field_name": field_name})
    for _, record in objects(document.get("operationRecords")):
        for _, file in objects(record.get("attachments")):
            if file_id := as_text(file.get("fileId")):
                row = _file_row(file_shape(file)) | {"kind": "record", "field_name": None}
                found.setdefault(f"file:{file_id}", row)
    return found


def _values(document: Mapping[str, Any], zone: ZoneInfo) -> Iterator[tuple[str | None, Value]]:
    """Name and value of every field and of every cell of the form's tables."""
    for _, field in objects(document.get("formComponentValues")):
        name = as_text(field.get("name"))
        yield name, value_of(field, zone)
        for _, cell in cells_of(field):
            yield f"{name}.{cell_name(cell)}", cell_value(cell, zone)


def _of_value(value: Value) -> Iterator[tuple[str, Row]]:
    if value.kind == "attachment":
        for file in as_list(value.json) or []:
            if isinstance(file, Mapping) and file.get("file_id"):
                yield f"file:{file['file_id']}", _file_row(file)
    elif value.kind == "photo" and not value.empty:
        for url in as_list(value.json) or []:
            if url:
                digest = hashlib.sha256(str(url).encode()).hexdigest()
                yield f"photo:{digest}", {**_file_row({}), "kind": "photo", "app": "", "url": url}


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

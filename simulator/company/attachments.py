"""The files that hang on approvals: what the form says of them, and bytes that fit it."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any


@dataclass(frozen=True, slots=True)
class Attachment:
    """One file; ``size`` in bytes, as the form says it."""

    space_id: str
    file_id: str
    name: str
    size: int

    def content(self) -> bytes:
        """The file. Always the same bytes for the same id; nothing that a program could open."""
        return Random(f"file {self.file_id}").randbytes(self.size)  # noqa: S311


def attachments_of(form: Iterable[Mapping[str, Any]]) -> list[Attachment]:
    """The files that a form's ``DDAttachment`` fields name, in their order."""
    found = []
    for component in form:
        if component["component_type"] == "DDAttachment":
            for entry in json.loads(component["value"]):
                found.append(
                    Attachment(entry["spaceId"], entry["fileId"], entry["fileName"], int(entry["fileSize"]))
                )
    return found

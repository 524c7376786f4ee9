"""Which files there are, and their texts."""

import json
from pathlib import Path
from typing import Any, Final

from dev.schemas import contract, outbound, pages, payloads
from dev.schemas.json_schema import data_schema, document, envelope_schema
from dingbridge.events.catalogue import EventSpec, catalogue
from dingbridge.events.envelope import Record, urn
from dingbridge.testing.recordings import recorded

ROOT: Final = Path(__file__).parents[2]

EXAMPLES: Final = ROOT / "schemas" / "examples"

FOLDERS: Final = (
    "schemas/json",
    "schemas/json-2020-12",
    "schemas/outbound",
    "docs/reference/catalogue",
    "dingbridge/generated",
)
"""Folders in which every file is made here: another one is left over, and removed."""

GENERATED: Final = '"""Made from the catalogue by ``python -m dev.schemas``; do not edit."""\n'
ENVELOPE_URN: Final = urn("envelope", 1)


def specs() -> list[EventSpec]:
    """All entries of the catalogue, in its order."""
    return [*catalogue.values()]


def examples() -> dict[str, list[Record]]:
    """Records by EventType: what is published for the recorded callbacks."""
    return {spec.event_type: recorded(EXAMPLES / f"{spec.event_type}.json") for spec in specs()}


def texts() -> dict[str, str]:
    """``{path below the repository: text}`` of all generated files."""
    found = {}
    for name, schema in outbound.schemas().items():
        identity = urn(f"outbound:{name}", 1)
        found[f"schemas/outbound/{name}.json"] = as_text(document(schema, "2020-12", identity))
    every, records = specs(), examples()
    for spec in every:
        name, schema = f"{spec.event_type}.json", data_schema(spec)
        found[f"schemas/json/{name}"] = as_text(document(schema, "draft-07"))
        identity = urn(spec.event_type, spec.version)
        found[f"schemas/json-2020-12/{name}"] = as_text(document(schema, "2020-12", identity))
    found["schemas/asyncapi.json"] = as_text(contract.asyncapi(every, records), indent=1)
    found |= pages.texts(every, records)
    found["dingbridge/generated/__init__.py"] = GENERATED
    found["dingbridge/generated/payloads.py"] = payloads.text(every)
    envelope = envelope_schema()
    found["schemas/json/envelope.json"] = as_text(document(envelope, "draft-07"))
    found["schemas/json-2020-12/envelope.json"] = as_text(document(envelope, "2020-12", ENVELOPE_URN))
    return found


def stale() -> list[str]:
    """The generated files that are not what they would be now, missing and left over ones included."""
    return _stale(texts())


def _stale(wanted: dict[str, str]) -> list[str]:
    differ = [path for path, text in wanted.items() if _read(ROOT / path) != text]
    return sorted([*differ, *_left_over(wanted)])


def write() -> list[str]:
    """Write what is stale, and return its paths."""
    wanted = texts()
    changed = _stale(wanted)
    for path in changed:
        if path in wanted:
            (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / path).write_text(wanted[path], encoding="utf-8")
        else:
            (ROOT / path).unlink()
    return changed


def as_text(document: dict[str, Any], indent: int = 2) -> str:
    return json.dumps(document, ensure_ascii=False, indent=indent) + "\n"


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _left_over(wanted: dict[str, str]) -> list[str]:
    there = (path for folder in FOLDERS for path in (ROOT / folder).glob("*") if path.is_file())
    return [name for path in there if (name := path.relative_to(ROOT).as_posix()) not in wanted]

"""How ``dingbridge journal`` prints a callback: an entry of the list, all of it, a line of the export."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

from dingbridge.events import extract_facts
from dingbridge.masking import mask
from ingress.journal.inspect import InspectedCallback

COLUMNS = ("seq", "received", "app", "via", "type", "state")


def state(found: InspectedCallback) -> str:
    """``waiting``, ``published`` or ``parked: rights``; with ``, damaged`` where the disk has changed it."""
    words = f"{found.state}: {', '.join(found.reasons)}" if found.parked else found.state
    return words if found.row.intact or "damaged" in words else f"{words}, damaged"


def entry(found: InspectedCallback) -> dict[str, Any]:
    """For the list; of a damaged one only what can be believed."""
    row = found.row
    return {
        "seq": row.seq,
        "received": iso(row.received_ms) if row.intact else None,
        "app": row.app if row.intact else None,
        "via": row.via if row.intact else None,
        "type": extract_facts(row.body).event_type if row.intact else None,
        "state": state(found),
        "journal": found.journal,
    }


def whole(found: InspectedCallback, reveal: bool) -> str:
    """A line about the callback, and the callback; masked unless ``reveal``."""
    row = found.row
    lines = [f"# seq {row.seq} of journal {found.journal}, {state(found)}"]
    if row.intact:
        lines.append(f"# received {iso(row.received_ms)}, app {row.app or '-'}, via {row.via}")
    elif row.body:
        lines.append("# it does not fit its checksum: DingTalk said something else than this")
    else:
        lines.append("# nothing of it can be read")
    return "\n".join([*lines, _text(row.body, reveal)] if row.body else lines)


def exported(found: InspectedCallback) -> dict[str, Any]:
    """For a line of the export; ``damaged`` only where it is."""
    row = found.row
    return {
        "journal": found.journal,
        "seq": row.seq,
        "received_ms": row.received_ms,
        "app": row.app,
        "via": row.via,
        "body_base64": base64.b64encode(row.body).decode(),
        **({} if row.intact else {"damaged": True}),
    }


def _text(body: bytes, reveal: bool) -> str:
    """The body as JSON, with private values masked unless ``reveal``; what is no JSON only then."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "backslashreplace") if reveal else f"*** ({len(body)} bytes, no JSON)"
    return json.dumps(value if reveal else mask(value), ensure_ascii=False, indent=2)


def iso(ms: int) -> str:
    """``ms`` of the epoch as UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

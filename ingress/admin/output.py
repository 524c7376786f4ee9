"""How ``dingbridge journal`` prints a callback: a line of the list, the whole of it, a line of the export."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ingress.journal.inspect import Seen


def state(seen: "Seen") -> str:
    """``waiting``, ``published`` or ``parked: rights``; with ``, damaged`` where the disk has changed it."""
    words = f"{seen.state}: {', '.join(seen.reasons)}" if seen.parked else seen.state
    return words if seen.row.intact or seen.lost else f"{words}, damaged"


def line(seen: "Seen") -> str:
    """seq, receipt, app, source, EventType, state, journal; of a damaged one only what can be believed."""
    from dingbridge.events import extract_facts

    row = seen.row
    told = ["-"] * 4
    if row.intact:
        told = [iso(row.received_ms), row.app, row.via, extract_facts(row.body).event_type or "-"]
    return "\t".join([str(row.seq), *told, state(seen), seen.journal])


def whole(seen: "Seen", reveal: bool) -> str:
    """A line about the callback, and the callback; masked unless ``reveal``."""
    row = seen.row
    lines = [f"# seq {row.seq} of journal {seen.journal}, {state(seen)}"]
    if row.intact:
        lines.append(f"# received {iso(row.received_ms)}, app {row.app}, via {row.via}")
    elif row.body:
        lines.append("# it does not fit its checksum: DingTalk said something else than this")
    else:
        lines.append("# nothing of it can be read")
    return "\n".join([*lines, text(row.body, reveal)] if row.body else lines)


def exported(seen: "Seen") -> dict[str, Any]:
    """For a line of the export; ``damaged`` only where it is."""
    import base64

    row = seen.row
    return {
        "journal": seen.journal,
        "seq": row.seq,
        "received_ms": row.received_ms,
        "app": row.app,
        "via": row.via,
        "body_base64": base64.b64encode(row.body).decode(),
        **({} if row.intact else {"damaged": True}),
    }


def text(body: bytes, reveal: bool) -> str:
    """The body as JSON, with private values masked unless ``reveal``; what is no JSON only then."""
    import json

    from dingbridge.masking import mask

    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "backslashreplace") if reveal else f"*** ({len(body)} bytes, no JSON)"
    return json.dumps(value if reveal else mask(value), ensure_ascii=False, indent=2)


def iso(ms: int) -> str:
    """``ms`` of the epoch as UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")

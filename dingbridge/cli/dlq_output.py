"""How ``dingbridge dlq`` prints dead letters: as a table, as lines, as JSON; private values masked."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dingbridge.replay.dead_letters import Letter

COLUMNS = ("place", "type", "key", "error", "attempts", "at", "blocking id", "settled by")

SAFE_HEADERS = frozenset(
    {"content-type", "dingbridge-type", "dingbridge-corp", "dingbridge-replay-id", "dingbridge-replay-from"}
)
"""Headers without private values: an event's id may hold the user's, and what others put in is not known."""


SAFE_ATTRIBUTES = frozenset(
    {"specversion", "source", "type", "time", "datacontenttype", "dataschema", "sequence", "journal"}
    | {"receivedtime", "via", "form", "traceparent"}
)
"""What an envelope holds that is nobody's."""


def cells(letter: "Letter", by: str | None, reveal: bool) -> list[str]:
    """One letter as a row under ``COLUMNS``."""
    texts = (
        letter.place,
        letter.event_type,
        letter.key if reveal else letter.masked_key,
        letter.error,
        letter.attempts,
        letter.at.isoformat(timespec="seconds").replace("+00:00", "Z") if letter.at else "-",
        letter.blocking_id or "-",
        by or "-",
    )
    # nothing in it can command a terminal
    return ["".join(c if c.isprintable() else " " for c in text) for text in texts]


def draw(rows: list[list[str]]) -> None:
    """A table for a terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for column in COLUMNS:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def as_object(letter: "Letter", by: str | None, reveal: bool) -> dict[str, Any]:
    """What ``--json`` prints of one letter in a list."""
    topic, partition, offset = letter.first
    return {
        "place": letter.place,
        "type": letter.event_type,
        "key": letter.key if reveal else letter.masked_key,
        "error": letter.error,
        "attempts": int(letter.attempts) if letter.attempts.isdecimal() else None,
        "at": letter.at.isoformat(timespec="milliseconds").replace("+00:00", "Z") if letter.at else None,
        "blocking_id": letter.blocking_id,
        "replay_id": letter.replay_id,
        "settled_by": by,
        "first": {"topic": topic, "partition": partition, "offset": offset},
    }


def print_whole(letter: "Letter", by: str | None, reveal: bool, as_json: bool) -> None:
    """One letter with its other headers and its value."""
    from dingbridge.cli.terminal import print_json

    head = as_object(letter, by, reveal)
    headers = [[name, shown_header(name, data, reveal)] for name, data in _other_headers(letter)]
    value, pretty = _value(letter.record.value, reveal)
    if as_json:
        print_json({**head, "headers": headers, "value": value})
        return
    for name, found in head.items():
        if isinstance(found, dict):
            found = "/".join(map(str, found.values()))
        print(f"{name:<12}{'-' if found is None else found}")
    for name, text in headers:
        print(f"{'header':<12}{name} = {text}")
    print(pretty)


def _other_headers(letter: "Letter") -> list[tuple[str, bytes]]:
    return [(n, data or b"") for n, data in letter.record.headers if not n.startswith("dingbridge-dlq-")]


def shown_header(name: str, data: bytes, reveal: bool) -> str:
    """The text of a header, masked unless it is known to hold nothing private, or ``reveal``."""
    text = data.decode(errors="replace")
    return text if reveal or name in SAFE_HEADERS else f"***({len(text)})"


def _masked(value: bytes, found: Any) -> Any:
    from dingbridge.events import NotAnEvent, decode
    from dingbridge.masking import mask

    masked = mask(found)
    try:
        decode(value)
    except NotAnEvent:
        return masked  # somebody else's: what its names mean is not known
    return {name: found[name] if name in SAFE_ATTRIBUTES else value for name, value in masked.items()}


def _value(value: bytes | None, reveal: bool) -> tuple[Any, str]:
    """The value for JSON, and as text."""
    import orjson

    if value is None:
        return None, "the record has no value"
    try:
        found = orjson.loads(value)
    except ValueError:
        text = value.decode(errors="replace")
        return (text, text) if reveal else (None, f"no JSON, {len(value)} bytes; --reveal shows it")
    shown = found if reveal else _masked(value, found)
    return shown, orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode()

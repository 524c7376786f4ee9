"""How ``dingbridge dlq`` prints dead letters: ids and types as in logs, other values masked."""

from datetime import datetime
from typing import Any, Literal

import orjson

from dingbridge.cli.terminal import print_json
from dingbridge.events import NotAnEvent, decode
from dingbridge.events.foreign import whole_number
from dingbridge.masking import mask, mask_event, reveal_bytes, shown_header
from dingbridge.masking import reveal as revealed
from dingbridge.replay.dead_letter_queue import DeadLetterGroup, Selection
from dingbridge.replay.dead_letters import DeadLetter

REASON_COLUMNS = ("count", "type", "error", "oldest", "newest")
Verb = Literal["send", "skip"]
"""The commands on dead letters."""

COLUMNS = ("place", "type", "key", "error", "reason", "attempts", "at", "settled_by")


def as_object(found: DeadLetter, by: str | None) -> dict[str, Any]:
    """One dead letter of a list; ``by`` is what settled it."""
    topic, partition, offset = found.first
    return {
        "place": found.place,
        "type": found.event_type,
        "key": found.key,
        "error": found.error,
        "reason": found.reason or None,
        "attempts": whole_number(found.attempts),
        "at": _iso(found.at),
        "settled_by": by,
        "key_hash": found.hashed_key,
        "replay_id": found.replay_id,
        "first": {"topic": topic, "partition": partition, "offset": offset},
    }


def reason_as_object(group: DeadLetterGroup) -> dict[str, Any]:
    """How many wait for one reason."""
    return {
        "count": group.count,
        "type": group.event_type,
        "error": group.error,
        "oldest": _iso(group.oldest),
        "newest": _iso(group.newest),
    }


def _iso(at: datetime | None) -> str | None:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z") if at else None


def selection_as_object(selected: Selection, done: int, verb: Verb) -> dict[str, Any]:
    """What will be done, and to how many letters."""
    numbers = {"dead_letters": dict(sorted(selected.by_type.items())), "left_out": selected.settled}
    if verb == "skip":
        return {**numbers, "to_skip": selected.count, "skipped": done}
    return {"run": selected.run, **numbers, "to_send": selected.count, "sent": done}


def print_selection(selected: Selection, verb: Verb) -> None:
    """The same as lines, before anything is done."""
    for event_type, number in sorted(selected.by_type.items()):
        print(f"letters    {number}\t{event_type}")
    if selected.settled:
        print(f"left out   {selected.settled} that were replayed or skipped before")
    if verb == "send":
        print(f"run        {selected.run}")
    print(f"to {verb}    {selected.count}", flush=True)


def print_whole(found: DeadLetter, by: str | None, reveal: bool, as_json: bool) -> None:
    """Print one dead letter with frames, other headers and value."""
    head = as_object(found, by)
    headers = [[name, shown_header(name, data, revealed=reveal)] for name, data in _other_headers(found)]
    value, pretty = _value(found.record.value, reveal)
    if as_json:
        print_json({**head, "frames": found.frames, "headers": headers, "value": value})
        return
    for name, entry in head.items():
        text = "/".join(map(str, entry.values())) if isinstance(entry, dict) else entry
        print(f"{name:<12}{'-' if text is None else text}")
    for frame in found.frames:
        print(f"{'frame':<12}{frame}")
    for name, text in headers:
        print(f"{'header':<12}{name} = {text}")
    print(pretty)


def _other_headers(found: DeadLetter) -> list[tuple[str, bytes]]:
    return [(n, data or b"") for n, data in found.record.headers if not n.startswith("dingbridge-dlq-")]


def _value(value: bytes | None, reveal: bool) -> tuple[Any, str]:
    """The value for JSON, and as text."""
    if value is None:
        return None, "the record has no value"
    try:
        shown = orjson.loads(value)
    except ValueError:
        text = reveal_bytes(value).decode(errors="replace")
        return (text, text) if reveal else (None, f"no JSON, {len(value)} bytes; --reveal shows it")
    if reveal:
        shown = revealed(shown)
    else:
        try:
            decode(value)
            shown = mask_event(shown)
        except NotAnEvent:
            shown = mask(shown)  # a foreign record: its names are not listed as harmless
    return shown, orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode()

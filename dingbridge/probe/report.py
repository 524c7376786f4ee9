"""The report: names of fields, types, lengths, codes and times, and nothing that a tenant would call its own.

No value of a reply or an event gets in here, and of a name only what ``names`` lets through. A finding stands
with its code and the names in it; DingTalk's own words, which may name somebody, stay on the terminal.
"""

import json
import platform as machine
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from dingbridge.doctor.findings import Finding, Words
from dingbridge.probe.compare import FieldSeen, fields_of
from dingbridge.probe.judge import clocks, exit_code, found_in, refused
from dingbridge.probe.lag import Watched, distribution
from dingbridge.probe.names import shown_code, shown_path
from dingbridge.probe.recorder import Reply
from dingbridge.probe.run import Reading, counts

FORMAT: Final = 1
_BEGINS: Final = b'{\n "report":'
_OURS: Final = ("address-sync", "approval", "forward", "ingress", "outbound")
_NAMED: Final = (
    "api",
    "field",
    "fields",
    "declared",
    "seen",
    "refused",
    "event_type",
    "count",
    "of",
    "steps",
)
_NAMED_TOO: Final = ("forms", "apis")
"""The values of a finding that are names, codes or counts."""


def build(
    readings: Sequence[Reading],
    findings: Iterable[Finding],
    words: Mapping[str, Words],
    *,
    parts: Iterable[str],
    watched: Watched | None = None,
) -> dict[str, Any]:
    """The report as plain JSON."""
    findings = list(findings)
    return {
        "report": FORMAT,
        "dingbridge": version("dingbridge"),
        "python": machine.python_version(),
        "parts": sorted({part if part in _OURS else "(another consumer)" for part in parts}),
        "exit_code": exit_code(findings, words),
        "findings": [_finding(finding, words) for finding in findings],
        "calls": _calls(readings),
        "clocks": [one._asdict() for one in clocks(readings)],
        "events": None if watched is None else _events(watched),
    }


def replaceable(path: Path) -> bool:
    """Whether a report written there would take the place of nothing but an older one."""
    if not path.is_file():
        return True
    with path.open("rb") as file:
        return file.read(len(_BEGINS)) in (b"", _BEGINS)


def write(document: Mapping[str, Any], path: Path) -> None:
    text = json.dumps(document, ensure_ascii=False, indent=1)
    path.write_text(text + "\n", encoding="utf-8")


def _finding(finding: Finding, words: Mapping[str, Words]) -> dict[str, Any]:
    kept = {name: finding.values[name] for name in (*_NAMED, *_NAMED_TOO) if name in finding.values}
    if isinstance(permission := finding.values.get("permission"), str):
        kept["permission"] = shown_code(permission)
    return {"code": finding.code, "level": finding.level(words), **kept}


def _calls(readings: Sequence[Reading]) -> dict[str, Any]:
    differences: dict[str, list[dict[str, str]]] = {}
    for api, _, difference in found_in(readings):
        differences.setdefault(api, []).append(difference._asdict())
    replies: dict[str, list[Reply]] = {reading.api: [] for reading in readings}
    refusals: dict[str, list[str]] = {}
    for reading in readings:
        for reply in reading.replies:  # a new token's may be among them
            replies.setdefault(reply.api or reading.api, []).append(reply)
        if reading.error is not None:
            refusals.setdefault(reading.api, []).append(refused(reading.error))
    return {
        api: _call(api, came) | {"refusals": refusals.get(api, []), "differences": differences.get(api, [])}
        for api, came in replies.items()
    }


def _call(api: str, replies: Sequence[Reply]) -> dict[str, Any]:
    took_ms = [round(reply.took_s * 1000) for reply in replies]
    fields: dict[str, FieldSeen] = {}
    for reply in replies:
        if reply.succeeded:
            fields_of(reply.body, fields)
    return {
        "requests": len(replies),
        "counted": counts(api),
        "ms": [min(took_ms), round(statistics.median(took_ms)), max(took_ms)] if took_ms else [],
        "answers": dict(Counter(_answer(reply) for reply in replies)),
        "fields": {path: _field(seen) for path, seen in fields.items()},
    }


def _answer(reply: Reply) -> str:
    """HTTP status and codes of a reply, such as ``200 88/60011``."""
    body = reply.body if isinstance(reply.body, dict) else {}
    codes = [shown_code(body.get(name)) for name in ("errcode", "code", "sub_code")]
    return f"{reply.status} " + "/".join(str(code) for code in codes if code is not None)


def _field(seen: FieldSeen) -> dict[str, Any]:
    lengths = [] if seen.shortest is None else [seen.shortest, seen.longest]
    return {"times": seen.times, "types": dict(seen.types), "lengths": lengths}


def _events(watched: Watched) -> dict[str, Any]:
    return {
        "types": dict(watched.events),
        "lags": distribution(watched.lags),
        "refusals": sorted({str(shown_code(lag.refusal)) for lag in watched.lags if lag.refusal}),
        "left_out": watched.left_out,
        "drift": {
            event_type: sorted(f"{one.kind} {shown_path(one.field)}" for one in drift)
            for event_type, drift in watched.drift.items()
            if drift
        },
    }

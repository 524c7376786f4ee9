"""Which approval events the installed parts need, as paths that DingTalk's console takes as rules.

Without a rule every event of a type is pushed, and counts; with rules only events that match one
(overview-of-event-subscription). No API returns the rules that are entered. Pure.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from dingbridge.doctor.findings import Both, Finding, found

EVENT_TYPE: Final = "bpms_instance_change"
_TYPES: Final = ("start", "finish", "terminate", "delete")
"""In the order in which they are printed (event-bpms-instance-change)."""

Templates = Mapping[str, Collection[str]]
"""The types of event that a part needs of each template, by process code."""


def path(process_code: str, types: Collection[str]) -> str:
    """The rule for these types of one template."""
    wanted = [kind for kind in _TYPES if kind in types]
    kinds = f"{{{','.join(wanted)}}}" if len(wanted) > 1 else wanted[0]
    return f"/v1.0/event/{EVENT_TYPE}/processCode/{process_code}/type/{kinds}"


def judge(wanted: Mapping[str, Templates], readers: Iterable[str]) -> list[Finding]:
    """``wanted`` is by part; ``readers`` are the parts that read approval events, whatever they need."""
    types: dict[str, set[str]] = {}
    for templates in wanted.values():
        for code, kinds in templates.items():
            types.setdefault(code, set()).update(kinds)
    if not types:
        return []
    others = [part for part in readers if not wanted.get(part)]
    also = Both("", "")
    if others:
        names = ", ".join(others)
        also = Both(
            f" {names}: reads approvals and names no template.", f"{names} 也读取审批，但没有指定模板。"
        )
    paths = [path(code, kinds) for code, kinds in sorted(types.items())]
    return [found("events.templates", templates=sorted(types), paths=paths, also=also)]

"""Checks that belong to one part of the bridge, or to another package: found by their entry points.

An entry point of the group ``dingbridge.checks`` is named after the part that it looks into (``ingress``, or
a consumer), and leads to a ``Check``, which is loaded when the doctor runs.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.doctor.checks.platform import Call, Known
from dingbridge.doctor.checks.subscription import Templates
from dingbridge.doctor.context import Context
from dingbridge.doctor.findings import Finding, Words, found

GROUP: Final = "dingbridge.checks"


@dataclass(frozen=True, slots=True)
class Check:
    """What a part adds to the doctor: ``words`` for the codes of its findings; ``look``, which makes them;
    ``calls`` of the Open API that the part makes, to be tried for their permissions (and read once more by
    ``dingbridge probe``); what they return they add to what is known; ``templates`` whose approvals it is
    configured for."""

    words: Mapping[str, Words] = field(default_factory=dict)
    look: Callable[[Context], Awaitable[list[Finding]]] | None = None
    calls: Callable[[DingTalkClient, Known], Sequence[Call]] | None = None
    templates: Callable[[], Templates] | None = None


def calls_of(checks: Mapping[str, Check], client: DingTalkClient, known: Known) -> dict[str, Sequence[Call]]:
    """``{part: calls}`` of those that make any."""
    return {name: check.calls(client, known) for name, check in checks.items() if check.calls is not None}


def load_checks(points: Iterable[EntryPoint] | None = None) -> tuple[dict[str, Check], list[Finding]]:
    """``{part: check}``, and a finding for each that does not load."""
    checks: dict[str, Check] = {}
    findings = []
    for point in sorted(entry_points(group=GROUP) if points is None else points):
        try:
            check = point.load()
            if not isinstance(check, Check):
                raise TypeError
        except Exception as error:  # somebody else's module: anything may come out of it
            package = point.dist.name if point.dist else point.value
            values = {"part": point.name, "module": point.value, "error": type(error).__name__}
            findings.append(found("doctor.check", **values, package=package))
        else:
            checks[point.name] = check
    return checks, findings

"""The month so far against the free plan, by our own count. Pure.

API calls are counted by ``dingbridge.api_budget``, pushes by what is in Kafka.
"""

from collections.abc import Mapping
from typing import Any, Final

from dingbridge.doctor.findings import Both, Finding, found

CALLS, PUSHES = 5_000, 3_000
"""The free plan's, a month (appendix-b-proposals-for-rational-use-of-resources)."""
_NEAR: Final = 0.8


def judge(spent: Mapping[str, Any], pushes: int | None, *, all_pushes: bool) -> list[Finding]:
    """``spent`` is ``ApiCalls.spent()``; ``pushes`` is ``None`` if they could not be counted. Not
    ``all_pushes``: so many at least, since Kafka has deleted older ones."""
    month, calls = spent["month"], int(spent["calls"])
    findings = []
    if calls >= CALLS:
        findings.append(found("quota.calls_spent", month=month, calls=calls, by_api=spent["by_api"]))
    elif calls >= _NEAR * CALLS:
        findings.append(found("quota.calls", month=month, calls=calls, by_api=spent["by_api"]))
    shown = None
    if pushes is not None:
        shown = Both(f"{pushes:,}", f"{pushes:,}")
        if not all_pushes:
            shown = Both(f"at least {pushes:,}", f"至少 {pushes:,}")
    if pushes is not None and pushes >= PUSHES:
        findings.append(found("quota.pushes_spent", month=month, pushes=shown))
    elif pushes is not None and pushes >= _NEAR * PUSHES:
        findings.append(found("quota.pushes", month=month, pushes=shown))
    if findings:
        return findings
    if shown is None:
        return [found("quota.pushes_unknown", month=month, calls=calls)]
    return [found("quota.ok", month=month, calls=calls, pushes=shown)]

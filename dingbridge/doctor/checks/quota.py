"""How much of the month's budget of API calls is used, by our own count (``dingbridge.worker.api``). Pure."""

from collections.abc import Mapping
from typing import Any, Final

from dingbridge.doctor.findings import Finding, found

_NEAR: Final = 0.8
"""From this share on resyncs stop."""


def judge(spent: Mapping[str, Any], budget: int) -> list[Finding]:
    """``spent`` is ``ApiCalls.spent()``; ``budget`` is ``API_MONTHLY_BUDGET``, 0 for no limit."""
    calls = int(spent["calls"])
    if not budget or calls < _NEAR * budget:
        return []
    return [found("quota.calls", month=spent["month"], calls=calls, budget=budget, by_api=spent["by_api"])]

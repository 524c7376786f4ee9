"""What is used of the plan's month, by our own count. Pure.

API calls are counted by ``dingbridge.worker.api.budget``, pushes by the ingress: a callback that it kept is
one, however many records it becomes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dingbridge.doctor.findings import Finding, found

_NEAR: Final = 0.8
_MONTH_DAYS: Final = 30


@dataclass(frozen=True, slots=True)
class Pushes:
    """``count`` callbacks of EventTypes that count, kept within ``days``, since the ingress started."""

    count: int
    days: float


def judge_calls(spent: Mapping[str, Any], plan: int) -> list[Finding]:
    """``spent`` is ``ApiCalls.spent()``; ``plan`` is ``DINGTALK_PLAN_CALLS``, 0 for a plan that is not
    known."""
    if not plan:
        return []
    calls = int(spent["calls"])
    code = "quota.calls" if calls >= _NEAR * plan else "quota.calls_ok"
    return [found(code, month=spent["month"], calls=calls, plan=plan, by_api=spent["by_api"])]


def judge_pushes(pushes: Pushes, plan: int) -> list[Finding]:
    """``plan`` is ``DINGTALK_PLAN_PUSHES``. Of an ingress that has run for longer than a month, the average
    of a month counts."""
    if not plan:
        return []
    share = pushes.count / max(1.0, pushes.days / _MONTH_DAYS) / plan
    code = "quota.pushes" if share >= _NEAR else "quota.pushes_ok"
    values = {"pushes": pushes.count, "days": max(1, round(pushes.days))}
    return [found(code, **values, plan=plan, percent=round(100 * share))]

"""An approval's clocks against each other: is the Z of v1.0's times believed rightly to be false? Pure.

``createTime`` is China's wall clock with a Z, to the minute; ``businessId`` begins with the start's minute in
China; an instance's id of 38 characters ends with the start in epoch seconds (all three: captured, 2022 to
2026; no page says so).
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, Final, Literal, NamedTuple

FORM: Final = "9999-99-99T99:99Z"
_CHINA: Final = timezone(timedelta(hours=8))  # no summer time since 1991
_MINUTE: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d)")
_BUSINESS_ID: Final = re.compile(r"(\d{12})\d{9}")
_INSTANCE_ID: Final = re.compile(r"[A-Za-z0-9_-]{22}\d{4}(\d{10})")

Zone = Literal["false", "true", "unclear"]


class Clocks(NamedTuple):
    """Of one approval: ``form`` of its createTime, digits as 9; whether its Z is ``false`` (China's clock),
    ``true`` (UTC) or ``unclear``; whether the second in its id agrees with businessId, ``None`` without."""

    form: str
    zone: Zone
    id_agrees: bool | None


def clocks_of(instance_id: str, approval: Mapping[str, Any]) -> Clocks:
    """The clocks of one detail."""
    text = str(approval.get("createTime") or "")
    match = _MINUTE.match(text)
    begins = _BUSINESS_ID.fullmatch(str(approval.get("businessId") or ""))
    zone: Zone = "unclear"
    if match is not None and begins is not None:
        minute = "".join(match.groups())
        if minute == begins[1]:
            zone = "false"
        elif (local := _later(minute, hours=8)) is not None and local == begins[1]:
            zone = "true"
    ends = _INSTANCE_ID.fullmatch(instance_id)
    agrees = None
    if ends is not None and begins is not None:
        agrees = datetime.fromtimestamp(int(ends[1]), _CHINA).strftime("%Y%m%d%H%M") == begins[1]
    return Clocks(form_of(text), zone, agrees)


def form_of(text: str) -> str:
    """``text`` with a 9 for each digit and an ``a`` for each letter that no time has; at most 40 long."""
    return "".join("9" if c.isdigit() else c if c in "-: TZ+./" else "a" for c in text[:40])


def _later(minute: str, *, hours: int) -> str | None:
    try:
        return (datetime.strptime(minute, "%Y%m%d%H%M") + timedelta(hours=hours)).strftime("%Y%m%d%H%M")
    except ValueError:
        return None

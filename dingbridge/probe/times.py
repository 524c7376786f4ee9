"""An approval's clocks against each other: is the Z of v1.0's times believed rightly to be false? Pure.

Beside ``createTime`` and ``businessId`` (``dingbridge/dingtalk/clock.py``), an instance's id of 38 characters
ends with the start in epoch seconds (captured, 2022 to 2026; no page says so).
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from dingbridge.dingtalk.clock import CHINA, Zone, start_of, zone_of

FORM: Final = "9999-99-99T99:99Z"
_INSTANCE_ID: Final = re.compile(r"[A-Za-z0-9_-]{22}\d{4}(\d{10})", re.ASCII)


class Clocks(NamedTuple):
    """Of one approval: ``form`` of its createTime, digits as 9; whether its Z is ``false`` (China's clock),
    ``true`` (UTC) or ``unclear``; whether the second in its id agrees with businessId, ``None`` without."""

    form: str
    zone: Zone
    id_agrees: bool | None


def clocks_of(instance_id: str, approval: Mapping[str, Any]) -> Clocks:
    """The clocks of one detail."""
    text = str(approval.get("createTime") or "")
    start, ends = start_of(approval.get("businessId")), _INSTANCE_ID.fullmatch(instance_id)
    agrees = None
    if ends is not None and start is not None:
        begun = datetime.fromtimestamp(int(ends[1]), CHINA)
        agrees = begun.replace(second=0, tzinfo=None) == start
    return Clocks(form_of(text), zone_of(text, approval.get("businessId")), agrees)


def form_of(text: str) -> str:
    """``text`` with a 9 for each digit and an ``a`` for each letter that no time has; at most 40 long."""
    return "".join("9" if c.isdigit() else c if c in "-: TZ+./" else "a" for c in text[:40])

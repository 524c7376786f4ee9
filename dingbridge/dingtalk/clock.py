"""Whose clock an approval's times of the newer API show: China's, with a ``Z`` that is false. Pure; never
raises.

``createTime`` is China's wall clock in minutes (``2026-04-16T15:34Z`` is 07:34 UTC; captured 2023-05 and
2026-04), wherever the company is. ``businessId`` begins with the minute of the start on the same clock
(yyyyMMddHHmm and nine digits; captured, 13 of 13). Where ``createTime`` is eight hours behind it, the ``Z``
is true: no capture has that, the international cloud may.
"""

import re
from datetime import datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

CHINA: Final = ZoneInfo("Asia/Shanghai")
"""It had summer time from 1986 to 1991: dates of birth and of hiring are that old."""
MINUTE: Final = "%Y%m%d%H%M"
"""The beginning of a ``businessId``."""
Zone = Literal["false", "true", "unclear"]

_SHOWN: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d)", re.ASCII)
_NUMBER: Final = re.compile(r"(\d{12})\d{9}", re.ASCII)


def start_of(business_id: object) -> datetime | None:
    """The minute of the start on China's clock (without a zone); None for a number of another kind."""
    number = _NUMBER.fullmatch(str(business_id))
    try:
        return None if number is None else datetime.strptime(number[1], MINUTE)
    except ValueError:
        return None


def zone_of(create_time: object, business_id: object) -> Zone:
    """Whether the ``Z`` of an approval's times is ``false`` (they are China's), ``true`` (they are UTC) or
    ``unclear``, as there is nothing to compare with."""
    shown, start = _SHOWN.match(str(create_time).strip()), start_of(business_id)
    try:
        wall = None if shown is None else datetime.strptime("".join(shown.groups()), MINUTE)
    except ValueError:
        return "unclear"
    if wall is None or start is None:
        return "unclear"
    zones: dict[timedelta, Zone] = {timedelta(0): "false", timedelta(hours=8): "true"}
    return zones.get(start - wall, "unclear")

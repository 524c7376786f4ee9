"""Days and times as DingTalk writes them: in forms, where a person meant them, and in its API. Pure; never
raises.

A form's day is a day and has no zone: as a point in time it would be another day for half of the world. The
API's times are its own (``ApiClock``).
"""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from dingbridge.snapshots.coerce import as_text, from_epoch_ms

CHINA: Final = ZoneInfo("Asia/Shanghai")

_LOCAL = re.compile(
    r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})"
    r"(?:[T ]+(?:(\d{1,2}):(\d{2})(?::(\d{2}))?(?:\.\d+)?|上午|下午|AM|PM))?\s*(Z|[+-]\d{2}:?\d{2})?"
)


class ApiClock:
    """Reads the times of one document of the newer API: China's clock in minutes, with a false ``Z``
    (``2026-04-16T15:34Z`` is 07:34 UTC; captured 2023-05 and 2026-04), wherever the company is.

    ``businessId`` begins with the minute of the start on China's clock (yyyyMMddHHmm; captured, 13 of 13).
    Where ``create_time`` names that minute only once it is read as UTC, the ``Z`` of this document is true
    (``true_utc``). No capture has that; the international cloud may.
    """

    def __init__(self, create_time: object = None, business_id: object = None) -> None:
        self.true_utc = False
        digits = re.match(r"\d{12}", as_text(business_id) or "")
        wall = _naive(create_time) if isinstance(create_time, str) and create_time.endswith("Z") else None
        if digits is not None and wall is not None:
            numbered = f"{wall + timedelta(hours=8):%Y%m%d%H%M}" if wall.year < 9999 else ""
            self.true_utc = numbered == digits[0]

    def time(self, text: object) -> datetime | None:
        """The point in time (aware, UTC) that the API's ``text`` names; None when it names none."""
        if isinstance(text, str) and text.endswith("Z") and not self.true_utc:
            text = text[:-1]
        return local_time(text, CHINA)

    def finer(self, event_ms: object, text: object) -> datetime | None:
        """A time that an event has (epoch ms) and the API too (in minutes): the event's.

        Where both name the same minute, it is finer. Where they do not, it wins as well: it is a point in
        time that nobody has to interpret, the same whenever it is pushed, and the API may answer with what
        was so before.
        """
        return from_epoch_ms(event_ms) or self.time(text)


def local_time(text: object, zone: ZoneInfo) -> datetime | None:
    """The point in time (aware, UTC) that ``text`` names in ``zone``, unless it names its zone itself.

    Takes ``2024-11-08 10:00`` and ``10:00:30``. None for a day or half a day, which are no points in time.
    """
    match = _LOCAL.fullmatch(text.strip()) if isinstance(text, str) else None
    moment = _naive(text)
    if match is None or moment is None:
        return None
    try:
        if match[7] is not None:
            return datetime.fromisoformat(moment.isoformat() + match[7]).astimezone(UTC)
        return moment.replace(tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def local_day(text: object, zone: ZoneInfo) -> date | None:
    """The day that ``text`` names, with or without a time or half of the day (``2024-11-08 上午``) behind it.
    The day is the one in ``zone`` where ``text`` names another zone."""
    match = _LOCAL.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        return None
    if match[4] is not None:
        moment = local_time(text, zone)
        return None if moment is None else moment.astimezone(zone).date()
    try:
        return date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        return None


def _naive(text: Any) -> datetime | None:
    """The wall clock that ``text`` shows."""
    match = _LOCAL.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None or match[4] is None:
        return None
    try:
        return datetime(*(int(part or 0) for part in match.groups()[:6]))  # type: ignore[arg-type]
    except (ValueError, OverflowError):
        return None

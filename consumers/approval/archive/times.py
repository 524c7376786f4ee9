"""Local days and times as DingTalk writes them, in forms and in its API. Pure; never raises.

A form's day is a day and has no zone: as a point in time it would be another day for half of the world.
"""

import re
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

_LOCAL = re.compile(
    r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})"
    r"(?:[T ]+(?:(\d{1,2}):(\d{2})(?::(\d{2}))?(?:\.\d+)?|上午|下午|AM|PM))?\s*(Z|[+-]\d{2}:?\d{2})?"
)


def local_time(text: object, zone: ZoneInfo) -> datetime | None:
    """The point in time (aware, UTC) that ``text`` names in ``zone``, unless it names its zone itself.

    Takes ``2024-11-08 10:00`` and ``10:00:30``. None for a day or half a day, which are no points in time.
    """
    match = _LOCAL.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None or match[4] is None:
        return None
    year, month, day, hour, minute, second, offset = match.groups()
    try:
        moment = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second or 0))
        if offset is not None:
            return datetime.fromisoformat(moment.isoformat() + offset).astimezone(UTC)
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

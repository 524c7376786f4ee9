"""Local times as DingTalk writes them, in forms and in its API, as points in time. Pure; never raises."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_LOCAL = re.compile(
    r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})"
    r"(?:[T ]+(?:(\d{1,2}):(\d{2})(?::(\d{2}))?(?:\.\d+)?|(上午|下午|AM|PM)))?\s*(Z|[+-]\d{2}:?\d{2})?"
)


def local_time(text: object, zone: ZoneInfo, *, end: bool = False) -> datetime | None:
    """The point in time (aware, UTC) that ``text`` names in ``zone``, unless it names its zone itself.

    Takes ``2024-11-08``, with ``10:00`` or ``10:00:30``, and the half days of leave forms (``上午``).
    A day or half day is its first moment; with ``end`` it is its last, which is the next one's first.
    """
    match = _LOCAL.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        return None
    year, month, day, hour, minute, second, half, offset = match.groups()
    try:
        moment = datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0))
        if half is not None:
            moment += timedelta(hours=12 * ((half in ("下午", "PM")) + end))
        elif hour is None and end:
            moment += timedelta(days=1)
        if offset is not None:
            return datetime.fromisoformat(moment.isoformat() + offset).astimezone(UTC)
        return moment.replace(tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError):
        return None

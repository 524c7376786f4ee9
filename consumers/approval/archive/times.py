"""Days and times as DingTalk writes them: in forms, where a person meant them, and in its API. Pure; never
raises.

A form's day is a day and has no zone: as a point in time it would be another day in some zones. The API's
times are read by ``ApiClock``.
"""

import re
from datetime import UTC, date, datetime, tzinfo

from dingbridge.dingtalk.clock import CHINA, zone_of
from dingbridge.snapshots.coerce import from_epoch_ms

_LOCAL = re.compile(
    r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})"
    r"(?:[T ]+(?:(\d{1,2}):(\d{2})(?::(\d{2}))?(?:\.\d+)?|上午|下午|AM|PM))?\s*(Z|[+-]\d{2}:?\d{2})?"
)


class ApiClock:
    """Reads the times of one document of the newer API by its ``createTime`` and ``businessId``: they are
    China's, unless these prove that their ``Z`` is true (``true_utc``; ``dingbridge/dingtalk/clock.py``)."""

    def __init__(self, create_time: object = None, business_id: object = None) -> None:
        self.true_utc = zone_of(create_time, business_id) == "true"

    def time(self, text: object) -> datetime | None:
        """The point in time (aware, UTC) that the API's ``text`` names; None when it names none."""
        wall = text.strip().removesuffix("Z") if isinstance(text, str) else None
        return local_time(wall, UTC if self.true_utc else CHINA)

    def finer(self, event_ms: object, text: object) -> datetime | None:
        """A time that an event has (epoch ms) and the API too (in minutes): the event's.

        Where both name the same minute, it is finer. Where they differ it counts as well: it needs no zone,
        it is the same whenever it is pushed, and the API's answer may be old.
        """
        return from_epoch_ms(event_ms) or self.time(text)


def local_time(text: object, zone: tzinfo) -> datetime | None:
    """The point in time (aware, UTC) that ``text`` names in ``zone``, unless it names its zone itself.

    Takes ``2024-11-08 10:00`` and ``10:00:30``. None for a day or half a day, which are no points in time.
    """
    match = _LOCAL.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None or match[4] is None:
        return None
    try:
        moment = datetime(*(int(part or 0) for part in match.groups()[:6]))  # type: ignore[arg-type]
        if match[7] is not None:
            return datetime.fromisoformat(moment.isoformat() + match[7]).astimezone(UTC)
        return moment.replace(tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def local_day(text: object, zone: tzinfo) -> date | None:
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

"""Values that others wrote, as ours; total: nothing here raises, whatever stands there.

Headers of a Kafka record, its timestamp, attributes of an event: anybody with the right to write a topic
chooses them.
"""

from datetime import UTC, datetime

MAX_MS = 253_370_764_800_000
"""The year 9999 begins (epoch ms): what is before it has a date in every time zone."""


def whole_number(text: str | None) -> int | None:
    """A number from 0 on that 64 bits hold, from its ASCII digits; else None."""
    if text is None or not (text.isascii() and text.isdigit()) or len(digits := text.lstrip("0")) > 19:
        return None
    return number if (number := int(digits or "0")) < 1 << 63 else None


def utc(text: str | None) -> datetime | None:
    """A time with a zone (ISO 8601) in UTC; None for what is none, or is out of all proportion (before 1970,
    or beyond ``MAX_MS``)."""
    try:
        at = datetime.fromisoformat(text) if text else None
        if at is None or at.tzinfo is None:
            return None
        at = at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return at if 0 <= at.timestamp() * 1000 <= MAX_MS else None


def moment(epoch_ms: float) -> datetime:
    """``epoch_ms`` in UTC; beyond 1970 and ``MAX_MS``, the nearer of the two."""
    return datetime.fromtimestamp(min(max(epoch_ms, 0), MAX_MS) / 1000, UTC)

"""What a person typed into Find: words that an event must be found by, and a range of time.

Pure. ``user-17``, ``bpms_instance_change 2026-11-27T10:00..11:00``, ``ding1:user-17``; a time without a zone
is in that of the person, in which the console shows it.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo

_DATE = r"\d{4}-\d\d-\d\d"
_TIME = r"\d\d(?::\d\d(?::\d\d(?:\.\d{1,6})?)?)?"
_MOMENT = rf"{_DATE}(?:[T_]{_TIME}(?:Z|[+-]\d\d:?\d\d)?)?"
_RANGE = re.compile(rf"(?P<begin>{_MOMENT})?(?P<dots>\.\.)?(?P<end>{_MOMENT}|{_TIME})?")


@dataclass(frozen=True, slots=True)
class Query:
    """``terms`` must all lead to the event, which happened, or came, since ``since`` and before ``until``."""

    terms: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None

    def covers(self, *moments: datetime) -> bool:
        """Whether one of ``moments`` is in the range."""
        return any(
            (self.since is None or at >= self.since) and (self.until is None or at < self.until)
            for at in moments
        )


def parse(text: str, zone: tzinfo = UTC) -> Query:
    """Every text is a query: a word that is no time is a term. A time without a zone is in ``zone``."""
    terms, since, until = [], None, None
    for word in text.split():
        try:
            begin, end = (at and at.astimezone(UTC) for at in _range(word, zone))
            since, until = begin or since, end or until
        except (ValueError, OverflowError):
            terms.append(word)
    return Query(tuple(dict.fromkeys(terms)), since, until)


def _range(word: str, zone: tzinfo) -> tuple[datetime | None, datetime | None]:
    """Begin and end. Raises ``ValueError`` or ``OverflowError`` for what is no time."""
    match = _RANGE.fullmatch(word)
    if match is None or not (match["begin"] or (match["dots"] and match["end"])):
        raise ValueError
    begin, end = match["begin"], match["end"]
    since = _moment(begin, zone) if begin else None
    if since is not None and not match["dots"] and not end:
        return since, _behind(begin, since)
    if not match["dots"]:
        raise ValueError
    if end is None:
        return since, None
    if not re.fullmatch(_TIME, end):
        until = _moment(end, zone)
        return since, _behind(end, until) if len(end) == len("2026-11-27") else until
    if since is None:
        raise ValueError
    return since, datetime.combine(since.date(), time.fromisoformat(end), since.tzinfo)


def _moment(text: str, zone: tzinfo) -> datetime:
    found = datetime.fromisoformat(text.replace("_", "T"))
    return found if found.tzinfo is not None else found.replace(tzinfo=zone)


def _behind(text: str, at: datetime) -> datetime:
    """The end of the day, the hour, the minute or the second that ``text`` names."""
    clock = re.sub(r"(Z|[+-]\d\d:?\d\d)$", "", text[len("2026-11-27") + 1 :])
    if not clock:
        return at + timedelta(days=1)
    return at + {2: timedelta(hours=1), 5: timedelta(minutes=1)}.get(len(clock), timedelta(seconds=1))

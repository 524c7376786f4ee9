"""Times as a page shows them: in the reader's zone, with UTC beside."""

from datetime import UTC, datetime, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from aiohttp import web
from markupsafe import Markup

from dingbridge.console.settings import ConsoleSettings

COOKIE: Final = "timezone"
"""Set by ``console.js``: the browser's own zone, as ``Asia/Shanghai``."""


def zone_of(request: web.Request, settings: ConsoleSettings) -> ZoneInfo:
    """The browser's zone; DINGTALK_TIMEZONE where its cookie is absent or names none that we know."""
    name = request.cookies.get(COOKIE, "")
    try:
        return ZoneInfo(name[:64] or settings.dingtalk_timezone)
    except (KeyError, ValueError, OSError):
        return ZoneInfo(settings.dingtalk_timezone)


def local_text(value: datetime, zone: tzinfo) -> str:
    """``2026-11-27 16:00:01``; in UTC, and saying so, where the zone's calendar does not reach."""
    try:
        return f"{value.astimezone(zone):%Y-%m-%d %H:%M:%S}"
    except OverflowError:
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"


def shown_time(value: datetime | float | str | None, zone: tzinfo) -> Markup:
    """A ``<time>`` in ``zone``, with UTC on hover; a number is seconds since 1970, a text ISO 8601, without a
    zone UTC. None is a dash; a text that is no time stays as it is."""
    if value is None or value == "":
        return Markup("–")
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
        else:
            moment = value if isinstance(value, datetime) else datetime.fromtimestamp(value, UTC)
        moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return Markup("{}").format(value)
    exact = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(
        exact, f"{moment:%Y-%m-%d %H:%M:%S.%f}"[:-3], local_text(moment, zone)
    )

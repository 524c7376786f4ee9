"""This machine's clock against DingTalk's, by the ``Date`` of its answer."""

import time
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp

from dingbridge.doctor.checks.network import get
from dingbridge.doctor.checks.url import shown
from dingbridge.doctor.findings import Both, Finding, found
from dingbridge.outgoing.proxy import proxy_of

LIMIT_S: Final = 10.0
"""A smaller difference is not reported: ``Date`` has whole seconds, and the answer takes its time."""


async def look(session: aiohttp.ClientSession, base: str) -> float | Both | None:
    """Our clock minus DingTalk's, in s; why there is no answer; ``None`` when it has no ``Date``."""
    began = time.time()
    answer = await get(session, f"{base}/", proxy_of(base))
    return answer if isinstance(answer, Both) else skew(answer.date, (began + time.time()) / 2)


def skew(date: str, now: float) -> float | None:
    """``now`` (epoch s) minus the header's time, which was cut to whole seconds."""
    try:
        theirs = parsedate_to_datetime(date)
    except (ValueError, OverflowError):  # the second: a year or a zone of very many digits
        return None
    if theirs.tzinfo is None:
        theirs = theirs.replace(tzinfo=UTC)
    return now - (theirs.timestamp() + 0.5)


def judge(seen: float | Both | None, *, base: str, max_age_s: float) -> list[Finding]:
    """``max_age_s`` is ``CALLBACK_MAX_AGE_S``; 0 accepts any."""
    if isinstance(seen, Both):
        return [found("clock.unreachable", base=shown(base), reason=seen)]
    if seen is None:
        return [found("clock.unknown", base=shown(base))]
    seconds = round(abs(seen))
    side = Both("ahead of", "快") if seen > 0 else Both("behind", "慢")
    if max_age_s and abs(seen) > max_age_s:
        return [found("clock.wrong", seconds=seconds, side=side, limit_s=round(max_age_s))]
    if abs(seen) > LIMIT_S:
        return [found("clock.skew", seconds=seconds, side=side)]
    return [found("clock.ok", limit_s=round(LIMIT_S))]

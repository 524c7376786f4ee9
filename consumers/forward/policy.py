"""What a system's answer means. Pure: no I/O.

The whole policy is one table, in docs/guide/forward.md; ``Answer.kind`` is its first column, and
``consumer.py`` raises what is in its second.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

from dingbridge.retry import ASKED_MAX_S

AnswerKind = Literal["taken", "refused", "failed", "not_found", "unauthorized", "unavailable"]

FINAL = frozenset({"taken", "refused"})
"""After these the event is not tried again."""

LATER = frozenset({408, 425})
"""The 4xx that mean the moment, not the event (RFC 9110, RFC 8470)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """``taken``: any 2xx. ``refused``: the system does not want this event. ``failed``: not taken now.
    ``not_found``: the address is wrong, or this event's entity is missing there. ``unauthorized``: our secret
    or token is wrong, or this event is barred. ``unavailable``: there is no connection, or it asks to wait.

    ``words`` are for the log, with neither URL nor content; ``after_s`` is what ``Retry-After`` asks for, in
    s, at most ``ASKED_MAX_S``. ``Sender.post`` adds the HTTP ``status``.
    """

    kind: AnswerKind
    words: str
    after_s: float | None = None
    status: int | None = None


def read(status: int, headers: Mapping[str, str]) -> Answer:
    """What an HTTP status means: Standard Webhooks' "Delivery success and failure", and RFC 9110.

    Where Standard Webhooks has 410 end the subscription, the event goes to the dead letters here: one event
    must not be able to end what all others need.
    """
    words = f"it answered {status}"
    if 200 <= status < 300:
        return Answer("taken", words)
    after_s = retry_after_s(headers.get("Retry-After"))
    if status in (429, 503):
        return Answer("unavailable", words, after_s)
    if status in (401, 403):
        return Answer(
            "unauthorized", f"{words}: check secrets and headers_from on both sides", after_s, status
        )
    if status == 404:
        return Answer("not_found", f"{words}: check url", after_s)
    if 300 <= status < 400:
        return Answer(
            "not_found", f"{words}: redirects are not followed; set url to where it leads", after_s, status
        )
    if 400 <= status < 500 and status not in LATER:
        return Answer("refused", words)
    return Answer("failed", words, after_s)


def retry_after_s(value: str | None) -> float | None:
    """``Retry-After`` as s from now, from seconds or an HTTP date (RFC 9110, 10.2.3), 0 to ``ASKED_MAX_S``;
    None when it is absent or neither."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(min(int(text[:9]), ASKED_MAX_S))
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = (moment - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError, OverflowError):  # the last: a year or a zone of very many digits
        return None
    return min(max(0.0, seconds), ASKED_MAX_S)

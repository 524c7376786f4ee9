"""The process code of an approval whose events do not name it, by the name of its template.

DingTalk titles an approval ``<who>提交的<template>``; the client looks the code up in the list of templates,
by that name. Two companies may have templates of one name, so the company is part of the
question. A name is asked for once, and again after a while if there was no such template.
"""

import time
from collections.abc import Callable
from typing import Protocol

import structlog

from dingbridge.dingtalk.error_codes import says_not_there
from dingbridge.dingtalk.errors import ApiError, PermissionDenied

log = structlog.get_logger(__name__)

SUBMITTED = "提交的"
UNKNOWN_FOR_S = 3600.0
"""How long a name without a template is not asked for again, in s."""
MOST = 1000
"""Names remembered; anybody may invent a title."""


class _Client(Protocol):
    async def process_code(self, name: str) -> str: ...


def template_name(title: str | None) -> str | None:
    """The template's name in the title of one of its approvals; None when the title is of another kind."""
    _, submitted, name = (title or "").partition(SUBMITTED)
    return name.strip() or None if submitted else None


class ProcessCodes:
    """Looks codes up. ``clock`` is in s."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[tuple[str, str], tuple[str | None, float]] = {}

    async def of_title(
        self,
        client: _Client,
        corp_id: str,
        title: str | None,
        on_refused: Callable[[ApiError], None] = lambda error: None,
    ) -> str | None:
        """The code of the template that ``title`` names at the company ``corp_id``, whose app ``client`` is;
        None when it names none that there is, or when the app may not know (``on_refused``).

        Raises ``ApiError`` only for what would fail for every event.
        """
        name = template_name(title)
        if name is None:
            return None
        code, until = self._known.get((corp_id, name), (None, 0.0))
        if code is not None or self._clock() < until:
            return code
        try:
            code = await client.process_code(name)
        except ApiError as error:
            if error.unavailable:
                raise
            if isinstance(error, PermissionDenied):
                on_refused(error)
            elif says_not_there(error) or error.code is None:  # the client's own: the list has no such name
                log.info("approval.template_unknown", code=error.code)
            else:
                # it says nothing about the name, so the next event asks again; this one is no reason to hold
                # an approval back, which a resync gives its template as well
                log.warning("approval.template_not_told", code=error.code)
                return None
        if len(self._known) >= MOST:
            self._known.pop(next(iter(self._known)))
        self._known[corp_id, name] = (code, self._clock() + UNKNOWN_FOR_S)
        return code

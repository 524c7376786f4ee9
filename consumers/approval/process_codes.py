"""The process code of an approval whose events do not name it, by the name of its template.

DingTalk titles an approval ``<who>提交的<template>``; the call that finds a code by a name is for forms that
an app brings along (obtain-the-template-code), so the name is looked up in the list of templates. Two
companies may have templates of one name, so each has a list, which is read at most once in a while: anybody
may invent a title, and each page of a list is a call of the month's.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import structlog

from dingbridge.dingtalk.errors import ApiError, PermissionDenied

log = structlog.get_logger(__name__)

SUBMITTED = "提交的"
AGAIN_AFTER_S = 3600.0
"""How long after a list was read no other name has it read again, in s."""


class _Client(Protocol):
    async def templates(self) -> Sequence[Mapping[str, Any]]: ...


def template_name(title: str | None) -> str | None:
    """The template's name in the title of one of its approvals; None when the title is of another kind."""
    _, submitted, name = (title or "").partition(SUBMITTED)
    return name.strip() or None if submitted else None


class ProcessCodes:
    """Looks codes up. ``clock`` is in s."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lists: dict[str, tuple[dict[str, str | None], float]] = {}
        """By company: the codes by name (None: several have the name), and until when they count."""

    async def of_title(
        self,
        client: _Client,
        corp_id: str,
        title: str | None,
        on_refused: Callable[[ApiError], None] = lambda error: None,
    ) -> str | None:
        """The code of the template that ``title`` names at the company ``corp_id``, asked by its ``client``;
        None when no template has the name, several have it, or the app lacks the right (``on_refused``).

        Raises ``ApiError`` only for an error that every event would meet.
        """
        name = template_name(title)
        if name is None:
            return None
        codes, until = self._lists.get(corp_id, ({}, 0.0))
        if codes.get(name) is None and self._clock() >= until:
            try:
                codes = _by_name(await client.templates())
            except ApiError as error:
                if error.unavailable:
                    raise
                if not isinstance(error, PermissionDenied):
                    # the next event asks again; the approval need not wait: a resync adds its template, too
                    log.warning("approval.template_not_read", code=error.code)
                    return None
                on_refused(error)
            self._lists[corp_id] = codes, self._clock() + AGAIN_AFTER_S
            if codes.get(name) is None:
                log.info("approval.template_unknown", several=name in codes)
        return codes.get(name)


def _by_name(templates: Sequence[Mapping[str, Any]]) -> dict[str, str | None]:
    codes: dict[str, str | None] = {}
    for template in templates:
        name, code = template.get("name"), template.get("processCode")
        if isinstance(name, str) and isinstance(code, str) and code:
            codes[name] = code if codes.get(name, code) == code else None
    return codes

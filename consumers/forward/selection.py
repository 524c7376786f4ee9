"""Which events a system gets, beyond the EventTypes it subscribes to.

Each filter looks at events of its own kind and lets all others pass: ``process_codes`` at approvals,
``departments`` at events about a user or a department. Departments hold those below them. A contact event
names only the user, so whose departments they are is asked at DingTalk, and remembered for a while.
"""

import time
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any, Protocol

import structlog

from consumers.forward.settings import System
from dingtalk.errors import NotFound
from schemas.catalogue import catalogue
from schemas.event import Event

log = structlog.get_logger(__name__)

ABOVE_S = 600
"""How long it is believed which department stands above another, in s."""

REMEMBERED = 20_000
"""How many answers are kept."""

ROOT = "1"


class Contacts(Protocol):
    """What is needed of ``DingTalkClient``."""

    async def user(self, userid: str) -> dict[str, Any]: ...

    async def department(self, dept_id: int) -> dict[str, Any]: ...


class Selection:
    """The filters of one system. ``contacts`` gives the client, and is called only for ``departments``.
    ``clock`` is the wall clock, epoch s.
    """

    def __init__(
        self, system: System, contacts: Callable[[], Contacts], clock: Callable[[], float] = time.time
    ) -> None:
        self._process_codes = system.process_codes
        self._departments = {str(department) for department in system.departments}
        self._contacts, self._clock = contacts, clock
        self._answers: dict[tuple[str, str], tuple[float, list[str] | None]] = {}

    async def wants(self, event: Event) -> bool:
        """Whether the system gets ``event``. Raises ``ApiError`` when DingTalk must be asked and fails."""
        kind = kind_of(event)
        if self._process_codes and kind == "process-instance":
            return self._has_code(event)
        if self._departments and kind in ("user", "department") and event.subject:
            return await self._concerns(kind, event.subject, event.received_time.timestamp())
        return True

    def _has_code(self, event: Event) -> bool:
        code = event.data.get("processCode")
        if not isinstance(code, str) or not code:
            # a form may be secret to this system, so what cannot be told apart is withheld
            log.warning("forward.no_process_code", event_id=event.id, event_type=event.event_type)
            return False
        return any(fnmatchcase(code, pattern) for pattern in self._process_codes)

    async def _concerns(self, kind: str, subject: str, received_s: float) -> bool:
        """Whether the subject is in one of the departments, or was when we last asked: whom it moves away
        from must hear of it too."""
        if kind == "department" and subject in self._departments:
            return True
        before = self._answers.get((kind, subject))
        # an answer from before the event knows nothing of it; one from after it serves many events at once
        now = await self._ask(kind, subject, since_s=received_s)
        if now is None:
            return True  # left, or deleted: in no department any more, and that is what the event is about
        return await self._leads_in([*now, *(before[1] or [] if before else [])])

    async def _leads_in(self, waiting: list[str]) -> bool:
        seen: set[str] = set()
        while waiting:
            department = waiting.pop()
            if department in self._departments:
                return True
            if department not in seen and department != ROOT:
                seen.add(department)
                waiting += await self._ask("department", department, self._clock() - ABOVE_S) or []
        return False

    async def _ask(self, kind: str, subject: str, since_s: float) -> list[str] | None:
        """A user's departments, or the department above one, as of ``since_s`` (epoch s) or later; None when
        DingTalk does not know the subject."""
        known = self._answers.get((kind, subject))
        if known is not None and known[0] >= since_s:
            return known[1]
        asked_s = self._clock()
        found: list[str] | None = None
        try:
            if kind == "user":
                found = _ids((await self._contacts().user(subject)).get("dept_id_list"))
            elif subject.isascii() and subject.isdigit():
                found = _ids([(await self._contacts().department(int(subject))).get("parent_id")])
        except NotFound:
            found = None
        if len(self._answers) >= REMEMBERED:
            self._answers.clear()
        self._answers[kind, subject] = (asked_s, found)
        return found


def kind_of(event: Event) -> str | None:
    """What an event is about, by the catalogue: ``user``, ``department``, ``process-instance`` …"""
    spec = catalogue.get(event.event_type)
    return spec.subject.kind if spec is not None and spec.subject is not None else None


def _ids(values: Any) -> list[str]:
    if not isinstance(values, Iterable):
        return []
    return [str(value) for value in values if isinstance(value, int | str) and value]

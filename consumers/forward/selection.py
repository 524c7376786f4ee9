"""Which events a system gets, beyond the EventTypes it subscribes to.

Each filter looks at events of its own kind and lets all others pass: ``process_codes`` at approvals,
``departments`` at events about a user or a department. Departments hold those below them. A contact event
names only the user, so whose departments they are is asked at DingTalk, and remembered, in memory alone.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Protocol, TypeVar

import structlog

from consumers.forward.settings import System
from dingbridge.dingtalk.errors import NotFound
from dingbridge.events.catalogue import catalogue
from dingbridge.events.event import Event

log = structlog.get_logger(__name__)

ABOVE_S = 600
"""How long it is believed which department stands above another, in s."""

REMEMBERED = 20_000
"""So many subjects' answers, and so many unfinished events, are kept; of more, the oldest are forgotten."""

ROOT = "1"

_Subject = tuple[str, str, str]
"""An event's ``source``, which names company and app, the kind of its subject, and the subject: ids are
unique within one company only, and each company is asked about its own."""

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Contacts(Protocol):
    """What is needed of ``DingTalkClient``."""

    async def user(self, userid: str) -> dict[str, Any]: ...

    async def department(self, dept_id: int) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class _Answer:
    """Departments as DingTalk named them at ``asked_s`` (epoch s), None when it did not know the subject;
    ``before`` are those of the answer before this one."""

    asked_s: float
    departments: list[str] | None
    before: list[str]


class Selection:
    """The filters of one system. ``contacts`` gives the client, and is called only for ``departments``.
    ``clock`` is the wall clock, epoch s.

    What the attempts of an event have learnt is kept until ``forget``: where somebody was before he moved
    away is known once only.
    """

    def __init__(
        self, system: System, contacts: Callable[[], Contacts], clock: Callable[[], float] = time.time
    ) -> None:
        self._process_codes = system.process_codes
        self._departments = {str(department) for department in system.departments}
        self._contacts, self._clock = contacts, clock
        self._answers: OrderedDict[_Subject, _Answer] = OrderedDict()
        self._learnt: OrderedDict[tuple[str, str], tuple[str, ...]] = OrderedDict()

    async def wants(self, event: Event) -> bool:
        """Whether the system gets ``event``. Raises ``ApiError`` when DingTalk must be asked and fails."""
        kind = kind_of(event)
        if self._process_codes and kind == "process-instance":
            return self._has_code(event)
        if self._departments and kind in ("user", "department") and event.subject:
            return await self._concerns((event.source, kind, event.subject), event)
        return True

    def forget(self, event: Event) -> None:
        """``event`` has come to its end."""
        self._learnt.pop((event.source, event.id), None)

    def _has_code(self, event: Event) -> bool:
        code = event.data.get("processCode")
        if not isinstance(code, str) or not code:
            # a form may be secret to this system, so what cannot be told apart is withheld
            log.warning("forward.no_process_code", event_id=event.id, event_type=event.event_type)
            return False
        return any(fnmatchcase(code, pattern) for pattern in self._process_codes)

    async def _concerns(self, about: _Subject, event: Event) -> bool:
        """Whether the subject is in one of the departments, or was when we last asked before this answer:
        whom it moves away from must hear of it too."""
        source, kind, subject = about
        if kind == "department" and subject in self._departments:
            return True
        # an answer from before the event knows nothing of it; one from after it serves many events at once
        answer = await self._ask(about, since_s=event.received_time.timestamp())
        if answer.departments is None:
            return True  # left, or deleted: in no department any more, and that is what the event is about
        # a clock that is behind the ingress's makes each attempt ask anew, and then the answer before is no
        # longer the one from before the event
        earlier = self._learnt.get((source, event.id), ())
        learnt = tuple(dict.fromkeys((*answer.departments, *answer.before, *earlier)))
        _keep(self._learnt, (source, event.id), learnt)
        return await self._leads_in(source, list(learnt))

    async def _leads_in(self, source: str, waiting: list[str]) -> bool:
        seen: set[str] = set()
        while waiting:
            department = waiting.pop()
            if department in self._departments:
                return True
            if department not in seen and department != ROOT:
                seen.add(department)
                above = await self._ask((source, "department", department), self._clock() - ABOVE_S)
                waiting += above.departments or []
        return False

    async def _ask(self, about: _Subject, since_s: float) -> _Answer:
        """A user's departments, or the department above one, as of ``since_s`` (epoch s) or later."""
        known = self._answers.get(about)
        if known is not None and known.asked_s >= since_s:
            return known
        _, kind, subject = about
        asked_s = self._clock()
        found: list[str] | None = None
        try:
            if kind == "user":
                found = _ids((await self._contacts().user(subject)).get("dept_id_list"))
            elif subject.isascii() and subject.isdigit():
                found = _ids([(await self._contacts().department(int(subject))).get("parent_id")])
        except NotFound:
            found = None
        before = (known.departments if known is not None else None) or []
        answer = _Answer(asked_s, found, before)
        _keep(self._answers, about, answer)
        return answer


def kind_of(event: Event) -> str | None:
    """What an event is about, by the catalogue: ``user``, ``department``, ``process-instance`` …"""
    spec = catalogue.get(event.event_type)
    return spec.subject.kind if spec is not None and spec.subject is not None else None


def _keep(kept: OrderedDict[_Key, _Value], key: _Key, value: _Value) -> None:
    """Set ``key`` as the newest, and forget the oldest beyond ``REMEMBERED``."""
    kept.pop(key, None)
    kept[key] = value
    while len(kept) > REMEMBERED:
        kept.popitem(last=False)


def _ids(values: Any) -> list[str]:
    if not isinstance(values, Iterable):
        return []
    return [str(value) for value in values if isinstance(value, int | str) and value]

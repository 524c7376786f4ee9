"""Fields that a person's answer lacks and the tables have.

DingTalk leaves a field out where it is empty, and where the app has no right to it any more
(query-user-details). So such a column stays, and the person is read again: it is emptied when an answer about
somebody else has shown the field in between. Where nobody else has it, an hour decides.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

import structlog
from sqlalchemy import ColumnElement, Row, Table, select, update

from dingbridge.mirror.entities import Entities, Entity
from dingbridge.snapshots.late_answers import ABSENT_AGAIN_S
from dingbridge.work_queue import ORDINARY
from dingbridge.worker.store.transaction import Transaction

log = structlog.get_logger(__name__)

WITHHELD: Final = "withheld"
"""The state of an entity of which a field was kept; its ``code`` names the columns."""

HIDEABLE: Final = frozenset(
    {
        "email",
        "extension",
        "hired_date",
        "job_number",
        "mobile",
        "org_email",
        "remark",
        "role_list",
        "telephone",
        "title",
        "work_place",
    }
)
"""The fields of a person that DingTalk's rights may hide. Not the manager: nobody may keep one who has
none."""

_FIRST_S: Final = 60.0
_LATER_S: Final = 24 * 3600.0
_HOUR: Final = timedelta(seconds=ABSENT_AGAIN_S)
_APART: Final = timedelta(seconds=1)
"""Sightings nearer to each other than this count as one, so that the last may be older than an answer."""


class Withheld:
    """Decides which columns of ``people`` stay as they are. ``fields`` has the key in an answer by column.
    ``elsewhere``: by name the condition that a person has what stands in another table."""

    def __init__(
        self,
        entities: Entities,
        people: Table,
        fields: Mapping[str, str],
        elsewhere: Mapping[str, ColumnElement[bool]] = MappingProxyType({}),
    ) -> None:
        self._entities, self._people, self._fields = entities, people, fields
        columns = {name: people.c[name].is_not(None) for name in fields if name not in elsewhere}
        self._has: Mapping[str, ColumnElement[bool]] = {**columns, **elsewhere}
        self._shown: dict[tuple[str, str], datetime] = {}
        """By company and column, when the last read began whose answer had it."""
        self._kept: set[tuple[str, str]] = set()
        self._logged: set[tuple[str, str]] = set()

    def lacking(self, answer: Mapping[str, Any], before: Mapping[str, Any] | None) -> list[str]:
        """Return the columns that ``before``, the person's row, has and ``answer`` lacks."""
        if before is None:
            return []
        return [name for name, key in self._fields.items() if key not in answer and before[name] is not None]

    async def keep(
        self,
        tx: Transaction,
        entity: Entity,
        app: str,
        answer: Mapping[str, Any],
        before: Mapping[str, Any] | None,
        at: datetime,
    ) -> tuple[list[str], float | None]:
        """Return the columns that stay as in ``before``, and in how many s the person is read again.
        ``at``: when the read began (UTC)."""
        await self._note(tx, entity.corp_id, answer, at)
        lacking = self.lacking(answer, before)
        if not lacking:
            return [], None
        since = await self._looked_at(tx, entity, at)
        settled = since is not None and at - since >= _HOUR
        kept = []
        for name in lacking:
            place = (entity.corp_id, name)
            if since is not None and place in self._shown and since <= self._shown[place] <= at:
                continue
            holder = await self._holder(tx, entity, name)
            if holder is None and settled:
                continue
            kept.append(name)
            self._kept.add(place)
            if holder is not None:
                await self._entities.ask(tx, app, entity.corp_id, entity.kind, [holder], priority=ORDINARY)
            if since is not None and place not in self._logged:
                self._logged.add(place)
                log.warning(
                    "mirror.field_withheld",
                    field=name,
                    meaning="DingTalk's answers about people lack this field, and no answer shows it: is the "
                    "app's right to it withdrawn? The tables keep what they have",
                )
        if since is None:
            return kept, _FIRST_S
        return kept, _LATER_S if settled else ABSENT_AGAIN_S

    async def _note(self, tx: Transaction, corp_id: str, answer: Mapping[str, Any], at: datetime) -> None:
        """Note which fields ``answer`` shows. One that was kept is read again where it was."""
        for name, key in self._fields.items():
            place = (corp_id, name)
            if answer.get(key) in (None, ""):
                continue
            last = self._shown.get(place)
            if last is None or place in self._kept or at - last >= _APART:
                self._shown[place] = at
            if place in self._kept:
                self._kept.discard(place)
                self._logged.discard(place)
                await self._read_again(tx, corp_id, name)

    async def _read_again(self, tx: Transaction, corp_id: str, name: str) -> None:
        c, now_ms = self._entities.table.c, self._entities.now_ms()
        kept = (c.corp_id == corp_id, c.state == WITHHELD, c.code.contains(name, autoescape=True))
        waits = (c.due_ms > now_ms, c.leased_ms <= now_ms)
        await tx.execute(update(self._entities.table).where(*kept, *waits).values(due_ms=now_ms))

    async def _looked_at(self, tx: Transaction, entity: Entity, at: datetime) -> datetime | None:
        """Return when the read before this one began, if its answer lacked a field, too; else None. None also
        after two hours: the right may have come and gone since."""
        c = self._entities.table.c
        found = await tx.execute(select(c.state, c.read_ms).where(*self._entities.at(entity)))
        row: Row[Any] | None = found.one_or_none()
        if row is None or row.state != WITHHELD:
            return None
        since = datetime.fromtimestamp(row.read_ms / 1000, at.tzinfo)
        return since if at - since <= 2 * _HOUR else None

    async def _holder(self, tx: Transaction, entity: Entity, name: str) -> str | None:
        """Somebody else for whom the tables have it."""
        c = self._people.c
        others = (c.corp_id == entity.corp_id, c.userid != entity.entity_id, c.left_at.is_(None))
        found = await tx.execute(select(c.userid).where(*others, self._has[name]).limit(1))
        row = found.one_or_none()
        return None if row is None else str(row.userid)

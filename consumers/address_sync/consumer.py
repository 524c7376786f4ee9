"""address-sync: keeps an OA database's employees, departments and roles equal to DingTalk's.

``Mirror`` decides when something is read; ``kinds.py`` has what is read and written.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import ClassVar

import sqlalchemy
from sqlalchemy import MetaData

from dingbridge import Event, Forgotten, Person, Reader, Reject, Transaction
from dingbridge.consumers.address_sync import report
from dingbridge.consumers.address_sync.forgetting import forget_person, keep_forgetting
from dingbridge.consumers.address_sync.kinds import ROLES, Departments, Roles, Users
from dingbridge.consumers.address_sync.settings import AddressSyncSettings
from dingbridge.consumers.address_sync.tables import add_columns, entities, users
from dingbridge.consumers.address_sync.tree import Tree
from dingbridge.mirror import DEPARTMENT, USER, Entities, Kind, Mirror
from dingbridge.mirror.chosen import ROOT, Chosen
from dingbridge.mirror.entities import WHOLE
from dingbridge.tasks import end
from dingbridge.worker.consumer import Table

DEPARTMENT_TOPICS = ("org_dept_create", "org_dept_modify", "org_dept_remove")
ROLE_TOPICS = ("label_conf_add", "label_conf_modify", "label_conf_del")
COMPANY_TOPIC = "org_change"
"""Names nothing: the company itself has changed, which DingTalk shows as its root department."""


class AddressSync(Mirror):
    """Employees, departments, memberships and roles as tables, level-triggered."""

    name: ClassVar[str] = "address-sync"
    topics: ClassVar[Sequence[str]] = (*Mirror.topics, *DEPARTMENT_TOPICS, *ROLE_TOPICS, COMPANY_TOPIC)
    metadata: ClassVar[MetaData | None] = users.metadata
    migrations: ClassVar[str | None] = "dingbridge.consumers.address_sync.migrations"
    table: ClassVar[sqlalchemy.Table] = users
    entities: ClassVar[sqlalchemy.Table] = entities

    def __init__(self) -> None:
        self.own = AddressSyncSettings.load()
        add_columns(self.own.fields().extension.values())
        self.chosen = Chosen(frozenset(self.own.departments_include), frozenset(self.own.departments_exclude))
        self.compare_every_days = self.own.reconcile_every_days
        self.sync_calls_per_s = self.own.resync_calls_per_s

    async def background(self) -> None:
        """Read what is due, and forget leavers; an error in one of these ends both."""
        self.settings.required_company()
        tasks = [asyncio.create_task(super().background())]
        if (days := self.own.leavers_retention_days) is not None:
            tasks.append(asyncio.create_task(keep_forgetting(self.database, self.engine.entities, days)))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            done.pop().result()
        finally:
            await end(*tasks)

    def kinds(self) -> Mapping[str, Kind]:
        own = Entities(self.entities, lambda: self.clock())
        tree = Tree(self.chosen, own)
        return {
            USER: Users(own, tree, self.own.fields()),
            DEPARTMENT: Departments(own, tree),
            ROLES: Roles(own),
        }

    async def handle(self, event: Event, tx: Transaction, prepared: None) -> None:
        entity = self.entity(event) if event.event_type in (*DEPARTMENT_TOPICS, COMPANY_TOPIC) else None
        if entity is None or self.chosen.named(int(entity[1])) is not False:
            await super().handle(event, tx, prepared)

    def entity(self, event: Event) -> tuple[str, str] | None:
        if event.event_type in ROLE_TOPICS:
            return ROLES, WHOLE
        if event.event_type == COMPANY_TOPIC:
            return DEPARTMENT, str(ROOT)
        subject = event.subject
        if not subject or event.event_type not in DEPARTMENT_TOPICS:
            return (USER, subject) if subject else None
        if not (subject.isascii() and subject.isdigit()):
            raise Reject(f"{event.event_type}: the department's id is no number")
        return DEPARTMENT, str(int(subject))

    def leavers_allowed(self, employees: int) -> int:
        return self.own.leavers_allowed(employees)

    async def show(self, db: Reader) -> list[Table]:
        return [*await report.tables(db), *await super().show(db)]

    async def forget(self, person: Person, tx: Transaction) -> Forgotten:
        return await forget_person(tx, self.engine.entities, person)

"""Takes a person out of the archive: approvals in which nobody else took part are deleted, in the others the
person is masked. A row of ``approval_forgotten`` stays, so that later events and fetches are masked too
(``forgotten.py``)."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sqlalchemy import ColumnElement, Table, and_, delete, func, or_, select

from dingbridge import Forgotten, Person, Transaction
from dingbridge.consumers.approval.archive.masking import SHORTEST, hiding, names_of, originator, took_part
from dingbridge.consumers.approval.archive.writer import Archive, stored, task_events
from dingbridge.consumers.approval.tables import (
    FILE,
    INSTANCE,
    approval_actions,
    approval_attachments,
    approval_comments,
    approval_forgotten,
    approval_form_values,
    approval_instances,
    approval_operations,
    approval_tasks,
    file_entity,
)
from dingbridge.errors import BridgeError
from dingbridge.mirror import Entity

AT_ONCE: Final = 200
"""Approvals in one transaction: it must not hold SQLite's only writer for long."""

PathOf = Callable[[str], Path]
"""Where the file of a hash is."""

_i, _t, _c, _a = approval_instances.c, approval_tasks.c, approval_comments.c, approval_attachments.c

_OF_INSTANCE: Final[tuple[Table, ...]] = (
    approval_form_values,
    approval_operations,
    approval_tasks,
    approval_comments,
    approval_actions,
    approval_attachments,
    approval_instances,
)


async def forget(tx: Transaction, person: Person, archive: Archive, path_of: PathOf | None) -> Forgotten:
    """Raises ``BridgeError`` where files are to be deleted and ``path_of`` is None."""
    key = {"corp_id": person.corp_id, "userid": person.userid}
    await tx.upsert(approval_forgotten, {**key, "forgotten_at": datetime.now(UTC)}, list(key))
    deleted, masked, hashes = Counter[str](), Counter[str](), set[str]()
    called = set[str]()
    found = await _naming(tx, person)
    for instance_id in found:
        # first, as whoever writes one does
        await archive.entities.lock(tx, Entity(person.corp_id, INSTANCE, instance_id), "")
        of = {"corp_id": person.corp_id, "instance_id": instance_id}
        known, tasks = await stored(tx, of), await task_events(tx, of)
        names = names_of(person.userid, known.document, known.events)
        called |= names
        if originator(known.document, known.events) == person.userid and not (
            took_part(known.document, known.events, tasks) | await _commenters(tx, of)
        ) - {person.userid}:
            hashes |= await _delete(tx, of, deleted, archive.entities.table)
        else:
            hide = hiding(person.userid, person.texts | names)
            masked[approval_instances.name] += await archive.mask(tx, of, known, tasks, hide)
    files, more = await _unused(tx, hashes, path_of), found[-1] if len(found) == AT_ONCE else None
    stays = await _in_texts(tx, person) if more is None else []
    return Forgotten(deleted, masked, stays, files, frozenset(called), more=more)


async def _naming(tx: Transaction, person: Person) -> Sequence[str]:
    """The next instances that may name the person: in which the userid stands anywhere."""
    of_company = _i.corp_id == person.corp_id
    tasks = select(_t.instance_id).where(
        _t.corp_id == person.corp_id, or_(_t.userid == person.userid, _holds(_t.raw_events, person.userid))
    )
    comments = select(_c.instance_id).where(_c.corp_id == person.corp_id, _c.userid == person.userid)
    anywhere = or_(
        _i.originator_userid == person.userid,
        _holds(_i.raw_document, person.userid),
        _holds(_i.raw_events, person.userid),
        _i.instance_id.in_(tasks),
        _i.instance_id.in_(comments),
    )
    left = (of_company, _i.instance_id > person.after, anywhere)
    found = await tx.execute(select(_i.instance_id).where(*left).order_by(_i.instance_id).limit(AT_ONCE))
    return [row.instance_id for row in found]


def _holds(column: ColumnElement[str], text: str) -> ColumnElement[bool]:
    return column.contains(text, autoescape=True)


async def _commenters(tx: Transaction, of: dict[str, str]) -> set[str]:
    found = select(_c.userid).where(
        *(_c[name] == value for name, value in of.items()), _c.userid.is_not(None)
    )
    return {row.userid for row in await tx.execute(found)}


async def _delete(tx: Transaction, of: dict[str, str], deleted: Counter[str], entities: Table) -> set[str]:
    """Delete the instance, and what is to be read of it; returns the hashes of its files."""
    c, files = entities.c, file_entity(of["instance_id"], "")
    named = or_(
        and_(c.kind == INSTANCE, c.entity_id == of["instance_id"]),
        and_(c.kind == FILE, c.entity_id.startswith(files, autoescape=True)),
    )
    await tx.execute(delete(entities).where(c.corp_id == of["corp_id"], named))
    mine = and_(*(_a[name] == value for name, value in of.items()), _a.sha256.is_not(None))
    hashes = {row.sha256 for row in await tx.execute(select(_a.sha256).where(mine))}
    for table in _OF_INSTANCE:
        where = (table.c[name] == value for name, value in of.items())
        deleted[table.name] += (await tx.execute(delete(table).where(*where))).rowcount
    return hashes


async def _unused(tx: Transaction, hashes: set[str], path_of: PathOf | None) -> list[Path]:
    """The files of ``hashes`` that no other approval has."""
    kept = {row.sha256 for row in await tx.execute(select(_a.sha256).where(_a.sha256.in_(sorted(hashes))))}
    unused = sorted(hashes - kept)
    if unused and path_of is None:
        raise BridgeError(
            f"{len(unused)} files are to be deleted, and ARCHIVE_DIR does not say where they are; "
            "set it as for dingbridge consume approval"
        )
    return [] if path_of is None else [path_of(sha256) for sha256 in unused]


async def _in_texts(tx: Transaction, person: Person) -> list[str]:
    """How many approvals hold a name, a number or an address in a text, and name the person nowhere by id:
    it may be somebody else's name."""
    texts = sorted(text for text in person.texts if len(text) >= SHORTEST)
    if not texts:
        return []
    holds = or_(*(_holds(_i.raw_document, text) for text in texts))
    count = await tx.scalar(select(func.count()).where(_i.corp_id == person.corp_id, holds))
    if not count:
        return []
    return [
        f"{count} approvals of others hold a name, number or address of this person in a text, without the "
        "id, so it may be somebody else's; look at approval_instances.raw_document"
    ]

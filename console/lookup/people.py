"""People and departments, in the tables of ``address-sync``."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import ColumnElement, and_, or_, select, tuple_

from dingbridge.console.lookup.hits import MOST_HITS, Hit
from dingbridge.consumers.address_sync.tables import departments, memberships, users
from dingbridge.worker.context import Reader

MIN_DIGITS: Final = 4
"""Of a mobile: fewer would be anybody's."""

_MOBILE: Final = re.compile(r"\+?[0-9][0-9-]*")
_CHINA: Final = re.compile(r"^(\+|00)86-?")


async def find_people(reader: Reader, terms: Sequence[str]) -> list[Hit]:
    """Who is meant by all of ``terms``: each is a part of the name, the last digits of the mobile, the job
    number, the userid, or a part of the name of a department. Who is still there comes first."""
    if all(map(_MOBILE.fullmatch, terms)):  # written with blanks
        terms = ["".join(terms)]
    columns = users.c
    statement = (
        select(columns.corp_id, columns.userid, columns.name, columns.left_at)
        .where(*map(_means_person, terms))
        .order_by(columns.left_at.is_not(None), columns.name, columns.userid)
        .limit(MOST_HITS + 1)
    )
    rows = (await reader.execute(statement)).all()
    of = await _departments_of(reader, [(row.corp_id, row.userid) for row in rows])
    return [
        Hit(
            "person",
            row.corp_id,
            row.userid,
            row.name,
            ", ".join(of.get((row.corp_id, row.userid), ())),
            "left" if row.left_at is not None else None,
        )
        for row in rows
    ]


async def find_departments(reader: Reader, terms: Sequence[str]) -> list[Hit]:
    """Departments whose name has each of ``terms`` in it, or whose id or code one is."""
    columns, above = departments.c, departments.alias("above")
    is_above = and_(above.c.corp_id == columns.corp_id, above.c.dept_id == columns.parent_id)
    statement = (
        select(
            columns.corp_id, columns.dept_id, columns.name, columns.deleted_at, above.c.name.label("above")
        )
        .outerjoin(above, is_above)
        .where(*map(_means_department, terms))
        .order_by(columns.deleted_at.is_not(None), columns.name, columns.dept_id)
        .limit(MOST_HITS + 1)
    )
    return [
        Hit(
            "department",
            row.corp_id,
            str(row.dept_id),
            row.name,
            row.above or "",
            "deleted" if row.deleted_at is not None else None,
        )
        for row in await reader.execute(statement)
    ]


def mobile_end(term: str) -> str | None:
    """The digits that a mobile ends in, of a term that may be one; None of any other."""
    if not _MOBILE.fullmatch(term):
        return None
    digits = _CHINA.sub("", term).replace("-", "").lstrip("+")
    return digits if len(digits) >= MIN_DIGITS else None


def _means_person(term: str) -> ColumnElement[bool]:
    columns = users.c
    inside = (
        select(memberships.c.corp_id, memberships.c.userid)
        .join(
            departments,
            and_(
                departments.c.corp_id == memberships.c.corp_id,
                departments.c.dept_id == memberships.c.dept_id,
            ),
        )
        .where(departments.c.deleted_at.is_(None), departments.c.name.icontains(term, autoescape=True))
    )
    ways = [
        columns.name.icontains(term, autoescape=True),
        columns.job_number == term,
        columns.userid == term,
        tuple_(columns.corp_id, columns.userid).in_(inside),
    ]
    if (digits := mobile_end(term)) is not None:
        ways.append(columns.mobile.endswith(digits, autoescape=True))
    return or_(*ways)


def _means_department(term: str) -> ColumnElement[bool]:
    columns = departments.c
    ways = [columns.name.icontains(term, autoescape=True), columns.code == term]
    if term.isascii() and term.isdigit() and len(term) < 19:
        ways.append(columns.dept_id == int(term))
    return or_(*ways)


async def _departments_of(
    reader: Reader, people: Sequence[tuple[str, str]]
) -> Mapping[tuple[str, str], list[str]]:
    if not people:
        return {}
    member = memberships.c
    statement = (
        select(member.corp_id, member.userid, departments.c.name)
        .join(
            departments,
            and_(departments.c.corp_id == member.corp_id, departments.c.dept_id == member.dept_id),
        )
        .where(tuple_(member.corp_id, member.userid).in_(people), departments.c.name.is_not(None))
        .order_by(member.sort_order, departments.c.dept_id)
    )
    found: dict[tuple[str, str], list[str]] = {}
    for row in await reader.execute(statement):
        found.setdefault((row.corp_id, row.userid), []).append(row.name)
    return found

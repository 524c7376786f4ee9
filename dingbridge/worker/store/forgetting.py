"""What ``Consumer.forget`` is given and returns: a person, and what a consumer's tables had of one.

Not here: who may be forgotten, and the order of the consumers (``dingbridge/cli/forget``).
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Table, delete, select

from dingbridge.worker.store.transaction import Transaction

_TELLING: Final = ("name", "mobile", "telephone", "email", "org_email")
"""Columns and fields whose values are one person's wherever they stand."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who has left, by DingTalk's ids. ``texts`` are what is known to be this person's wherever it
    stands: names, numbers, addresses. ``after`` is the ``more`` of the call before, empty at the first."""

    corp_id: str
    userid: str
    texts: frozenset[str] = frozenset()
    after: str = ""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The result of forgetting a person in one consumer's database.

    ``deleted`` and ``masked`` are numbers of rows by table, ``stays`` has, in words, what is left and until
    when. ``files`` are deleted before the transaction commits. ``texts`` are for other consumers, whose texts
    may hold them. ``wanted``: in words, why somebody still needs the person here; nothing is done then
    without ``--force``. ``more``: there is too much for one transaction, and the hook is called again with
    this as ``after``; None: that was all.
    """

    deleted: Mapping[str, int] = field(default_factory=dict)
    masked: Mapping[str, int] = field(default_factory=dict)
    stays: Sequence[str] = ()
    files: Sequence[Path] = ()
    texts: frozenset[str] = frozenset()
    wanted: str | None = None
    more: str | None = None

    def __add__(self, other: "Forgotten") -> "Forgotten":
        """This call's, and the next one's."""
        return Forgotten(
            Counter(self.deleted) + Counter(other.deleted),
            Counter(self.masked) + Counter(other.masked),
            (*self.stays, *other.stays),
            (*self.files, *other.files),
            self.texts | other.texts,
            self.wanted or other.wanted,
            other.more,
        )


async def forget_rows(tx: Transaction, person: Person, columns: Mapping[Table, str]) -> Forgotten:
    """Delete the person's rows: ``columns`` has each table's column of the userid, beside its ``corp_id``.
    Raises ``DatabaseDown``."""
    deleted, texts = {}, frozenset[str]()
    for table, column in columns.items():
        theirs = (table.c.corp_id == person.corp_id, table.c[column] == person.userid)
        for row in (await tx.execute(select(table).where(*theirs))).mappings():
            texts |= texts_in({**row})
        deleted[table.name] = (await tx.execute(delete(table).where(*theirs))).rowcount
    return Forgotten(deleted, texts=texts)


def texts_in(row: Mapping[str, Any]) -> frozenset[str]:
    """``Person.texts`` from a person's fields, by the Open API's names."""
    return frozenset(str(row[name]) for name in _TELLING if row.get(name))


def alone(text: str) -> str:
    """A pattern of ``text`` where it is no part of a longer word or number; Chinese has no such border."""
    before = r"(?<![A-Za-z0-9])" if text[0].isascii() else ""
    after = r"(?![A-Za-z0-9])" if text[-1].isascii() else ""
    return before + re.escape(text) + after

"""Whether the tables of a SQLite file are the ones that we made, and its values of the kinds that we wrote.

SQLite's checks accept a flipped bit in a column's name, and then no statement of ours fits any more; and one
in a text, or in a value's type. All of it is one error: ``apsw.CorruptError``.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import apsw


@contextmanager
def believed() -> Iterator[None]:
    """Raises ``apsw.CorruptError`` for what Python raises about a value that we never wrote like that. Also a
    decorator."""
    try:
        yield
    except (UnicodeDecodeError, TypeError, ValueError) as error:
        raise apsw.CorruptError(f"a value is not as it was written ({type(error).__name__})") from error


def number(value: object) -> int:
    """``value``, which we wrote as an integer. Raises ``TypeError`` for any other."""
    if not isinstance(value, int):
        raise TypeError(f"{type(value).__name__} instead of a number")
    return value


@believed()
def check_schema(db: apsw.Connection, script: str) -> None:
    """Raises ``apsw.CorruptError`` unless all that ``script`` makes is in ``db``, name by name."""
    if not _made_by(script) <= _statements(db):
        raise apsw.CorruptError("its tables are not as they were made")


@cache
def _made_by(script: str) -> frozenset[str]:
    db = apsw.Connection(":memory:")
    try:
        db.execute(script)
        return _statements(db)
    finally:
        db.close()


def _statements(db: apsw.Connection) -> frozenset[str]:
    """Without comments and line ends."""
    found = db.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")
    texts = (sql for (sql,) in found if isinstance(sql, str))  # a flipped bit may change the type as well
    return frozenset(" ".join(re.sub("--.*", "", text).split()) for text in texts)

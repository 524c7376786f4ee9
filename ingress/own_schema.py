"""Whether the tables of a SQLite file are the ones that we made.

SQLite's checks accept a flipped bit in a column's name, and then no statement of ours fits any more.
"""

import re
from functools import cache

import apsw


def check_schema(db: apsw.Connection, script: str) -> None:
    """Raises ``apsw.CorruptError`` unless all that ``script`` makes is in ``db``, name by name."""
    try:
        whole = _made_by(script) <= _statements(db)
    except UnicodeDecodeError:
        whole = False
    if not whole:
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
    return frozenset(" ".join(re.sub("--.*", "", sql).split()) for (sql,) in found)

"""The version of a SQLite file of the bridge, and the steps that lead from one version to the next and back.

The version stands in ``PRAGMA user_version``. A new file gets the first schema and then every step, so it
cannot differ from one that was brought up. A step may only add (tables, columns, indexes), so that code which
reads a file can read one that nobody has brought up yet. Consumers' tables have Alembic's revisions instead
(``upgrade.py``).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import apsw


@dataclass(frozen=True, slots=True)
class Step:
    """SQL that leads from one version to the next, and back. ``down`` may delete only what ``up`` added."""

    up: str
    down: str


@dataclass(frozen=True, slots=True)
class FileFormat:
    """``first`` is the version that release 0.1.0 writes, with ``schema``; each of ``steps`` is one more."""

    first: int
    schema: str
    steps: tuple[Step, ...] = ()

    @property
    def version(self) -> int:
        """What this code writes."""
        return self.first + len(self.steps)

    def create(self, db: apsw.Connection) -> None:
        """Make the tables in an empty file, in a transaction of the caller's."""
        db.execute(self.schema)
        self._run(db, [step.up for step in self.steps], self.version)

    def bring_up(self, db: apsw.Connection) -> None:
        """Run the steps that the file lacks, all or none; one that a newer version has brought up meanwhile
        stays as it is. Whoever reads it meanwhile must be of this version."""
        with _writing(db):
            done = int(db.pragma("user_version")) - self.first
            if done < len(self.steps):
                self._run(db, [step.up for step in self.steps[done:]], self.version)

    def bring_down(self, db: apsw.Connection, version: int) -> None:
        """Run the steps above ``version`` backwards, all or none."""
        with _writing(db):
            done = int(db.pragma("user_version")) - self.first
            undone = reversed(self.steps[version - self.first : done])
            self._run(db, [step.down for step in undone], version)

    @staticmethod
    def _run(db: apsw.Connection, statements: list[str], version: int) -> None:
        for sql in statements:
            db.execute(sql)
        if version != int(db.pragma("user_version")):
            db.execute(f"PRAGMA user_version = {version}")


@contextmanager
def _writing(db: apsw.Connection) -> Iterator[None]:
    """A transaction that waits for other writers before it reads the version."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise

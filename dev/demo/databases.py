"""The OA databases as somebody sees them who only knows SQL: two SQLite files, opened for reading.

Not here: what their rows ought to be (``verification``).
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev.demo.verification import Tables
from dingbridge.errors import BridgeError

_OVER = "SELECT * FROM approval_instances WHERE outcome IS NOT NULL"
"""A running approval is archived too, as far as its events show it."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows now."""

    employees: int = 0
    leavers: int = 0
    departments: int = 0
    memberships: int = 0
    approvals: int = 0
    leave_ledger: int = 0


class OaDatabases:
    """The files of address-sync and approval in a demo's ``folder``; the consumers may be writing.

    Every method raises ``BridgeError`` when a file cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.address_book = folder / "address-sync.db"
        self.archive = folder / "approval.db"

    def counts(self) -> Counts:
        with _open(self.address_book) as db:
            people = db.execute(
                "SELECT (SELECT count(*) FROM users WHERE left_at IS NULL),"
                " (SELECT count(*) FROM users WHERE left_at IS NOT NULL),"
                " (SELECT count(*) FROM departments WHERE deleted_at IS NULL),"
                " (SELECT count(*) FROM memberships)"
            ).fetchone()
        with _open(self.archive) as db:
            papers = db.execute(
                "SELECT (SELECT count(*) FROM approval_instances WHERE outcome IS NOT NULL),"
                " (SELECT count(*) FROM leave_ledger)"
            ).fetchone()
        return Counts(*people, *papers)

    def tables(self) -> Tables:
        """All rows."""
        memberships: dict[str, dict[int, bool]] = {}
        with _open(self.address_book) as db:
            users = {row["userid"]: dict(row) for row in db.execute("SELECT * FROM users")}
            departments = {str(r["dept_id"]): dict(r) for r in db.execute("SELECT * FROM departments")}
            for row in db.execute("SELECT userid, dept_id, leader FROM memberships"):
                memberships.setdefault(row["userid"], {})[row["dept_id"]] = bool(row["leader"])
        with _open(self.archive) as db:
            approvals = {r["instance_id"]: dict(r) for r in db.execute(_OVER)}
            ledger = {r["instance_id"]: dict(r) for r in db.execute("SELECT * FROM leave_ledger")}
            form_fields = dict(
                db.execute("SELECT instance_id, count(*) FROM approval_form_values GROUP BY 1").fetchall()
            )
        return Tables(users, memberships, departments, approvals, form_fields, ledger)

    def some_employees(self, count: int) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Column names and rows: the employees whose rows changed last, with their departments' names."""
        query = """
            SELECT u.userid, u.name, u.job_number, u.title, group_concat(d.name, '、') AS departments
            FROM users u
            JOIN memberships m ON m.corp_id = u.corp_id AND m.userid = u.userid
            LEFT JOIN departments d ON d.corp_id = m.corp_id AND d.dept_id = m.dept_id
            WHERE u.left_at IS NULL
            GROUP BY u.corp_id, u.userid ORDER BY u.updated_at DESC LIMIT ?"""
        with _open(self.address_book) as db:
            cursor = db.execute(query, (count,))
            return [column[0] for column in cursor.description], [tuple(row) for row in cursor]


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=10)
        try:
            db.row_factory = sqlite3.Row
            yield db
        finally:
            db.close()
    except sqlite3.Error as error:
        raise BridgeError(f"{path} cannot be read ({error}); see the consumer's log in logs/") from error

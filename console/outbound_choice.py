"""Which people and departments of outbound's ledger a person means, and the commands that are made of it."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

from multidict import MultiMapping

from console.commands import Command

MOST_ROWS: Final = 200
"""Rows that may be named one by one."""

Act = Literal["approve", "release", "reconcile"]
ACT_OF: Final[dict[str, Act]] = {
    "removal": "approve",
    "adopted": "release",
    "conflict": "release",
    "refused": "release",
}
"""What an operator can do about each state; the others go on by themselves."""

Row = tuple[str, str, str]
"""Company, kind, own id."""


class BadChoice(ValueError):
    """An address or a form that names no rows; the text is for whoever wrote it."""


@dataclass(frozen=True, slots=True)
class Choice:
    """``rows``; or with none all that are in ``state`` since before ``until``. With the state ``all`` it is
    the whole ledger, to be compared anew."""

    state: str
    rows: tuple[Row, ...] = ()
    until: str = ""

    @classmethod
    def of(cls, form: MultiMapping[Any]) -> Self:
        """From an address's query, or a form. Raises ``BadChoice``."""
        state, rows = str(form.get("state", "")), [_row(str(text)) for text in form.getall("row", [])]
        if state not in ACT_OF and state != "all":
            raise BadChoice("nothing can be done by hand about this state")
        if len(rows) > MOST_ROWS:
            raise BadChoice(f"at most {MOST_ROWS} are named one by one; take all that are in this state")
        until = str(form.get("until", ""))
        if "\0" in until or len(until) > 40:
            raise BadChoice("this is no time")
        return cls(state, tuple(dict.fromkeys(rows)), until)

    @property
    def act(self) -> Act:
        return ACT_OF.get(self.state, "reconcile")

    @property
    def fields(self) -> list[tuple[str, str]]:
        """What the hidden fields of a form say of it."""
        found = [("state", self.state), *(("row", row_text(row)) for row in self.rows)]
        return [*found, ("until", self.until)] if self.until else found

    def commands(
        self, *, dry_run: bool = False, counts: Iterable[int] | None = None, database: str | None = None
    ) -> list[Command]:
        """One for each company and kind of the rows, or one for all; with ``dry_run`` only counted.
        ``counts``: what a person was told of each; ``database``: another one than the environment's."""
        options = ["--dry-run", "--json"] if dry_run else ["--json"]
        argvs: list[list[str]] = []
        if self.act == "reconcile":
            argvs.append(["outbound", "reconcile", *options])
        elif not self.rows:
            state = ["--state", self.state] if self.act == "release" else []
            argvs.append(["outbound", self.act, "--all", *state, "--until", self.until, *options])
        for corp_id, kind in dict.fromkeys(row[:2] for row in self.rows):
            ids = [row[2] for row in self.rows if row[:2] == (corp_id, kind)]
            argvs.append(["outbound", self.act, "--corp", corp_id, "--kind", kind, *options, "--", *ids])
        environment = () if database is None else (("DATABASE_URL", database),)
        told = list(counts) if counts is not None else [None] * len(argvs)
        return [Command(tuple(argv), n, environment) for argv, n in zip(argvs, told, strict=True)]


def row_text(row: Row) -> str:
    """How a form names a row."""
    return json.dumps(row, ensure_ascii=False)


def nameable(own_id: str) -> bool:
    """Whether a command can name it: in an argument a comma parts two ids."""
    return bool(own_id) and "," not in own_id and own_id == own_id.strip() and "\0" not in own_id


def _row(text: str) -> Row:
    try:
        corp_id, kind, own_id = json.loads(text)
    except (ValueError, TypeError):
        raise BadChoice("this names no row") from None
    ok = isinstance(corp_id, str) and corp_id and "\0" not in corp_id and isinstance(own_id, str)
    if not ok or kind not in ("user", "department") or not nameable(own_id):
        raise BadChoice("this names no row")
    return corp_id, kind, own_id

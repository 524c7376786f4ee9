"""The people and departments of outbound's ledger that a form names, and the command for them."""

import json
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

from aiohttp import web
from multidict import MultiMapping

from dingbridge.console.commands import Command

MOST_ROWS: Final = 200
"""Rows that may be named one by one."""

Act = Literal["approve", "release"]
ACT_OF: Final[dict[str, Act]] = {
    "removal": "approve",
    "update": "approve",
    "adopted": "release",
    "conflict": "release",
    "refused": "release",
}
"""What an operator can do about each state; the others go on by themselves."""

Row = tuple[str, str, str]
"""Company, kind, own id."""


@dataclass(frozen=True, slots=True)
class Choice:
    """``rows`` of one company and kind; or with none all that are in ``state`` since before ``until``."""

    state: str
    rows: tuple[Row, ...] = ()
    until: str = ""

    @classmethod
    def of(cls, form: MultiMapping[Any]) -> Self:
        """From a form; ``which=all`` passes over the rows that are ticked. Raises 400."""
        ticked = form.getall("row", []) if form.get("which") != "all" else []
        state, rows = str(form.get("state", "")), [_row(str(text)) for text in ticked]
        if state not in ACT_OF:
            raise web.HTTPBadRequest(text="nothing can be done by hand about this state")
        if len(rows) > MOST_ROWS:
            raise web.HTTPBadRequest(
                text=f"at most {MOST_ROWS} are named one by one; take all that are in this state"
            )
        if len({row[:2] for row in rows}) > 1:
            raise web.HTTPBadRequest(
                text="these are of several companies or kinds; tick those of one company and one kind at a "
                "time, or take all that are in this state"
            )
        return cls(state, tuple(dict.fromkeys(rows)))

    @property
    def act(self) -> Act:
        return ACT_OF[self.state]

    def command(
        self, *, dry_run: bool = False, count: int | None = None, database: str | None = None
    ) -> Command:
        """The command; with ``dry_run`` it only counts. ``count``: the number that the page showed;
        ``database``: another one than the environment's."""
        argv = ["outbound", self.act, "--dry-run" if dry_run else "--yes", "--json"]
        if self.rows:
            corp_id, kind, _ = self.rows[0]
            argv += ["--corp", corp_id, "--kind", kind, "--", *(row[2] for row in self.rows)]
        else:
            argv += ["--all", "--state", self.state, "--until", self.until]
        environment = () if database is None else (("DATABASE_URL", database),)
        return Command(tuple(argv), count, environment)


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
        raise web.HTTPBadRequest(text="this names no row") from None
    ok = isinstance(corp_id, str) and corp_id and "\0" not in corp_id and isinstance(own_id, str)
    if not ok or kind not in ("user", "department") or not nameable(own_id):
        raise web.HTTPBadRequest(text="this names no row")
    return corp_id, kind, own_id

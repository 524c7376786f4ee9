"""Cruel answers in a life: acts that switch a rule of the simulator's table on for a while, and a watch that
nobody and nothing is removed from the tables that DingTalk had all the time.

A life knows address-sync from outside only: events, the simulator's HTTP, and the tables.
"""

import asyncio
import sqlite3
from contextlib import closing
from random import Random
from typing import TYPE_CHECKING, Any

from dingbridge.simulator.call import Call
from dingbridge.simulator.cruelties import CRUELTIES
from dingbridge.simulator.errors import ActionError, PlatformError
from tests.lives.acts import Act, _department, _somebody, happens

if TYPE_CHECKING:
    from tests.lives.life import Life

FOR_S = (60, 600, 1800)
EDITS = 25
LOOK_EVERY_S = 30.0
COLUMNS = ("name", "mobile", "email", "title", "job_number", "unionid")
OF_ONE = {"one-fails": "userid", "pages-never-end": "dept_id", "pages-repeat": "dept_id"}
"""Cruelties of one entity, by the parameter that names it; half of the time so are those of pages."""

Fact = tuple[Any, ...]


def _cruelty(name: str) -> Act:
    def act(life: "Life", dice: Random) -> None:
        rule: dict[str, Any] = {"cruelty": name, "for_s": dice.choice(FOR_S)}
        of = OF_ONE.get(name)
        if of == "userid":
            rule["match"] = {of: _somebody(life, dice)}
        elif of == "dept_id" and dice.random() < 0.5:
            rule["match"] = {of: _department(life, dice)}
        life.fault(rule)
        if dice.random() < 0.7:
            life.resync()
        for number in range(dice.choice((0, 3, EDITS))):
            life.later(number * rule["for_s"] / EDITS, lambda: _edit(life, dice))

    act.__name__ = name.replace("-", "_")
    return act


def _edit(life: "Life", dice: Random) -> None:
    life.world.act("edit", userid=_somebody(life, dice), remark=f"人{life.number()}")


for _name in CRUELTIES:
    happens("cruel", 1)(_cruelty(_name))


@happens("cruel", 1)
def a_userid_is_given_to_somebody_else(life: "Life", dice: Random) -> None:
    userid = _somebody(life, dice)
    life.world.act("leave", userid=userid)
    number = life.number()
    body = {"userid": userid, "name": f"新人{number}", "mobile": f"139{number:08}", "dept_id_list": "1"}

    def give() -> None:
        try:
            life.world.simulator.write("/topapi/v2/user/create", Call(body))
        except PlatformError as error:
            raise ActionError(str(error)) from error

    life.later(dice.choice((0.5, 20.0, 400.0)), give)


class Watch:
    """Looks at the tables every ``LOOK_EVERY_S``. A fact that DingTalk has had since the beginning, and that
    the tables once held, must stay there."""

    def __init__(self, life: "Life") -> None:
        self._life = life
        self._always = set(_facts(life.world.company))
        self._held: set[Fact] = set()
        self._lost: dict[Fact, float] = {}
        stepped = life.world.simulator.platform.on_step

        def step(*what: Any) -> None:
            stepped(*what)
            self._always &= set(_facts(life.world.company))

        life.world.simulator.platform.on_step = step
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while True:
            self._look()
            await asyncio.sleep(LOOK_EVERY_S)

    def _look(self) -> None:
        shown = set(self._table_facts())
        for fact in (self._held & self._always) - shown:
            self._lost.setdefault(fact, asyncio.get_running_loop().time())
        self._held |= shown

    def _table_facts(self) -> list[Fact]:
        file = self._life.folder / "address-sync.db"
        found: list[Fact] = []
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
            named = ", ".join(COLUMNS)
            for userid, *values in db.execute(f"SELECT userid, {named} FROM users WHERE left_at IS NULL"):
                found.append(("user", userid))
                found += [("field", userid, c) for c, v in zip(COLUMNS, values, strict=True) if v]
            found += [("member", *row) for row in db.execute("SELECT userid, dept_id FROM memberships")]
            found += [("role", *row) for row in db.execute("SELECT userid, role_id FROM user_roles")]
            there = "SELECT dept_id FROM departments WHERE deleted_at IS NULL"
            found += [("department", *row) for row in db.execute(there)]
        return found

    def end(self) -> list[str]:
        self._task.cancel()
        if self._task.done() and not self._task.cancelled() and (error := self._task.exception()):
            return [f"the watch ended: {error!r}"]
        return [f"removed at {at:.0f} s: {fact}" for fact, at in sorted(self._lost.items(), key=str)]


def _facts(company: Any) -> list[Fact]:
    found: list[Fact] = []
    for user in company.users.values():
        found.append(("user", user.userid))
        found += [("field", user.userid, c) for c in COLUMNS if getattr(user, c)]
        found += [("member", user.userid, dept_id) for dept_id in user.dept_ids]
    found += [("role", userid, role.role_id) for role in company.roles for userid in role.userids]
    return found + [("department", dept_id) for dept_id in company.departments]

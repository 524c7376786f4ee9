"""Cruel answers in a life: acts that switch a rule of the simulator's table on for a while, and a watch that
nobody and nothing is removed from the tables that DingTalk had all the time.

A life knows address-sync from outside only: events, the simulator's HTTP, and the tables.
"""

import asyncio
import sqlite3
from collections import Counter, defaultdict
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
EDITED_FOR_S = 1800.0
LOOK_EVERY_S, CLOSELY_S, SELDOM_S = 5.0, 60.0, 600.0
LISTINGS_MOST = 300
"""Calls of one life for members of departments: a listing whose pages never end must be given up."""

COLUMNS = ("name", "mobile", "email", "title", "job_number", "unionid")
OF_ONE = {"one-fails": "userid", "pages-never-end": "dept_id", "pages-repeat": "dept_id"}
"""Cruelties of one entity, by the parameter that names it; half of the time so are those of pages."""

OF_LISTINGS = (*(name for name in CRUELTIES if name.startswith("pages-")), "moved-while-read")
"""Cruelties that hit full syncs only: one is asked for when they begin. Nothing else asks for one, which
would hide that a repair is missing."""

_LISTING = "/topapi/v2/user/list"
_DEPARTMENTS = "SELECT dept_id FROM departments WHERE deleted_at IS NULL"
_PEOPLE = f"SELECT userid, {', '.join(COLUMNS)} FROM users WHERE left_at IS NULL"
_PREVIOUS = "SELECT userid, previous_unionid FROM users"
_OF_PEOPLE = "SELECT userid, unionid, {} FROM {} JOIN users USING (corp_id, userid) WHERE left_at IS NULL"

Fact = tuple[Any, ...]


def _cruelty(name: str) -> Act:
    def act(life: "Life", dice: Random) -> None:
        # a resync request is held back until its time, which is the ingress's
        for_s = dice.choice(FOR_S) + round(2 * max(0.0, life.plan.clocks.receipt_s))
        rule: dict[str, Any] = {"cruelty": name, "for_s": for_s}
        of = OF_ONE.get(name)
        if of == "userid":
            rule["match"] = {of: _somebody(life, dice)}
            life.later(1.0, lambda: _edit(life, rule["match"][of]))  # who is read while it lasts
        elif of == "dept_id" and dice.random() < 0.5:
            rule["match"] = {of: _department(life, dice)}
        life.fault(rule)
        if name in OF_LISTINGS or dice.random() < 0.3:
            life.resync()
        elif name == "late-8-min":
            life.later(rule["for_s"] / 2, life.resync)
        _edits(life, dice, dice.choice((0, 3, EDITS)), rule["for_s"])

    act.__name__ = name.replace("-", "_")
    return act


def _edits(life: "Life", dice: Random, count: int, for_s: float) -> None:
    """So many people are edited, one after the other, within ``for_s``."""
    for number in range(count):
        life.later(number * for_s / EDITS, lambda: _edit(life, _somebody(life, dice)))


def _edit(life: "Life", userid: str) -> None:
    life.world.act("edit", userid=userid, remark=f"人{life.number()}")


for _name in CRUELTIES:
    if _name != "no-such-user":
        happens("cruel", 1)(_cruelty(_name))


@happens("cruel", 1)
def no_such_user(life: "Life", dice: Random) -> None:
    """DingTalk knows nobody for half an hour or longer, in which 25 edits are made."""
    life.fault({"cruelty": "no-such-user", "for_s": dice.choice((1800, 7200))})
    _edits(life, dice, EDITS, EDITED_FOR_S)


@happens("cruel", 1)
def no_such_user_for_a_minute(life: "Life", dice: Random) -> None:
    """DingTalk does not know one person for a minute, in which that one is edited."""
    userid = _somebody(life, dice)
    life.fault({"cruelty": "no-such-user", "match": {"userid": userid}, "for_s": 60})
    for delay_s in (0.0, 2.0, 5.0):
        life.later(delay_s, lambda: _edit(life, userid))


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
    """Looks at the tables every ``LOOK_EVERY_S``, and seldom when no cruelty lasts. A fact that DingTalk has
    had ever since it came true, and that the tables once held, must stay there. The tables hold nothing that
    never was true.

    A person is userid and unionid: who is given a userid has nothing of whoever had it before, and the row
    names the unionid of that other person.
    """

    def __init__(self, life: "Life") -> None:
        self._life = life
        self._true: set[Fact] = set()
        self._ended: set[Fact] = set()
        self._note()
        self._held: set[Fact] = set()
        self._wrong: dict[tuple[str, Fact], float] = {}
        self._unionids: defaultdict[str, list[str]] = defaultdict(list)
        """By userid, those that the tables had, one after the other."""
        self._calls = life.world.simulator.api.calls
        self._listed = self._calls[_LISTING]
        stepped = life.world.simulator.platform.on_step

        def step(*what: Any) -> None:
            stepped(*what)
            self._note()

        life.world.simulator.platform.on_step = step
        self._task = asyncio.get_running_loop().create_task(self._run())

    def _note(self) -> None:
        now = set(_facts(self._life.world.company))
        self._ended |= self._true - now
        self._true |= now

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        closely_until = later_at = 0.0
        while True:
            now = loop.time()
            if any(True for _ in self._life.world.simulator.faults):
                closely_until = now + CLOSELY_S
            if now < closely_until or now >= later_at:
                later_at = now + SELDOM_S
                self._look()
            woken = loop.create_future()  # a sleep would be as coarse as those of the processes
            loop.call_at(now + LOOK_EVERY_S, woken.set_result, None)
            await woken

    def _look(self) -> None:
        shown, now = set(self._table_facts()), asyncio.get_running_loop().time()
        for fact in self._held - self._ended - shown:
            self._wrong.setdefault(("removed", fact), now)
        for fact in shown - self._true:
            self._wrong.setdefault(("never was", fact), now)
        self._held |= shown & self._true
        for kind, userid, *values in shown:
            if kind == "user" and self._unionids[userid][-1:] != values:
                self._unionids[userid] += values

    def _table_facts(self) -> list[Fact]:
        file = self._life.folder / "address-sync.db"
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
            found: list[Fact] = [("department", *row) for row in db.execute(_DEPARTMENTS)]
            for userid, *values in db.execute(_PEOPLE):
                found += _of_person(userid, dict(zip(COLUMNS, values, strict=True)))
            found += [("member", *row) for row in db.execute(_OF_PEOPLE.format("dept_id", "memberships"))]
            found += [("role", *row) for row in db.execute(_OF_PEOPLE.format("role_id", "user_roles"))]
        return found

    def end(self) -> list[str]:
        self._task.cancel()
        if self._task.done() and not self._task.cancelled() and (error := self._task.exception()):
            return [f"the watch ended: {error!r}"]
        found = [f"{what} at {at:.0f} s: {fact}" for (what, fact), at in self._wrong.items()]
        hits: Counter[str] = Counter()
        for name, fault in self._life.cruelties:
            hits[name] += fault.hits
        found += [f"{name} was asked for, and hit nothing" for name in hits if not hits[name]]
        if (listed := self._calls[_LISTING] - self._listed) > LISTINGS_MOST:
            found.append(f"members of departments were listed by {listed} calls")
        return sorted(found + self._given_again())

    def _given_again(self) -> list[str]:
        """Userids that the tables had with two unionids, where the second does not name the first."""
        with closing(sqlite3.connect(self._life.folder / "address-sync.db")) as db:
            columns = [row[1] for row in db.execute("PRAGMA table_info(users)")]
            named = dict(db.execute(_PREVIOUS)) if "previous_unionid" in columns else {}
        had = {userid: unionids[-2] for userid, unionids in self._unionids.items() if len(unionids) > 1}
        return [
            f"{userid} does not name {one}, who had it"
            for userid, one in had.items()
            if named.get(userid) != one
        ]


def _of_person(userid: str, fields: dict[str, Any]) -> list[Fact]:
    who = userid, fields["unionid"]
    return [
        ("user", *who),
        ("named", *who, fields["name"]),
        *(("field", *who, c) for c in COLUMNS if fields[c]),
    ]


def _facts(company: Any) -> list[Fact]:
    found: list[Fact] = [("department", dept_id) for dept_id in company.departments]
    for user in company.users.values():
        found += _of_person(user.userid, {c: getattr(user, c) for c in COLUMNS})
        found += [("member", user.userid, user.unionid, dept_id) for dept_id in user.dept_ids]
    for role in company.roles:
        for userid in role.userids:
            if (user := company.users.peek(userid)) is not None:
                found.append(("role", userid, user.unionid, role.role_id))
    return found

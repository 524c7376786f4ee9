"""The invented company: its departments and its people, and both as DingTalk's Open API shows them.

Responsible for the state and its invariants (a tree of departments below the root, everybody in at least
one department, every manager a colleague). It knows nothing of events: ``platform`` does, and announces
every change that the API would show.
"""

import re
from collections.abc import Iterator, Mapping
from random import Random
from typing import Final

from dingbridge.simulator.company import names
from dingbridge.simulator.company.crowd.crowd import Crowd
from dingbridge.simulator.company.crowd.founders import MOST_KEPT, Founders
from dingbridge.simulator.company.people import Department, Results, User
from dingbridge.simulator.company.roles import Roles
from dingbridge.simulator.errors import ActionError

ROOT: Final = 1
"""DingTalk's id of the department that is the company itself (query-department-details0-v2)."""

_BASE32: Final = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghjkmnpqrstuvwxyz23456789"
_DAY_MS: Final = 86_400_000
_FORMER_KEPT: Final = 10_000
_FIRST_HIRE_MS: Final = 1_420_041_600_000  # 2015-01-01 00:00 in Shanghai


class Company(Results):
    """A company made from ``seed``; the same seed and sizes give the same company, byte for byte.

    ``rng`` goes on to drive what happens to it, so that a whole life can be repeated. One of more than
    ``MOST_KEPT`` is made by arithmetic, person for person when asked for (``crowd``).
    """

    def __init__(self, *, seed: int, users: int, departments: int) -> None:
        self.rng = Random(seed)  # noqa: S311 - invented data, to be repeatable
        self.departments: dict[int, Department] = {ROOT: Department(ROOT, "示例科技有限公司", None, 0)}
        self.users = Crowd()
        self._hired = 0
        self._last_dept = 430_000_000
        self._below: dict[int, list[Department]] | None = None
        if users > MOST_KEPT[0] or departments > MOST_KEPT[1]:
            founders = Founders(seed, users, departments, ROOT)
            self.departments |= founders.departments()
            self.users, self._hired, self._last_dept = Crowd(founders), users, max(self.departments)
            departments = users = 0
        for _ in range(departments):
            self.create_department()
        for _ in range(users):
            self.hire()
        for dept in self.departments.values() if users else ():
            if dept.parent is not None and (members := self.members(dept.dept_id)):
                dept.managers = [self.rng.choice(members)]
        for user in self.users.values() if users else ():
            user.manager = self._manager_for(user.dept_ids[0], user.userid)
        self.roles = Roles(seed, self.users)
        self.former: dict[str, User] = {}

    # What there is

    def department(self, dept_id: int) -> Department:
        """Raises ``ActionError`` when there is none."""
        if dept_id not in self.departments:
            raise ActionError(f"there is no department {dept_id}; GET /_sim/state lists them")
        return self.departments[dept_id]

    def user(self, userid: str) -> User:
        """Raises ``ActionError`` when there is none."""
        if userid not in self.users:
            raise ActionError(f"there is no user {userid}; GET /_sim/state lists them")
        return self.users[userid]

    def children(self, dept_id: int) -> list[Department]:
        if self._below is None:
            self._below = {}
            for dept in self.departments.values():
                if dept.parent is not None:
                    self._below.setdefault(dept.parent, []).append(dept)
        return list(self._below.get(dept_id, ()))

    def tree_changed(self) -> None:
        """To be called when a department came, went, or hangs somewhere else."""
        self._below = None

    def subtree(self, dept_id: int) -> Iterator[Department]:
        """The department and all below it, parents first."""
        yield self.departments[dept_id]
        for child in self.children(dept_id):
            yield from self.subtree(child.dept_id)

    def members(self, dept_id: int) -> list[str]:
        """The userids directly in the department, in the order of hiring."""
        return self.users.members(dept_id)

    def depth(self, dept_id: int) -> int:
        depth, dept = 0, self.departments[dept_id]
        while dept.parent is not None:
            depth, dept = depth + 1, self.departments[dept.parent]
        return depth

    def pick_user(self) -> User:
        """Anybody, at random."""
        if not self.users:
            raise ActionError("nobody is left in the company; hire somebody first")
        return self.users[self.rng.choice(self.users.ids)]

    def pick_department(self) -> Department:
        """Any department but the root, at random."""
        below = [d for d in self.departments.values() if d.parent is not None]
        if not below:
            raise ActionError("only the company itself is left; create a department first")
        return self.rng.choice(below)

    # What can change. Each method says whom else it changed.

    def create_department(self, *, name: str | None = None, parent: int | None = None) -> Department:
        rng = self.rng
        if parent is None:
            tops = len(self.children(ROOT))
            shallow = [d for d in self.departments if 0 < self.depth(d) < 3]
            wide = tops < 3 or (tops < len(names.DEPARTMENTS) and rng.random() < 0.4)
            parent = ROOT if wide or not shallow else rng.choice(shallow)
        above = self.department(parent)
        taken = {d.name for d in self.children(parent)}
        if name is None:
            name = names.department(rng, None if parent == ROOT else above.name, taken)
        elif name in taken:
            raise ActionError(f"department {parent} already has a department of this name; take another")
        self._last_dept += rng.randrange(1, 9_000)
        dept = Department(self._last_dept, name, parent, len(taken) + 1)
        self.departments[dept.dept_id] = dept
        self.tree_changed()
        return dept

    def rename_department(self, dept_id: int, name: str | None = None) -> Department:
        dept = self.department(dept_id)
        taken = {d.name for d in self.children(dept.parent) if d is not dept} if dept.parent else set()
        if name is None:
            base = re.sub(r"（新\d*）$", "", dept.name)
            name = next(n for i in range(9_999) if (n := f"{base}（新{i or ''}）") not in taken | {dept.name})
        elif name in taken:
            raise ActionError(f"department {dept.parent} already has a department of this name; take another")
        dept.name = name
        return dept

    def can_move(self) -> bool:
        """Whether any department could hang somewhere else."""
        return any(self._other_parents(dept_id) for dept_id in self.departments)

    def _movable(self) -> int:
        """A department, at random, that could hang somewhere else."""
        if len(self.departments) > MOST_KEPT[1] and self.can_move():
            while not self._other_parents(dept_id := self.pick_department().dept_id):
                continue
            return dept_id
        if not (movable := [d for d in self.departments if self._other_parents(d)]):
            raise ActionError("there is no department that could go elsewhere; create one first")
        return self.rng.choice(movable)

    def _other_parents(self, dept_id: int) -> list[int]:
        dept = self.departments[dept_id]
        if dept.parent is None:
            return []
        no = {d.dept_id for d in self.subtree(dept_id)} | {dept.parent}
        no |= {d.parent for d in self.departments.values() if d.name == dept.name and d.parent is not None}
        return [d for d in self.departments if d not in no]

    def move_department(self, dept_id: int | None = None, parent: int | None = None) -> Department:
        """Hang a department, with all below it, under another."""
        if dept_id is None:
            dept_id = self._movable()
        dept = self.department(dept_id)
        if dept.parent is None:
            raise ActionError("the company itself cannot be moved; name another department")
        below = {d.dept_id for d in self.subtree(dept_id)}
        if parent is None:
            if not (options := self._other_parents(dept_id)):
                raise ActionError("there is no other department that it could go to; create one first")
            parent = self.rng.choice(options)
        if self.department(parent).dept_id in below:
            raise ActionError("a department cannot go below itself; name another parent_id")
        if dept.name in {child.name for child in self.children(parent) if child is not dept}:
            raise ActionError(f"department {parent} already has a department of this name; rename it first")
        dept.parent = parent
        self.tree_changed()
        return dept

    def remove_department(self, dept_id: int) -> tuple[list[int], list[str]]:
        """Remove it and all below it; its people move up. Returns the removed ids and the moved userids."""
        dept = self.department(dept_id)
        if dept.parent is None:
            raise ActionError("the company itself cannot be removed; name another department")
        removed = [d.dept_id for d in self.subtree(dept_id)]
        moved = self.users.in_order(userid for gone in removed for userid in self.members(gone))
        for userid in moved:
            user = self.users[userid]
            user.dept_ids = [d for d in user.dept_ids if d not in removed] or [dept.parent]
        for gone in removed:
            del self.departments[gone]
        self.tree_changed()
        return removed, moved

    def hire(
        self, *, hired_ms: int | None = None, name: str | None = None, dept_ids: list[int] | None = None
    ) -> User:
        rng = self.rng
        self._hired += 1
        made, pinyin = names.person(rng)
        if dept_ids is None:
            leaves = [d for d in self.departments if d != ROOT] or [ROOT]
            dept_ids = [rng.choice(leaves)]
            if len(leaves) > 1 and rng.random() < 0.1:
                dept_ids.append(rng.choice([d for d in leaves if d != dept_ids[0]]))
        if not dept_ids:
            raise ActionError("a new employee needs at least one department; leave dept_ids out for any")
        for dept_id in dept_ids:
            self.department(dept_id)
        if hired_ms is None:
            hired_ms = _FIRST_HIRE_MS + rng.randrange(3_650) * _DAY_MS
        user = User(
            userid=self._userid(),
            unionid=self.new_unionid(),
            name=name or made,
            mobile=f"100{self._hired % 10_000:04d}{rng.randrange(10**4):04d}",  # 100: no such range exists
            email=f"{pinyin}{self._hired}@example.com",
            title=rng.choice(names.TITLES),
            job_number=f"E{self._hired:05d}",
            work_place=rng.choice(names.WORK_PLACES),
            dept_ids=list(dict.fromkeys(dept_ids)),
            manager="",
            hired_ms=hired_ms,
        )
        user.manager = self._manager_for(user.dept_ids[0], user.userid)
        self.users[user.userid] = user
        return user

    def new_userid(self) -> str:
        self._hired += 1
        return self._userid()

    def _userid(self) -> str:
        # real ids are digit strings with leading zeros: reading one as a number must not go unnoticed
        return f"0{self._hired:05d}{self.rng.randrange(10**10):010d}"

    def new_unionid(self) -> str:
        return "".join(self.rng.choices(_BASE32, k=20)) + "iEiE"

    def move(self, userid: str, dept_ids: list[int] | None = None) -> tuple[User, list[int], list[str]]:
        """Give a user other departments. Returns the user, the departments that lost him as manager, and
        the userids whose own manager changed by it (without his)."""
        user = self.user(userid)
        if dept_ids is None:
            options = [d for d in self.departments if d not in user.dept_ids and d != ROOT]
            dept_ids = [self.rng.choice(options)] if options else [ROOT]
        if not dept_ids:
            raise ActionError("an employee needs at least one department")
        for dept_id in dept_ids:
            self.department(dept_id)
        user.dept_ids = list(dict.fromkeys(dept_ids))
        left = [
            d for d in self.departments.values() if userid in d.managers and d.dept_id not in user.dept_ids
        ]
        depts, reports = self._succeed(userid, left)
        user.manager = self._manager_for(user.dept_ids[0], userid)
        return user, depts, [r for r in reports if r != userid]

    def rename(self, userid: str, name: str | None = None) -> tuple[User, str]:
        """Returns the user and the former name."""
        user = self.user(userid)
        before = user.name
        if name is None:
            name = next(n for _ in range(10_000) if (n := names.person(self.rng)[0]) != before)
        user.name = name
        return user, before

    def edit(self, userid: str, fields: Mapping[str, str]) -> User:
        """Give a user other values of texts (names of ``User``); any title when there are none."""
        user = self.user(userid)
        if not fields:
            fields = {"title": self.rng.choice([t for t in names.TITLES if t != user.title])}
        for name in ("mobile", "email", "telephone"):
            if fields.get(name) and (other := self.users.holding(name, fields[name], but=user)):
                raise ActionError(f"{other.userid} has this {name} already; take another")
        for name, value in fields.items():
            setattr(user, name, value)
        return user

    def lead(self, dept_id: int, userids: list[str] | None = None) -> tuple[Department, list[str]]:
        """Give a department other managers, of its members. Returns it, and whose ``leader_in_dept``
        changed."""
        dept = self.department(dept_id)
        members = self.members(dept_id)
        if userids is None:
            others = [m for m in members if m not in dept.managers]
            userids = [self.rng.choice(others)] if others else []
        if strangers := [u for u in userids if u not in members]:
            raise ActionError(f"{strangers[0]} is no member of department {dept_id}; move him there first")
        changed = set(dept.managers) ^ set(userids)
        dept.managers = list(dict.fromkeys(userids))
        return dept, [m for m in members if m in changed]

    def report_to(self, userid: str, manager: str | None = None) -> User:
        """Give a user another manager; an empty text for none."""
        user = self.user(userid)
        if manager is None:
            others = self.users.others({userid, user.manager})
            manager = self.rng.choice(others) if others else ""
        if manager == userid:
            raise ActionError("nobody reports to himself; name another manager")
        user.manager = self.user(manager).userid if manager else ""
        return user

    def leave(self, userid: str) -> tuple[list[int], list[str]]:
        """The user is gone. Returns departments with another manager now, and colleagues who have one.

        His roles go with him; who is an administrator in his place is ``roles``' to say, before.
        """
        self.forget(userid)
        return self._succeed(userid, [d for d in self.departments.values() if userid in d.managers])

    def forget(self, userid: str) -> None:
        """The user is gone, and nobody takes his place."""
        self.former[userid] = self.user(userid)
        if len(self.former) > _FORMER_KEPT:
            del self.former[next(iter(self.former))]
        del self.users[userid]

    def come_back(self, userid: str | None = None) -> User:
        """Somebody who left is here again, with the same userid, in a department that there still is."""
        if userid is None:
            if not self.former:
                raise ActionError("nobody has left yet; let somebody leave first")
            userid = self.rng.choice(list(self.former))
        if userid not in self.former:
            raise ActionError(f"{userid} has not left; GET /_sim/state lists who is here")
        user = self.former.pop(userid)
        user.dept_ids = [d for d in user.dept_ids if d in self.departments] or [ROOT]
        user.manager = self._manager_for(user.dept_ids[0], userid)
        self.users[userid] = user
        return user

    def _succeed(self, userid: str, left: list[Department]) -> tuple[list[int], list[str]]:
        """Find managers for the departments that ``userid`` manages no longer."""
        changed = set()
        for dept in left:
            dept.managers = [m for m in dept.managers if m != userid]
            heirs = [m for m in self.members(dept.dept_id) if m != userid]
            if not dept.managers and heirs:
                dept.managers = [self.rng.choice(heirs)]
                changed.add(dept.managers[0])  # whose leader_in_dept shows it
        manages = {m for d in self.departments.values() for m in d.managers}
        if userid not in self.users or userid not in manages:
            for report in self.users.reports(userid):
                user = self.users[report]
                user.manager = self._manager_for(user.dept_ids[0], report)
                changed.add(report)
        return [d.dept_id for d in left], self.users.in_order(changed)

    def _manager_for(self, dept_id: int, userid: str) -> str:
        """The nearest manager of the department or one above it who is somebody else; else nobody."""
        dept: Department | None = self.departments[dept_id]
        while dept is not None:
            for manager in dept.managers:
                if manager != userid and manager in self.users:
                    return manager
            dept = self.departments[dept.parent] if dept.parent is not None else None
        return ""

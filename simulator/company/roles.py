"""Roles (labels) and administrators of the invented company: the state, without events.

DingTalk calls the same thing role (角色) in its API and label in its events. A role belongs to a group; who
has it is a list in the order of giving. Everybody named here is an employee.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from dingbridge.simulator.errors import ActionError

_GROUPS: Final = {"职务": ("财务", "人事", "行政", "法务"), "岗位": ("项目经理", "技术负责人", "安全员")}
_SHARE: Final = 0.25
"""Of the employees, who have some role at the start."""


@dataclass(slots=True)
class Role:
    """One role; ``userids`` have it."""

    role_id: int
    name: str
    group_id: int
    userids: dict[str, None] = field(default_factory=dict)


@dataclass(slots=True)
class RoleGroup:
    """A group of roles."""

    group_id: int
    name: str
    roles: dict[int, Role] = field(default_factory=dict)


class Roles:
    """All role groups, and who administers the company (``admins``: userid → sys_level, 1 the main one).

    Has a random source of its own: who has which role does not change what else happens to the company.
    """

    def __init__(self, seed: int, userids: Iterable[str]) -> None:
        self.rng = Random(f"roles {seed}")  # noqa: S311 - invented data, to be repeatable
        self._last_id = 1_507_113_000
        self.groups: dict[int, RoleGroup] = {}
        self.admins: dict[str, int] = {}
        for group_name, names in _GROUPS.items():
            group = self._group(group_name)
            for name in names:
                self.create(name, group.group_id)
        roles = list(self)
        for position, userid in enumerate(userids):
            if self.rng.random() < _SHARE:
                self.rng.choice(roles).userids[userid] = None
            if position < 3:
                self.admins[userid] = 1 if position == 0 else 2

    def __iter__(self) -> Iterator[Role]:
        for group in self.groups.values():
            yield from group.roles.values()

    def _id(self) -> int:
        self._last_id += self.rng.randrange(1, 90)
        return self._last_id

    def _group(self, name: str) -> RoleGroup:
        group = RoleGroup(self._id(), name)
        self.groups[group.group_id] = group
        return group

    def role(self, role_id: int | None = None) -> Role:
        """The role of this id, or any. Raises ``ActionError`` when there is none."""
        roles = list(self)
        if role_id is None:
            if not roles:
                raise ActionError("there is no role left; create one first (action create_role)")
            return self.rng.choice(roles)
        for role in roles:
            if role.role_id == role_id:
                return role
        raise ActionError(f"there is no role {role_id}; GET /_sim/state lists them")

    def of(self, userid: str) -> list[Role]:
        return [role for role in self if userid in role.userids]

    def create(self, name: str | None = None, group_id: int | None = None) -> Role:
        if group_id is None:
            group_id = self.rng.choice(list(self.groups))
        if group_id not in self.groups:
            raise ActionError(f"there is no role group {group_id}; GET /_sim/state lists them")
        taken = {role.name for role in self.groups[group_id].roles.values()}
        if name is None:
            name = next(n for i in range(9_999) if (n := f"新角色{i or ''}") not in taken)
        elif name in taken:
            raise ActionError("this group already has a role of this name; take another")
        role = Role(self._id(), name, group_id)
        self.groups[group_id].roles[role.role_id] = role
        return role

    def rename(self, role_id: int | None, name: str | None) -> tuple[Role, str]:
        """Returns the role and its former name."""
        role = self.role(role_id)
        before = role.name
        taken = {other.name for other in self.groups[role.group_id].roles.values()}
        if name is None:
            base = before.rstrip("0123456789")
            name = next(n for i in range(2, 9_999) if (n := f"{base}{i}") not in taken)
        elif name in taken:
            raise ActionError("this group already has a role of this name; take another")
        role.name = name
        return role, before

    def remove(self, role_id: int | None) -> Role:
        role = self.role(role_id)
        del self.groups[role.group_id].roles[role.role_id]
        return role

    def forget(self, userid: str) -> str | None:
        """Somebody has left. Returns who is the main administrator now, if that changed."""
        for role in self.of(userid):
            del role.userids[userid]
        if self.admins.pop(userid, 2) != 1 or not self.admins:
            return None
        heir = next(iter(self.admins))
        self.admins[heir] = 1
        return heir

    def groups_result(self) -> list[dict[str, Any]]:
        """``result.list`` of obtains-a-list-of-enterprise-roles."""
        return [
            {
                "groupId": group.group_id,
                "name": group.name,
                "roles": [{"id": role.role_id, "name": role.name} for role in group.roles.values()],
            }
            for group in self.groups.values()
        ]

    def user_result(self, userid: str) -> list[dict[str, Any]]:
        """``role_list`` of query-user-details."""
        return [
            {"id": role.role_id, "name": role.name, "group_name": self.groups[role.group_id].name}
            for role in self.of(userid)
        ]

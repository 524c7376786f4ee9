"""What happens to roles and administrators, and its contact events.

DingTalk's events call a role a label. Whose roles a change of the role itself touches is not said in its
event: a receiver has to know who has it.
"""

import json

from dingbridge.simulator.company.actions.base import Actions
from dingbridge.simulator.company.events import PlatformEvent
from dingbridge.simulator.company.roles import Role
from dingbridge.simulator.errors import ActionError


class RoleActions(Actions):
    """Each method is one action; it returns its events in the order in which they are pushed."""

    def create_role(self, name: str | None = None, group_id: int | None = None) -> list[PlatformEvent]:
        role = self._company.roles.create(name, group_id)
        return [self._shape.label("label_conf_add", self._now(), [role.role_id], scope="1")]

    def rename_role(self, role_id: int | None = None, name: str | None = None) -> list[PlatformEvent]:
        role, before = self._company.roles.rename(role_id, name)
        lists = ([_text(role, before)], [_text(role, role.name)])
        return [self._shape.label("label_conf_modify", self._now(), [role.role_id], scope="1", changed=lists)]

    def remove_role(self, role_id: int | None = None) -> list[PlatformEvent]:
        role = self._company.roles.remove(role_id)
        return [self._shape.label("label_conf_del", self._now(), [role.role_id])]

    def give_role(self, role_id: int | None = None, userid: str | None = None) -> list[PlatformEvent]:
        role = self._company.roles.role(role_id)
        if userid is None:
            without = self._company.users.others(role.userids)
            if not without:
                raise ActionError("everybody has this role; name another role_id")
            userid = self._rng.choice(without)
        if self._company.user(userid).userid not in role.userids:
            role.userids[userid] = None
        return [self._change(role, userid, "add")]

    def take_role(self, role_id: int | None = None, userid: str | None = None) -> list[PlatformEvent]:
        roles = self._company.roles
        if role_id is None:
            having = [r for r in roles if r.userids and userid in (None, *r.userids)]
            if not having:
                raise ActionError("nobody has such a role; give one first (action give_role)")
            role = self._rng.choice(having)
        else:
            role = roles.role(role_id)
        if userid is None:
            if not role.userids:
                raise ActionError("nobody has this role; name another role_id")
            userid = self._rng.choice(list(role.userids))
        if userid not in role.userids:
            raise ActionError(f"{userid} does not have this role; GET /_sim/state lists who does")
        del role.userids[userid]
        return [self._change(role, userid, "remove")]

    def _change(self, role: Role, userid: str, action: str) -> PlatformEvent:
        return self._shape.label(
            "label_user_change", self._now(), [role.role_id], users=[userid], action=action
        )

    def appoint_admin(self, userid: str | None = None) -> list[PlatformEvent]:
        admins = self._company.roles.admins
        if userid is None:
            others = self._company.users.others(admins)
            if not others:
                raise ActionError("everybody is an administrator already")
            userid = self._rng.choice(others)
        admins.setdefault(self._company.user(userid).userid, 2 if admins else 1)
        return self._users("org_admin_add", [userid], self._now())

    def dismiss_admin(self, userid: str | None = None) -> list[PlatformEvent]:
        admins = self._company.roles.admins
        if userid is None:
            others = [u for u, level in admins.items() if level != 1]
            if not others:
                raise ActionError("there is none but the main administrator; appoint another first")
            userid = self._rng.choice(others)
        if userid not in admins:
            raise ActionError(f"{userid} is no administrator; GET /_sim/state lists them")
        if admins[userid] == 1:
            raise ActionError("the main administrator cannot be dismissed; name another userid")
        del admins[userid]
        return self._users("org_admin_remove", [userid], self._now())


def _text(role: Role, name: str) -> str:
    return json.dumps({"id": role.role_id, "name": name, "groupId": role.group_id}, ensure_ascii=False)

"""The part of a company that a mirror keeps, chosen by departments."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

ROOT: Final = 1
"""The id of a company's own department."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The ids of departments that are ``included`` and ``excluded``, each with all departments below it.

    The nearest of these at or above a department decides. Without ``included`` the root is.
    """

    included: frozenset[int] = frozenset()
    excluded: frozenset[int] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.included or self.excluded)

    @property
    def rest(self) -> bool:
        """The answer for a department with neither of these above it."""
        return not self.included

    def named(self, dept_id: int) -> bool | None:
        """Return whether the department is in the part, as far as its id says; None: one above it decides."""
        if not self:
            return True
        if dept_id in self.included | self.excluded:
            return dept_id in self.included
        return self.rest if dept_id == ROOT else None

    def starts(self, scope: Mapping[str, Any]) -> tuple[list[int], list[str]]:
        """Return the departments and people that a full sync begins with. ``scope`` is the answer of
        ``auth/scopes``: what the app may see."""
        if self.included:
            return sorted(self.included), []
        seen = [ROOT] if ROOT in scope["authed_dept"] else scope["authed_dept"]
        return [one for one in seen if self.named(one) is not False], scope["authed_user"]

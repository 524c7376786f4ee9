"""What reads show of people and departments: for a while after a write, the state before it.

DingTalk says nothing of how soon a read shows what the Open API has written; a client has to bear that it
does not at once.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from simulator.company.company import Company

Shown = dict[str, Any]


class Sight:
    """``lag_s`` after a write reads show it; 0 for at once. ``clock`` is in seconds."""

    def __init__(self, company: Company, clock: Callable[[], float] = time.monotonic) -> None:
        self._company = company
        self._clock = clock
        self.lag_s = 0.0
        self._before: dict[str | int, deque[tuple[float, Shown | None]]] = {}

    def now(self, key: str | int) -> Shown | None:
        """A user (by userid) or a department (by dept_id) as it is; ``None`` when there is none."""
        company = self._company
        if isinstance(key, str):
            user = company.users.peek(key)
            return None if user is None else company.user_result(user)
        dept = company.departments.get(key)
        return None if dept is None else company.department_result(dept)

    def remember(self, key: str | int, before: Shown | None) -> None:
        """It has been written; ``before`` is what it was."""
        if self.lag_s:
            self._before.setdefault(key, deque()).append((self._clock(), before))

    def show(self, key: str | int) -> Shown | None:
        """As ``now``, but as it was ``lag_s`` ago if it has been written since."""
        if (kept := self._before.get(key)) is None:
            return self.now(key)
        while kept and kept[0][0] <= self._clock() - self.lag_s:
            kept.popleft()
        if kept:
            return kept[0][1]
        del self._before[key]
        return self.now(key)

    def children(self, parent: int) -> list[Shown]:
        """The departments under ``parent``; without those that have just been deleted."""
        at_hand = {dept.dept_id for dept in self._company.children(parent)}
        at_hand |= {key for key in self._before if isinstance(key, int)}
        shown = (self.show(dept_id) for dept_id in sorted(at_hand))
        return [dept for dept in shown if dept is not None and dept.get("parent_id") == parent]

"""The beginning of a large company, by arithmetic: department and person number n are made when asked for.

Nothing is kept but the departments themselves (50,000 are 25 MB). Person ``n`` is at home in department
``n`` modulo their number; the first of a department leads it, and reports to the head of the one above.
"""

from functools import lru_cache
from random import Random
from typing import Final

from dingbridge.simulator.company import names
from dingbridge.simulator.company.people import Department, User

MOST_KEPT: Final = (5_000, 1_000)
"""People and departments of a company that is made whole, by lots; a larger one is made by arithmetic."""

_ABREAST: Final = 20
"""Departments directly below another."""

_FIRST_DEPT: Final = 430_000_000
_DEPT_STEP: Final = 1_301
_DAY_MS: Final = 86_400_000
_FIRST_HIRE_MS: Final = 1_420_041_600_000  # 2015-01-01 00:00 in Shanghai


class Founders:
    """The people 1 to ``users`` and the departments 0 to ``departments`` - 1 below ``root``, as they were."""

    def __init__(self, seed: int, users: int, departments: int, root: int) -> None:
        self.users, self._departments, self._seed, self._root = users, departments, seed, root
        self.members = lru_cache(maxsize=256)(self._members)

    def departments(self) -> dict[int, Department]:
        """All below the root, parents first."""
        made: dict[int, Department] = {}
        rng = Random(f"departments {self._seed}")  # noqa: S311 - invented data, to be repeatable
        tops = list(names.DEPARTMENTS)
        for index in range(self._departments):
            above = self._above(index)
            name = tops[index] if index < len(tops) else f"{rng.choice(tops)}{index}"
            parent = self._root if above is None else self._dept_id(above)
            head = [self.userid(index + 1)] if index < self.users else []
            dept_id = self._dept_id(index)
            made[dept_id] = Department(dept_id, name, parent, index % _ABREAST + 1, head)
        return made

    @staticmethod
    def _dept_id(index: int) -> int:
        return _FIRST_DEPT + (index + 1) * _DEPT_STEP

    @staticmethod
    def _above(index: int) -> int | None:
        return None if index < _ABREAST else index // _ABREAST - 1

    def userid(self, number: int) -> str:
        digits = (number * 6_364_136_223_846_793_005 + self._seed * 1_442_695_040_888_963_407) % 10**10
        return f"0{number:05d}{digits:010d}"

    def number(self, userid: str) -> int | None:
        """The number of a founder."""
        digits = userid[1:-10]
        if not (digits.isascii() and digits.isdigit()):
            return None
        number = int(digits)
        return number if 0 < number <= self.users and self.userid(number) == userid else None

    def _dept_ids(self, number: int) -> list[int]:
        if not self._departments:
            return [self._root]
        home = (number - 1) % self._departments
        second = [(home + 1) % self._departments] if self._in_two(number) else []
        return [self._dept_id(index) for index in dict.fromkeys([home, *second])]

    @staticmethod
    def _in_two(number: int) -> bool:
        """One of ten is in a second department."""
        return (number * 2_654_435_761 >> 7) % 10 == 0

    def _members(self, dept_id: int) -> list[int]:
        """The numbers of a department's members, in order."""
        if dept_id == self._root and not self._departments:
            return list(range(1, self.users + 1))
        index, odd = divmod(dept_id - _FIRST_DEPT, _DEPT_STEP)
        index -= 1
        if odd or not 0 <= index < self._departments:
            return []
        at_home = set(range(index + 1, self.users + 1, self._departments))
        before = (index - 1) % self._departments
        guests = {n for n in range(before + 1, self.users + 1, self._departments) if self._in_two(n)}
        return sorted(at_home | guests)

    def _manager(self, number: int) -> int | None:
        if not self._departments:
            return None
        home = (number - 1) % self._departments
        if number != home + 1:
            return home + 1
        above = self._above(home)
        return None if above is None else above + 1

    def reports(self, number: int) -> list[int]:
        """Whose manager the person was."""
        if number > self._departments:
            return []
        below = range(number * _ABREAST + 1, min((number + 1) * _ABREAST, self.users, self._departments) + 1)
        own = range(number + self._departments, self.users + 1, self._departments)
        return [*below, *own]

    def user(self, number: int) -> User:
        rng = Random(self._seed << 40 | number)  # noqa: S311 - invented data, to be repeatable
        name, pinyin = names.person(rng)
        userid, manager = self.userid(number), self._manager(number)
        return User(
            userid=userid,
            unionid=f"{userid}aiEiE",
            name=name,
            mobile=f"100{number:08d}",  # 100: no such range exists
            email=f"{pinyin}{number}@example.com",
            title=rng.choice(names.TITLES),
            job_number=f"E{number:05d}",
            work_place=rng.choice(names.WORK_PLACES),
            dept_ids=self._dept_ids(number),
            manager="" if manager is None else self.userid(manager),
            hired_ms=_FIRST_HIRE_MS + rng.randrange(3_650) * _DAY_MS,
        )

    def holding(self, digits: str) -> User | None:
        """Whose mobile, email or unionid has these digits."""
        if (number := self.number(digits)) is None:
            number = int(digits[-8:]) if len(digits) == 11 else int(digits)
        return self.user(number) if 0 < number <= self.users else None

"""Everybody in the company, by userid, in the order of hiring.

The people of a large company are made when they are asked for, from their number: only those to whom
something has happened are kept. So a company of 1,000,000 is there at once, and stays small.
"""

import re
from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Iterator, MutableMapping, Sequence, ValuesView
from itertools import chain

from dingbridge.simulator.company.crowd.founders import Founders
from dingbridge.simulator.company.people import User

_NUMBER = re.compile(r"\d+")


class Crowd(MutableMapping[str, User]):
    """``crowd[userid]`` may be changed; what ``peek`` and ``values()`` give may not, unless ``founders`` is
    None: then all are kept."""

    def __init__(self, founders: Founders | None = None) -> None:
        self._founders = founders
        self._founded = founders.users if founders is not None else 0
        self._changed: dict[int, User] = {}
        """Of the founders, by number, those to whom something may have happened."""
        self._gone: list[int] = []
        """The numbers of the founders who have left, sorted."""
        self._later: dict[str, User] = {}
        """Who came after them, or came back."""

    def _number(self, userid: object) -> int | None:
        """Of a founder who has not left."""
        if self._founders is None or not isinstance(userid, str):
            return None
        number = self._founders.number(userid)
        return None if number is None or self._has_left(number) else number

    def _has_left(self, number: int) -> bool:
        at = bisect_left(self._gone, number)
        return at < len(self._gone) and self._gone[at] == number

    def peek(self, userid: str) -> User | None:
        """Somebody as he is now, to be looked at."""
        if self._founders is None or (number := self._number(userid)) is None:
            return self._later.get(userid)
        return self._changed.get(number) or self._founders.user(number)

    def __getitem__(self, userid: str) -> User:
        if self._founders is None or (number := self._number(userid)) is None:
            return self._later[userid]
        if number not in self._changed:
            self._changed[number] = self._founders.user(number)
        return self._changed[number]

    def __setitem__(self, userid: str, user: User) -> None:
        if (number := self._number(userid)) is None:
            self._later[userid] = user
        else:
            self._changed[number] = user

    def __delitem__(self, userid: str) -> None:
        if (number := self._number(userid)) is None:
            del self._later[userid]
            return
        insort(self._gone, number)
        self._changed.pop(number, None)

    def __contains__(self, userid: object) -> bool:
        return userid in self._later or self._number(userid) is not None

    def __len__(self) -> int:
        return self._founded - len(self._gone) + len(self._later)

    def __iter__(self) -> Iterator[str]:
        if self._founders is not None:
            gone = set(self._gone)
            for number in range(1, self._founded + 1):
                if number not in gone:
                    yield self._founders.userid(number)
        yield from self._later

    def values(self) -> ValuesView[User]:
        return _Values(self)

    # Some of them, without a look at all

    @property
    def ids(self) -> Sequence[str]:
        """All userids, for ``random.choice``."""
        return _Ids(self, ())

    def others(self, but: Collection[str]) -> Sequence[str]:
        """All userids ``but`` these."""
        return _Ids(self, self._places(u for u in but if u in self))

    def in_order(self, userids: Iterable[str]) -> list[str]:
        """Those of ``userids`` who are here, in the order of hiring."""
        found = [userid for userid in set(userids) if userid in self]
        return [self.nth(place) for place in self._places(found)]

    def nth(self, place: int) -> str:
        """The userid at this place in the order of hiring, from 0."""
        stay = self._founded - len(self._gone)
        if self._founders is None or place >= stay:
            return list(self._later)[place - stay]
        number = place + 1
        while (shifted := place + 1 + bisect_left(self._gone, number + 1)) != number:
            number = shifted
        return self._founders.userid(number)

    def _places(self, userids: Iterable[str]) -> list[int]:
        later: dict[str, int] = {}
        found = []
        for userid in userids:
            if (number := self._number(userid)) is not None:
                found.append(number - 1 - bisect_left(self._gone, number))
                continue
            later = later or {u: i for i, u in enumerate(self._later, self._founded - len(self._gone))}
            found.append(later[userid])
        return sorted(found)

    def members(self, dept_id: int) -> list[str]:
        """Who is directly in the department."""
        founders: list[str] = []
        if (base := self._founders) is not None:
            numbers = base.members(dept_id)
            if self._gone or self._changed:
                there = {n for n in numbers if not self._has_left(n)}
                there -= self._changed.keys()
                there |= {n for n, user in self._changed.items() if dept_id in user.dept_ids}
                numbers = sorted(there)
            founders = [base.userid(number) for number in numbers]
        return founders + [u.userid for u in self._later.values() if dept_id in u.dept_ids]

    def reports(self, manager: str) -> list[str]:
        """Who reports to ``manager``."""
        found: set[str] = set()
        if (base := self._founders) is not None and (number := base.number(manager)) is not None:
            found = {base.userid(n) for n in base.reports(number) if n not in self._changed}
        found |= {u.userid for u in self._changed.values() if u.manager == manager}
        return self.in_order(found) + [u.userid for u in self._later.values() if u.manager == manager]

    def holding(self, field: str, value: str, but: User | None = None) -> User | None:
        """Somebody whose ``mobile``, ``email``, ``telephone`` or ``unionid`` is ``value``."""
        for user in chain(self._changed.values(), self._later.values()):
            if getattr(user, field) == value and (but is None or user.userid != but.userid):
                return user
        for digits in _NUMBER.findall(value):
            founder = self._founders.holding(digits) if self._founders is not None else None
            if founder is None or self._number(founder.userid) in {None, *self._changed}:
                continue
            if getattr(founder, field) == value and (but is None or founder.userid != but.userid):
                return founder
        return None


class _Values(ValuesView[User]):
    def __init__(self, crowd: Crowd) -> None:
        super().__init__(crowd)
        self._crowd = crowd

    def __iter__(self) -> Iterator[User]:
        for userid in self._crowd:
            user = self._crowd.peek(userid)
            if user is not None:
                yield user


class _Ids(Sequence[str]):
    """The userids of ``crowd`` without those at the places ``but``, which are sorted."""

    def __init__(self, crowd: Crowd, but: Sequence[int]) -> None:
        self._crowd, self._but = crowd, but

    def __len__(self) -> int:
        return len(self._crowd) - len(self._but)

    def __getitem__(self, place):  # type: ignore[no-untyped-def]
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        if not 0 <= place < len(self):
            raise IndexError(place)
        for taken in self._but:
            if place < taken:
                break
            place += 1
        return self._crowd.nth(place)

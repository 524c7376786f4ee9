"""Sessions in memory: a random id in a cookie, for 12 hours. A restart ends them all.

A new password, or taking the user out of the file, ends a session; a new role counts from the next request
on. A session by a provider's login has the role that the provider gave.
"""

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from dingbridge.console.access.users import User, UsersFile

LIFETIME_S: Final = 12 * 3600
MOST: Final = 10_000
MOST_OF_ONE: Final = 50
"""Sessions at once, of all and of one user; the oldest make room."""


@dataclass(frozen=True, slots=True)
class _Session:
    user: User
    proof: str | None
    """What the users file said besides; None: its users are not in the file."""
    ends_at: float


class Sessions:
    """Who is logged in."""

    def __init__(self, users: UsersFile, clock: Callable[[], float] = time.monotonic) -> None:
        self._users, self._clock = users, clock
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()
        self._key = secrets.token_bytes(32)

    def begin(self, user: User, *, in_file: bool = True, lifetime_s: float = LIFETIME_S) -> str:
        """The id of a new session. Raises ``KeyError`` for a user ``in_file`` who is not there any more."""
        found = self._users.find(user.name) if in_file else (user, None)
        if found is None:
            raise KeyError(user.name)
        own = [key for key, one in self._sessions.items() if one.user.name == user.name]
        for key in own[: max(0, len(own) - MOST_OF_ONE + 1)]:  # else one user could end everybody's
            del self._sessions[key]
        session_id = secrets.token_urlsafe(32)
        self._sessions[_digest(session_id)] = _Session(user, found[1], self._clock() + lifetime_s)
        while len(self._sessions) > MOST:
            self._sessions.popitem(last=False)
        return session_id

    def user(self, session_id: str) -> User | None:
        """Whose session that is."""
        session = self._sessions.get(_digest(session_id))
        if session is None:
            return None
        found = self._users.find(session.user.name) if session.proof is not None else (session.user, None)
        if found is None or found[1] != session.proof or self._clock() >= session.ends_at:
            self.end(session_id)
            return None
        return found[0]

    def end(self, session_id: str) -> None:
        self._sessions.pop(_digest(session_id), None)

    def csrf_token(self, of: str) -> str:
        """What a form must send back that was given to this session, or to this user of a proxy."""
        return hmac.digest(self._key, of.encode(), "sha256").hex()


def _digest(session_id: str) -> bytes:
    # looked up by its digest, so that the time of a look-up reveals nothing of an id
    return hashlib.sha256(session_id.encode("utf-8", "surrogateescape")).digest()

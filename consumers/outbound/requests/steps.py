"""The steps that a read of a request can lead to, and what is known of the people whom it names."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import select

from dingbridge import Reader
from dingbridge.consumers.outbound.contacts.identity import mark_in
from dingbridge.consumers.outbound.contacts.rows import entity_of, is_
from dingbridge.consumers.outbound.requests.tables import Request
from dingbridge.consumers.outbound.store import ding_ids, named
from dingbridge.consumers.outbound.tables import outbound_entity
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.error_codes import means_not_there
from dingbridge.dingtalk.errors import ApiError

_NOBODY: Final = (
    "Send the people that it names as user.desired and release who waits for it, or name userids of DingTalk"
)
_ANOTHER: Final = (
    "{own_id} has left DingTalk, or somebody else has the userid now, so nothing is done in that name; "
    "see dingbridge outbound status"
)
_HIDDEN: Final = (
    "DingTalk shows no {name} of a person that it names. Give the app the right to read people, then send it "
    "again; an approval.start may name its department instead"
)
HOUR_MS: Final = 3_600_000
AGAIN_S: Final = 5.0
"""When to read again what DingTalk may show late, in s."""


@dataclass(frozen=True, slots=True)
class Answer:
    """There is a result for the sender. ``after_s``: when a pending one is read again (s; None: by
    the number of attempts). ``missing``: DingTalk does not show yet what was called."""

    result: Literal["done", "unchanged", "pending", "refused", "conflict"]
    ding_id: str | None = None
    reason: str | None = None
    code: str | None = None
    words: str | None = None
    after_s: float | None = None
    missing: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """No result yet; the fields as in ``Answer``."""

    after_s: float | None = None
    missing: bool = False


@dataclass(frozen=True, slots=True)
class End:
    """An approval of ours has ended, or (``outcome`` None) still runs."""

    outcome: str | None
    form: dict[str, str]


@dataclass(frozen=True, slots=True)
class Call:
    """Change DingTalk by ``send``. Before it runs, the request is stored as begun."""

    send: Callable[[], Awaitable[Answer | Wait]]


def unseen(request: Request, now_ms: int) -> Wait | End:
    """An approval may have ended, but DingTalk does not show it yet. Read again for an hour; after that, only
    an event or a reconcile does."""
    return End(None, {}) if request.missing_for(HOUR_MS, now_ms) else Wait(missing=True)


class Stop(Exception):
    """Ends a read early, with its step."""

    def __init__(self, step: Answer | Wait) -> None:
        self.step = step


class People:
    """DingTalk's ids for own ids of one company: from the ledger, otherwise the own id itself if it is a
    userid. A request waits for people who have a row and are not in DingTalk yet.

    Raises ``ApiError``, and ``Stop`` while somebody, or a department, is not there.
    """

    def __init__(self, db: Reader, client: DingTalkClient, corp_id: str, app: str | None) -> None:
        self._db, self._client, self._corp_id, self._app = db, client, corp_id, app

    async def userids(self, own_ids: Iterable[str]) -> dict[str, str]:
        """By own id."""
        wanted = list(dict.fromkeys(own_ids))
        found = await ding_ids(self._db, self._corp_id, "user", wanted)
        known = await named(self._db, self._corp_id, "user", wanted)
        for own_id in wanted:
            if own_id not in found:
                if own_id in known or await self._read(own_id) is None:
                    raise Stop(Answer("pending", reason="user-missing", words=_NOBODY))
                found[own_id] = own_id
        return found

    async def check(self, own_id: str, userid: str) -> None:
        """Check directly before DingTalk acts in somebody's name: a userid can be given to somebody else."""
        mine = is_((self._corp_id, "user", own_id))
        row = (await self._db.execute(select(outbound_entity).where(mine))).one_or_none()
        if row is None or row.app != self._app:  # apps of two developers get two unionids of one person
            return
        mark, reply = entity_of(row).ledger.mark, await self._read(userid)
        here = None if reply is None else mark_in("user", reply)
        if reply is None or (None not in (mark, here) and mark != here):
            raise Stop(Answer("pending", reason="user-missing", words=_ANOTHER.format(own_id=own_id)))

    async def _read(self, userid: str) -> Mapping[str, Any] | None:
        try:
            return await self._client.user(userid)
        except ApiError as error:
            if not means_not_there(error):
                raise
            return None

    async def union_ids(self, own_ids: Iterable[str]) -> dict[str, str]:
        """By own id, for to-dos."""
        userids = await self.userids(own_ids)
        return {own_id: await self._shown(userid, "unionid") for own_id, userid in userids.items()}

    async def _shown(self, userid: str, name: str) -> Any:
        """A field of a person that DingTalk shows of everybody, unless the app lacks the permission."""
        value = (await self._client.user(userid)).get(name)
        if not value:
            raise Stop(Answer("refused", words=_HIDDEN.format(name=name)))
        return value

    async def department(self, own_id: str | None, userid: str) -> int:
        """The dept_id of a department; without one, the first of the person's."""
        if own_id is None:
            return int((await self._shown(userid, "dept_id_list"))[0])
        found = await ding_ids(self._db, self._corp_id, "department", [own_id])
        if own_id not in found:
            words = "Send its department as department.desired"
            raise Stop(Answer("pending", reason="department-missing", words=words))
        return int(found[own_id])


def carried_out(target: Request | None) -> tuple[Request, str]:
    """The named request, and the id of its to-do in DingTalk. Raises ``Stop``."""
    if target is not None and target.ding_id is not None:
        return target, target.ding_id
    if target is not None and target.result in ("refused", "conflict"):
        raise Stop(Answer("refused", words="What data.request names was not carried out: see its result"))
    words = "data.request names nothing that is done; it waits until that is"
    raise Stop(Answer("pending", reason="request-missing", words=words))

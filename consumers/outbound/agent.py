"""The agent: takes what is due, looks at it in DingTalk, does what ``decide`` says; both directions in one.

The intention of a call is committed before the call and its outcome after it, so whoever finds an intention
open knows that the call may have been made. Not here: the rules (``decide.py``), the rows (``store.py``).
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

import structlog

from consumers.outbound import fields
from consumers.outbound.decide import decide, settle_outcome
from consumers.outbound.ledger import (
    Action,
    Create,
    Decision,
    Delete,
    Fields,
    Kind,
    Ledger,
    Observed,
    Outcome,
    PendingReason,
    Result,
    Rules,
    Update,
    Wish,
    take,
)
from consumers.outbound.metrics import OutboundMetrics
from consumers.outbound.owners import Owners
from consumers.outbound.settings import DAY_MS, OutboundSettings
from consumers.outbound.store import (
    REFERENCES,
    Entity,
    claim,
    count_removal,
    ding_ids,
    let_go,
    now_ms,
    removals_left,
    save,
    standing,
)
from dingbridge import Conflict, Database, Reader, Reject
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.errors import (
    AcceptancePending,
    ApiError,
    DepartmentNotEmpty,
    NotFound,
    OutcomeUnknown,
    ReferenceMissing,
)
from dingbridge.throttle import Throttle
from dingbridge.worker.api.clients import ClientOf
from dingbridge.worker.store.errors import TransactionRace

log = structlog.get_logger(__name__)
T = TypeVar("T")

AT_ONCE = 8
MOST_AGAIN = 10
LOOK_EVERY_S = 0.5
"""How often new work is looked for when there is none, in s."""
PAUSE_S = 5.0
"""How long all wait when DingTalk does not answer, unless it says how long, in s."""
MEASURE_EVERY_S = 10.0
REFUSED_MS = 60 * 60_000
"""When an entity is read again that DingTalk does not let us read, in ms: rights are given by hand."""

Missing = tuple[PendingReason, str]
"""Why a wish cannot be written yet, and ``<kind>:<own id>`` of what it waits for."""

_MISSING: dict[str, PendingReason] = {
    "parent": "parent-missing",
    "departments": "department-missing",
    "manager": "manager-missing",
    "managers": "manager-missing",
}
"""What it is called while one of the field's own ids is not there; the first that is missing counts."""


def rules_of(settings: OutboundSettings) -> Rules:
    return Rules(
        settle_ms=round(settings.outbound_settle_s * 1000),
        grace_ms=round(settings.outbound_grace_days * DAY_MS),
    )


async def keep_working(once: Callable[[], Awaitable[int]]) -> None:
    """Call ``once``, which tells how much it did, until cancelled. Raises ``DependencyUnavailable``."""
    while True:
        try:
            pause_s = 0.0 if await once() else LOOK_EVERY_S
        except ApiError as error:
            if not error.unavailable:
                raise
            pause_s = max(error.retry_after_s or 0, PAUSE_S)
            log.warning("outbound.waiting", api=error.api, errcode=error.errcode, retry_in_s=pause_s)
        await asyncio.sleep(pause_s)


async def keep_measuring(database: Database, metrics: OutboundMetrics) -> None:
    """Keep the metrics of what stands in the ledger up to date, so that a scrape asks no database."""
    while True:
        metrics.entities(*await standing(database.reader(), now_ms()))
        await asyncio.sleep(MEASURE_EVERY_S)


class Agent:
    """One process's share of the work. ``client_of`` gives the client for an app and a company."""

    def __init__(
        self,
        database: Database,
        client_of: ClientOf,
        owners: Owners,
        settings: OutboundSettings,
        metrics: OutboundMetrics,
        pace: Throttle,
    ) -> None:
        self._database, self._client_of, self._owners = database, client_of, owners
        self._rules, self._most_removals = rules_of(settings), settings.outbound_max_removals
        self._metrics, self._pace = metrics, pace
        self._own_ids: dict[str, str] = {}

    async def once(self) -> int:
        """Work at what is due, a few at a time; how many there were. Raises ``ApiError`` when DingTalk does
        not answer, which concerns all."""
        entities = await claim(self._database, AT_ONCE, now_ms())
        ended = await asyncio.gather(*map(self._handle, entities), return_exceptions=True)
        for problem in ended:
            if isinstance(problem, BaseException):
                raise problem
        return len(entities)

    async def _handle(self, entity: Entity) -> None:
        try:
            await self._look(entity)
        except Conflict:
            log.warning("outbound.lease_lost", kind=entity.kind, own_id=entity.own_id)
        except BaseException:
            await let_go(self._database, entity)
            raise

    async def _look(self, entity: Entity) -> None:
        reader = self._database.reader()
        wish, missing = await wish_of(reader, entity)
        ledger = with_wish(entity.ledger, wish)
        waits_for = missing[1] if missing else None
        try:
            contacts = Contacts(self._client_of(entity.app, entity.corp_id), self._pace, self._own_ids)
            observed = await contacts.find(entity, ledger)
        except (ApiError, Reject) as error:
            if error.unavailable:
                raise
            code = error.code if isinstance(error, ApiError) else None
            refused = Result("refused", wish.version, code=code, words=str(error), ding_id=ledger.ding_id)
            again = Decision(ledger, result=refused, due_ms=now_ms() + REFUSED_MS)
            await self._save(entity, again, waits_for=waits_for)
            return
        may_remove = await removals_left(reader, entity.corp_id, self._most_removals, now_ms())
        while True:
            decision = decide(
                entity.kind, ledger, observed, owners=self._owners, rules=self._rules, now_ms=now_ms(),
                flagged=entity.flagged, may_remove=may_remove,
            )  # fmt: skip
            if await self._save(entity, decision, waits_for=waits_for):
                break
            may_remove = False  # another took the last of the day's
        if decision.action is None:
            return
        unavailable: ApiError | None = None
        try:
            outcome = Outcome("done", await contacts.write(entity, decision.action))
        except ApiError as error:
            outcome = outcome_of(decision.action, error)
            unavailable = error if outcome.kind == "unsent" and error.unavailable else None
        after = settle_outcome(decision.ledger, outcome, now_ms(), self._rules)
        await self._save(entity, after, waits_for=waits_for)
        if unavailable is not None:
            raise unavailable

    async def _save(self, entity: Entity, decision: Decision, *, waits_for: str | None) -> bool:
        """False: the brake is on, and nothing was written."""
        removes = isinstance(decision.action, Delete) and not decision.ledger.removal_approved
        for left in reversed(range(MOST_AGAIN)):
            try:
                async with self._database.transaction() as tx:
                    if removes and not await count_removal(tx, entity.corp_id, self._most_removals, now_ms()):
                        return False
                    keep = decision.action is not None
                    news = await save(tx, entity, decision, keep=keep, waits_for=waits_for)
                break
            except TransactionRace:
                if not left:
                    raise
        if news is not None:
            self._metrics.result(news.result)
            log.info(
                "outbound.result", kind=entity.kind, own_id=entity.own_id, result=news.result,
                reason=news.reason, code=news.code, fields=news.fields,
            )  # fmt: skip
        for change in decision.changes:
            self._metrics.change(change.verdict)
            log.info(
                "outbound.change", kind=entity.kind, own_id=entity.own_id, verdict=change.verdict,
                fields=sorted(change.fields),
            )  # fmt: skip
        if decision.echo:
            self._metrics.echo()
        return True


class Contacts:
    """What the agent asks of the contacts, and does to them, at a pace. ``own_ids`` remembers each
    department's ``source_identifier``, by dept_id."""

    def __init__(self, client: DingTalkClient, pace: Throttle, own_ids: dict[str, str]) -> None:
        self._client, self._pace, self._own_ids = client, pace, own_ids

    async def find(self, entity: Entity, ledger: Ledger) -> Observed | None:
        """The entity as DingTalk has it now: by the id that is known, else by those that it may have. Raises
        ``ApiError``, ``NotFound`` excepted."""
        kind, wished = entity.kind, ledger.wish.fields if ledger.wish else {}
        tried = ledger.ding_id
        if tried is not None and (found := await self._read(kind, tried)) is not None:
            return found
        if kind == "department":
            return await self._find_department(entity.own_id, wished)
        userid = chosen_userid(entity)
        if userid != tried and (found := await self._read(kind, userid)) is not None:
            return found
        if "mobile" not in wished or "userid" in entity.wish:
            return None
        by_mobile = await self._turn(self._client.userid_by_mobile, wished["mobile"])
        return None if by_mobile in (None, tried, userid) else await self._read(kind, by_mobile)

    async def _find_department(self, own_id: str, wished: Fields) -> Observed | None:
        parent = wished.get("parent")
        if not isinstance(parent, int):
            return None
        try:
            children = await self._turn(self._client.sub_departments, parent)
        except NotFound:
            return None
        # what the listing shows of them varies, so each is read, once in this process
        for child in children:
            dept_id = str(child["dept_id"])
            if dept_id not in self._own_ids:
                await self._read("department", dept_id)
            if self._own_ids.get(dept_id) == own_id:
                return await self._read("department", dept_id)
        for child in children:
            dept_id = str(child["dept_id"])
            if child.get("name") == wished.get("name") and not self._own_ids.get(dept_id):
                return await self._read("department", dept_id)
        return None

    async def _read(self, kind: Kind, ding_id: str) -> Observed | None:
        try:
            reply = (
                await self._turn(self._client.user, ding_id)
                if kind == "user"
                else await self._turn(self._client.department, int(ding_id))
            )
        except NotFound:
            return None
        if kind == "department":
            self._own_ids[ding_id] = str(reply.get("source_identifier") or "")
        return Observed(ding_id, fields.observed(kind, reply))

    async def write(self, entity: Entity, action: Action) -> str | None:
        """Do it; the id of what was created. Raises ``ApiError``."""
        client, kind = self._client, entity.kind
        match action:
            case Create():
                wanted = fields.arguments(kind, action.fields)
                if kind == "user":
                    return await self._turn(client.create_user, {**wanted, "userid": chosen_userid(entity)})
                wanted["source_identifier"] = entity.own_id
                return str(await self._turn(client.create_department, wanted))
            case Update():
                wanted = fields.arguments(kind, action.fields, action.before)
                if kind == "user":
                    await self._turn(client.update_user, action.ding_id, wanted)
                else:
                    await self._turn(client.update_department, int(action.ding_id), wanted)
            case Delete():
                if kind == "user":
                    await self._turn(client.delete_user, action.ding_id)
                else:
                    await self._turn(client.delete_department, int(action.ding_id))
        return None

    async def _turn(self, call: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        await self._pace.turn()
        return await call(*arguments)


def outcome_of(action: Action, error: ApiError) -> Outcome:
    """What ``error`` says of whether ``action`` was carried out."""
    if isinstance(error, OutcomeUnknown):
        return Outcome("unknown")
    if isinstance(error, AcceptancePending):
        return Outcome("pending", reason="acceptance")
    if isinstance(error, DepartmentNotEmpty):
        return Outcome("pending", reason="not-empty")
    if isinstance(error, NotFound) and isinstance(action, Delete):
        return Outcome("done")
    if error.unavailable or (isinstance(error, NotFound) and isinstance(action, Update)):
        return Outcome("unsent", retry_after_ms=round((error.retry_after_s or 0) * 1000))
    if isinstance(error, ReferenceMissing | NotFound):
        known = () if isinstance(action, Delete) else action.fields
        reason = next((_MISSING[name] for name in _MISSING if name in known), None)
        if reason is not None:
            return Outcome("pending", reason=reason)
    return Outcome("refused", code=error.code, words=str(error))


def chosen_userid(entity: Entity) -> str:
    return str(entity.wish.get("userid") or entity.own_id)


def with_wish(ledger: Ledger, wish: Wish) -> Ledger:
    """``ledger`` with the row's wish; of the same version, references may have come since."""
    if ledger.wish is not None and ledger.wish.version == wish.version:
        return replace(ledger, wish=wish)
    return take(ledger, wish)[0]


async def wish_of(db: Reader, entity: Entity) -> tuple[Wish, Missing | None]:
    """The row's wish with DingTalk's ids where it names departments and people, and what is not there yet."""
    return await resolved(entity, lambda kind, own_ids: ding_ids(db, entity.corp_id, kind, own_ids))


async def resolved(
    entity: Entity, ids: Callable[[Kind, list[str]], Awaitable[dict[str, str]]]
) -> tuple[Wish, Missing | None]:
    """``ids`` gives the DingTalk ids of those own ids of a kind that are known (a plan's: or a name)."""
    if entity.absent:
        return Wish(entity.version, {}, absent=True, since_ms=entity.since_ms), None
    wished = {name: value for name, value in entity.wish.items() if name != "userid"}
    missing: Missing | None = None
    for name, reason in _MISSING.items():
        value, kind = wished.get(name), REFERENCES[name]
        if value is None:
            continue
        own_ids = value if isinstance(value, list) else [value]
        known = await ids(kind, own_ids)
        absent = [own_id for own_id in own_ids if own_id not in known]
        if absent:
            del wished[name]
            missing = missing or (reason, f"{kind}:{absent[0]}")
            continue
        found = [
            int(known[own_id]) if kind == "department" and known[own_id].isdigit() else known[own_id]
            for own_id in own_ids
        ]
        wished[name] = found if isinstance(value, list) else found[0]
    return (
        Wish(
            entity.version, wished, absent=False, since_ms=entity.since_ms,
            missing=missing[0] if missing else None,
        ),
        missing,
    )  # fmt: skip

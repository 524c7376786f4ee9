"""The agent: takes what is due, looks at it in DingTalk, does what ``decide`` says; both directions in one.

The intention of a call is committed before the call and its outcome after it, so whoever finds an intention
open knows that the call may have been made. Not here: the rules (``decide.py``), the rows (``rows.py``).
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog
from sqlalchemy.exc import IntegrityError

from consumers.outbound.contacts.decide import decide, settle_outcome
from consumers.outbound.contacts.dingtalk import Contacts, outcome_of
from consumers.outbound.contacts.references import wish_of, with_wish
from consumers.outbound.contacts.rows import Entity, claim, let_go, owned_by_another, save
from consumers.outbound.ledger import Decision, Delete, Outcome, Result, Rules
from consumers.outbound.limits import count_one, is_left
from consumers.outbound.metrics import OutboundMetrics
from consumers.outbound.owners import Owners
from consumers.outbound.settings import DAY_MS, OutboundSettings
from consumers.outbound.store import now_ms
from dingbridge import Conflict, Database, Reject
from dingbridge.dingtalk.errors import ApiError
from dingbridge.error_location import error_location
from dingbridge.throttle import Throttle
from dingbridge.worker.api.clients import ClientOf
from dingbridge.worker.store.errors import TransactionRace
from dingbridge.worker.supervise import is_unavailable

log = structlog.get_logger(__name__)

AT_ONCE = 8
MOST_AGAIN = 10
LOOK_EVERY_S = 0.5
"""How often new work is looked for when there is none, in s."""
PAUSE_S = 5.0
"""How long a company's entities wait when DingTalk does not answer, unless it says how long, in s."""
LOOK_S = 30.0
WRITE_S = 30.0
"""How long the reads of an entity may take, and a write, in s; together less than the lease."""
FAILED_MS = 10 * 60_000
"""When an entity is looked at again at which we failed, in ms."""
REFUSED_MS = 60 * 60_000
"""When an entity is read again that may not be read, or is another's, in ms: that is mended by hand."""


def rules_of(settings: OutboundSettings) -> Rules:
    return Rules(
        settle_ms=round(settings.outbound_settle_s * 1000),
        grace_ms=round(settings.outbound_grace_days * DAY_MS),
    )


async def keep_working(once: Callable[[], Awaitable[int]]) -> None:
    """Call ``once``, which tells how much it did, until cancelled. Raises ``DependencyUnavailable``."""
    while True:
        pause_s = 0 if await once() else LOOK_EVERY_S
        await asyncio.sleep(pause_s)


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
        self._own_ids: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self._waiting: dict[tuple[str | None, str], float] = {}

    async def once(self) -> int:
        """Work at what is due, a few at a time; how many there were. Where DingTalk does not answer for an
        app and a company, theirs wait for a while, and the others go on."""
        now = time.monotonic()
        self._waiting = {one: until for one, until in self._waiting.items() if until > now}
        entities = await claim(self._database, AT_ONCE, now_ms(), but=self._waiting)
        ended = await asyncio.gather(*map(self._handle, entities), return_exceptions=True)
        for problem in ended:
            if isinstance(problem, BaseException):
                raise problem
        return len(entities)

    async def _handle(self, entity: Entity) -> None:
        try:
            await self._look(entity)
        except Conflict as conflict:
            log.info("outbound.begins_again", kind=entity.kind, own_id=entity.own_id, reason=str(conflict))
            await let_go(self._database, entity)
        except Exception as error:
            await self._failed(entity, error)
        except BaseException:
            await let_go(self._database, entity)
            raise

    async def _failed(self, entity: Entity, error: Exception) -> None:
        """Let ``entity`` go; raises what concerns all, which is the database."""
        if isinstance(error, ApiError) and error.unavailable:
            wait_s = max(error.retry_after_s or 0, PAUSE_S)
            self._waiting[entity.app, entity.corp_id] = time.monotonic() + wait_s
            log.warning(
                "outbound.waiting", app=entity.app, corp_id=entity.corp_id, api=error.api,
                errcode=error.errcode, retry_in_s=wait_s,
            )  # fmt: skip
        elif not is_unavailable(error):
            where = error_location(error, "consumers")
            log.error("outbound.look_failed", kind=entity.kind, own_id=entity.own_id, error=where)
            await let_go(self._database, entity, until_ms=now_ms() + FAILED_MS)
            return
        await let_go(self._database, entity)
        if not isinstance(error, ApiError):
            raise error

    async def _look(self, entity: Entity) -> None:
        reader = self._database.reader()
        wish, missing = await wish_of(reader, entity)
        ledger = with_wish(entity.ledger, wish)
        waits_for = missing[1] if missing else None
        refused: Result | None = None
        try:
            client = self._client_of(entity.app, entity.corp_id)
            contacts = Contacts(client, self._pace, self._own_ids[entity.corp_id])
            async with asyncio.timeout(LOOK_S):
                observed = await contacts.find(entity, ledger)
            refused = await owned_by_another(reader, entity, ledger, observed)
            if refused is not None and entity.absent:
                observed, refused = None, None
            elif refused is not None:
                if observed is not None and observed.by == "chosen":  # which another made, and not our call
                    ledger = replace(ledger, intention=None)
                if ledger.owned_id is None:
                    ledger = replace(ledger, candidate=None, seen=None)
        except TimeoutError:  # many departments to be read, and each once: it goes on with the next
            await let_go(self._database, entity)
            return
        except (ApiError, Reject) as error:
            if error.unavailable:
                raise
            code = error.code if isinstance(error, ApiError) else None
            refused = Result("refused", wish.version, code=code, words=str(error), ding_id=ledger.ding_id)
        if refused is not None:
            again = Decision(ledger, result=refused, due_ms=now_ms() + REFUSED_MS)
            await self._save(entity, again, waits_for=waits_for)
            return
        may_remove = await is_left(reader, "removals", entity.corp_id, self._most_removals, now_ms())
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
            async with asyncio.timeout(WRITE_S):
                outcome = await contacts.write(entity, decision.action, decision.ledger)
        except TimeoutError:
            outcome = Outcome("unknown")
        except ApiError as error:
            outcome = outcome_of(decision.action, error)
            unavailable = error if outcome.kind == "unsent" and error.unavailable else None
        after = settle_outcome(decision.ledger, outcome, now_ms(), self._rules)
        await self._save(entity, after, waits_for=waits_for)
        if unavailable is not None:
            raise unavailable

    async def _save(self, entity: Entity, decision: Decision, *, waits_for: str | None) -> bool:
        """False: the day's removals are used up, and nothing was written."""
        ledger = decision.ledger
        again = ledger.intention is not None and ledger.intention.attempt > 1
        removes = isinstance(decision.action, Delete) and not (ledger.removal_approved or again)
        for left in reversed(range(MOST_AGAIN)):
            try:
                async with self._database.transaction() as tx:
                    if removes and not await count_one(
                        tx, "removals", entity.corp_id, self._most_removals, now_ms()
                    ):
                        return False
                    keep = decision.action is not None
                    news = await save(tx, entity, decision, keep=keep, waits_for=waits_for)
                break
            except IntegrityError:  # without its words, which hold the row
                raise Conflict("another own id has got this DingTalk id a moment ago") from None
            except TransactionRace:
                if not left:
                    raise
        if news is not None:
            self._metrics.result(news.result)
            log.info(
                "outbound.result", kind=entity.kind, own_id=entity.own_id, result=news.result,
                reason=news.reason, code=news.code, fields=news.fields, dingtalk_id=news.ding_id,
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

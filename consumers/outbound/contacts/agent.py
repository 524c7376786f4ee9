"""The agent: claims entities that are due, reads them in DingTalk, and acts by ``decide``; for both
directions.

The intention of a call is committed before the call, and its outcome after it. So an open intention shows
that the call may have been made. Not here: the rules (``decide.py``), the rows (``rows.py``).
"""

import asyncio
import contextlib
from collections import defaultdict
from dataclasses import replace

import structlog
from sqlalchemy.exc import IntegrityError

from dingbridge import Conflict, Database, Reject
from dingbridge.consumers.outbound.contacts.decide import decide
from dingbridge.consumers.outbound.contacts.dingtalk import Contacts, outcome_of
from dingbridge.consumers.outbound.contacts.outcome import settle_outcome
from dingbridge.consumers.outbound.contacts.references import desired_of, with_desired
from dingbridge.consumers.outbound.contacts.rows import QUEUE, Entity, entity_of, owned_by_another, save
from dingbridge.consumers.outbound.contacts.withheld import AGAIN_MS as WITHHELD_AGAIN_MS
from dingbridge.consumers.outbound.contacts.withheld import without_withheld
from dingbridge.consumers.outbound.ledger import Decision, Delete, Outcome, Result, Rules, Update
from dingbridge.consumers.outbound.limits import AppOf, What, as_named, count_one, is_left
from dingbridge.consumers.outbound.metrics import OutboundMetrics
from dingbridge.consumers.outbound.owners import Owners
from dingbridge.consumers.outbound.places import Places
from dingbridge.consumers.outbound.settings import DAY_MS, OutboundSettings
from dingbridge.consumers.outbound.store import now_ms
from dingbridge.dingtalk.errors import ApiError
from dingbridge.error_location import error_location
from dingbridge.worker.api.clients import ClientOf
from dingbridge.worker.store.errors import TransactionRace
from dingbridge.worker.supervise import is_unavailable

log = structlog.get_logger(__name__)

AT_ONCE = 8
MOST_AGAIN = 10
READ_S = 30.0
WRITE_S = 30.0
"""How long the reads of an entity may take, and a write, in s; together less than the lease."""
REFUSED_MS = 60 * 60_000
"""When an entity is read again that could not be read, or that belongs to another row, in ms."""
_GIVEN_UP = (
    "DingTalk has answered about this one with errors for an hour, and about others as always. It is tried "
    "again each hour; ask DingTalk's support about it, or correct it there"
)


def rules_of(settings: OutboundSettings) -> Rules:
    return Rules(
        settle_ms=round(settings.outbound_settle_s * 1000),
        grace_ms=round(settings.outbound_grace_days * DAY_MS),
    )


def most_of(settings: OutboundSettings) -> dict[What, int]:
    """The daily limits of contacts."""
    return {"removals": settings.outbound_max_removals, "updates": settings.outbound_max_updates}


class Agent:
    """One process's share of the work. ``client_of`` gives the client for an app and a company, ``app_of``
    the app by which limits are counted."""

    def __init__(
        self,
        database: Database,
        client_of: ClientOf,
        owners: Owners,
        settings: OutboundSettings,
        metrics: OutboundMetrics,
        *,
        app_of: AppOf = as_named,
    ) -> None:
        self._database, self._client_of, self._owners = database, client_of, owners
        self._rules, self._most = rules_of(settings), most_of(settings)
        self._metrics, self._app_of = metrics, app_of
        self._own_ids: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self._places = Places(database, QUEUE)

    async def claim(self, most: int) -> list[Entity]:
        """Claim up to ``most`` entities that are due, except of an app and company whose DingTalk is down."""
        return [entity_of(row) for row in await self._places.claim(most)]

    async def work(self, entity: Entity) -> None:
        """Read one entity, and write it. Raises only what concerns all, errors of the database."""
        try:
            await self._read_and_write(entity)
        except Conflict as conflict:
            log.info("outbound.begins_again", kind=entity.kind, own_id=entity.own_id, reason=str(conflict))
            await self._give_back(entity)
        except Exception as error:
            if is_unavailable(error) and not isinstance(error, ApiError):
                await self._give_back(entity)
                raise
            await self._failed(entity, error)
        except BaseException:
            await self._give_back(entity)
            raise

    async def _give_back(self, entity: Entity) -> None:
        async with self._database.transaction() as tx:
            await QUEUE.give_back(tx, entity.row)

    async def _failed(self, entity: Entity, error: Exception) -> None:
        """Have ``entity`` tried again later. Other entities show whether DingTalk is down."""
        failure, pause_s = self._places.failure(entity.row, error)
        known = {"api": error.api, "errcode": error.errcode} if isinstance(error, ApiError) else {}
        log.warning(
            "outbound.read_failed", kind=entity.kind, own_id=entity.own_id, paused_s=pause_s,
            error=error_location(error, "consumers"), given_up=failure["due_ms"] is None, **known,
        )  # fmt: skip
        if failure["due_ms"] is not None:
            async with self._database.transaction() as tx:
                await QUEUE.release(tx, entity.row, **failure)
            return
        code = error.code if isinstance(error, ApiError) else None
        result = Result("refused", entity.version, code=code, words=_GIVEN_UP, ding_id=entity.ledger.ding_id)
        with contextlib.suppress(Conflict):  # another has it
            decision = Decision(entity.ledger, result=result, due_ms=now_ms() + REFUSED_MS)
            await self._save(entity, decision, waits_for=entity.row.waits_for)

    async def _read_and_write(self, entity: Entity) -> None:
        reader = self._database.reader()
        desired, missing = await desired_of(reader, entity)
        ledger = with_desired(entity.ledger, desired)
        waits_for = missing[1] if missing else None
        refused: Result | None = None
        own_ids = self._own_ids[entity.corp_id]
        known = len(own_ids)
        try:
            client = self._client_of(entity.app, entity.corp_id)
            contacts = Contacts(client, own_ids)
            async with asyncio.timeout(READ_S):
                observed = await contacts.find(entity, ledger)
                if observed is not None and observed.lacking:
                    observed = await without_withheld(reader, contacts, entity, ledger, observed)
            if observed is not None:  # else perhaps nothing was asked
                self._places.worked(entity.row)
            refused = await owned_by_another(reader, entity, ledger, observed)
            if refused is not None and entity.absent:
                observed, refused = None, None
            elif refused is not None:
                if observed is not None and observed.by == "chosen":  # which another made, and not our call
                    ledger = replace(ledger, intention=None)
                if ledger.owned_id is None:
                    ledger = replace(ledger, candidate=None, seen=None)
        except TimeoutError:
            if len(own_ids) == known:
                raise
            await self._give_back(entity)  # many departments are to be read, each once: go on with the next
            return
        except (ApiError, Reject) as error:
            if error.unavailable:
                raise
            code = None
            if isinstance(error, ApiError):
                code = error.code
                self._places.worked(entity.row)
            refused = Result("refused", desired.version, code=code, words=str(error), ding_id=ledger.ding_id)
        if refused is not None:
            again = Decision(ledger, result=refused, due_ms=now_ms() + REFUSED_MS)
            await self._save(entity, again, waits_for=waits_for)
            return
        app = self._app_of(entity.app)
        left = {what: await is_left(reader, what, app, most, now_ms()) for what, most in self._most.items()}
        again_ms = now_ms() + WITHHELD_AGAIN_MS
        while True:
            decision = decide(
                entity.kind, ledger, observed, owners=self._owners, rules=self._rules, now_ms=now_ms(),
                flagged=entity.flagged, may_remove=left["removals"], may_update=left["updates"],
            )  # fmt: skip
            if observed is not None and observed.lacking:
                decision = replace(decision, due_ms=min(decision.due_ms or again_ms, again_ms))
            if await self._save(entity, decision, waits_for=waits_for):
                break
            left = dict.fromkeys(left, False)  # another took the day's last one
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
        if outcome.kind not in ("unknown", "unsent"):
            self._places.worked(entity.row)
        after = settle_outcome(decision.ledger, outcome, now_ms(), self._rules)
        await self._save(entity, after, waits_for=waits_for, keep=unavailable is not None)
        if unavailable is not None:
            raise unavailable

    async def _save(
        self, entity: Entity, decision: Decision, *, waits_for: str | None, keep: bool = False
    ) -> bool:
        """``keep``: the lease is kept. Returns False when the day's limit of the action is used up; then
        nothing was written."""
        limit = limit_of(decision)
        for left in reversed(range(MOST_AGAIN)):
            try:
                async with self._database.transaction() as tx:
                    # Invariant 9: whatever a message names, a limit of the app applies to each removal
                    if limit is not None and not await count_one(
                        tx, limit, self._app_of(entity.app), self._most[limit], now_ms()
                    ):
                        return False
                    keep = keep or decision.action is not None
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


def limit_of(decision: Decision) -> What | None:
    """The daily limit that the decision's action counts against; None: none, or it was counted before."""
    ledger = decision.ledger
    again = ledger.intention is not None and ledger.intention.attempt > 1
    if ledger.removal_approved or again:
        return None
    if isinstance(decision.action, Delete):
        return "removals"
    updates = isinstance(decision.action, Update) and ledger.done_version is not None
    return "updates" if updates else None

"""Works on requests, in a loop beside that of contacts.

A request is claimed with a lease, and its state is read. Before a call that changes DingTalk it is marked as
begun, in a commit of its own. After a kill the next agent finds the mark and reads first. Not here: what is
called and read (``approvals.py``, ``todos.py``).
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import structlog
from sqlalchemy import select

from dingbridge import Database, Reject
from dingbridge.consumers.outbound.forms import ChangeData
from dingbridge.consumers.outbound.limits import AppOf, as_named, count_one
from dingbridge.consumers.outbound.messages import Outgoing, change_record
from dingbridge.consumers.outbound.metrics import OutboundMetrics
from dingbridge.consumers.outbound.owners import Owners
from dingbridge.consumers.outbound.places import Places
from dingbridge.consumers.outbound.requests.approvals import Approvals
from dingbridge.consumers.outbound.requests.permits import refusal
from dingbridge.consumers.outbound.requests.steps import Answer, Call, End, People, Stop, Wait, unseen
from dingbridge.consumers.outbound.requests.store import LEASE_S, result_record_of
from dingbridge.consumers.outbound.requests.tables import Request, key_of, outbound_requests
from dingbridge.consumers.outbound.requests.todos import Todos
from dingbridge.consumers.outbound.settings import DAY_MS, OutboundSettings
from dingbridge.consumers.outbound.store import now_ms, put
from dingbridge.consumers.outbound.tables import NOT_PAUSED
from dingbridge.dingtalk.errors import ApiError, OutcomeUnknown
from dingbridge.error_location import error_location
from dingbridge.retry import delay
from dingbridge.work_queue import WorkQueue
from dingbridge.worker.api.clients import ClientOf
from dingbridge.worker.supervise import is_unavailable

log = structlog.get_logger(__name__)

AT_ONCE: Final = 4
READ_S: Final = 120
"""Reading takes less than the lease, so that an agent that begins a call still holds it."""
FIRST_S: Final = 2.0
MOST_S: Final = 300.0
PENDING_MOST_MS: Final = 7 * DAY_MS
"""How long a request waits for what it names before it is refused."""

_columns = outbound_requests.c


class RequestAgent:
    """Works on what is due. ``now`` gives epoch ms, ``app_of`` the app by which the limit is counted; several
    processes may work at once."""

    def __init__(
        self,
        database: Database,
        client_of: ClientOf,
        owners: Owners,
        settings: OutboundSettings,
        metrics: OutboundMetrics,
        *,
        now: Callable[[], int] = now_ms,
        app_of: AppOf = as_named,
    ) -> None:
        self._database, self._client_of, self._owners = database, client_of, owners
        self._settle_ms = round(settings.outbound_settle_s * 1000)
        self._most_approvals = settings.outbound_max_approvals
        self._metrics, self._now, self._app_of = metrics, now, app_of
        self._queue = WorkQueue(outbound_requests, NOT_PAUSED, lease_s=LEASE_S, clock=lambda: now() / 1000)
        self._places = Places(database, self._queue)

    async def claim(self, most: int) -> list[Request]:
        """Claim up to ``most`` requests that are due, except of an app and company whose DingTalk is down.
        Raises ``DatabaseDown``."""
        return [Request.of(row) for row in await self._places.claim(most)]

    async def work(self, request: Request) -> None:
        opened, failed, answered = request, dict[str, Any](), False
        try:
            async with asyncio.timeout(READ_S):
                step = await self._step(request)
            if isinstance(step, Call):
                began_ms = request.opened_ms or self._now()
                opened = replace(request, opened_ms=began_ms, missing_ms=None)
                counted = request.kind == "approval" and request.opened_ms is None
                if not await self._commit(opened, None, counted=counted):
                    return  # replaced by a newer message, claimed by another member, or over the day's limit
                step = await step.send()
                opened, answered = request, True
            else:  # any other end of a read may have called nothing in DingTalk
                answered = request.is_started and request.refetch is not None
        except Stop as stop:
            step = stop.step
        except Reject as error:  # an app whose credentials are not here
            step = self._failed(request, None, error.reason)
        except OutcomeUnknown as error:
            log.warning("outbound.outcome_unknown", request=request.type, code=error.code)
            step = Wait()
        except ApiError as error:
            opened, answered = request, not error.unavailable
            if error.unavailable:
                failed, _ = self._places.failure(request.row, error)
            tried = bool(failed) and failed["due_ms"] is not None
            step = Wait() if tried else self._failed(request, error.code, str(error))
        except Exception as error:
            if is_unavailable(error):
                raise  # the database
            where = error_location(error, "consumers")
            log.error("outbound.request_failed", request=request.type, error=where)
            step = Wait()
        except BaseException:
            async with self._database.transaction() as tx:
                await self._queue.give_back(tx, request.row)
            raise
        if answered:
            self._places.worked(request.row)
        await self._commit(opened, self._in_time(request, step), failed)

    def _in_time(self, request: Request, step: Answer | Wait | End) -> Answer | Wait | End:
        """``step``, or a refusal of a request that has been pending for the same reason for too long."""
        if not isinstance(step, Answer) or step.result != "pending" or request.result != "pending":
            return step
        too_long = step.reason == request.reason and self._now() - (request.result_ms or 0) > PENDING_MOST_MS
        return replace(step, result="refused", reason=None) if too_long else step

    def _failed(self, request: Request, code: str | None, words: str) -> Answer | Wait | End:
        """The step after an error that shows that DingTalk did nothing in this attempt."""
        if request.is_started:
            return unseen(request, self._now())
        if request.opened_ms is not None:  # an earlier attempt may have worked, and that cannot be found out
            return Answer("conflict", reason="outcome", code=code, words=words)
        return Answer("refused", code=code, words=words)

    async def _step(self, request: Request) -> Answer | Wait | End | Call:
        client = self._client_of(request.app, request.corp_id)
        people = People(self._database.reader(), client, request.corp_id, request.app)
        parts = (client, people, self._now(), self._settle_ms)
        approvals, todos = Approvals(*parts), Todos(*parts)
        if request.is_started:
            # otherwise an event came while its end was being reported
            return await approvals.end(request) if request.refetch else End(None, {})
        target = await self._target(request) if "request" in request.body else None
        stop = await refusal(
            self._database.reader(), self._owners, request, target, app=self._app_of(request.app),
            most=self._most_approvals, now_ms=self._now(),
        )  # fmt: skip
        if stop is not None:
            return stop
        match request.type:
            case "approval.start":
                template = self._owners.template(request.body["processCode"])
                return await approvals.start(request, template.request_id_field)
            case "todo.desired":
                return await todos.create(request)
            case _:
                return await todos.finish(request, target)

    async def _target(self, request: Request) -> Request | None:
        named = key_of(request.corp_id, request.kind, request.body["request"])
        found = await self._database.reader().execute(
            select(outbound_requests).where(named, _columns.type == "todo.desired")
        )
        row = found.one_or_none()
        return None if row is None else Request.of(row)

    async def _commit(
        self,
        request: Request,
        step: Answer | Wait | End | None,
        failed: Mapping[str, Any] | None = None,
        *,
        counted: bool = False,
    ) -> bool:
        """Store ``request``'s progress (None: its call begins). Returns whether the lease is still ours and,
        where it is ``counted``, the day's limit is not reached. ``failed``: what its queue says of a
        failure."""
        now = self._now()
        async with self._database.transaction() as tx:
            row = (await tx.execute(select(outbound_requests).where(request.key).with_for_update())).one()
            if row.claims != request.row.claims or (
                counted
                and not await count_one(tx, "approvals", self._app_of(request.app), self._most_approvals, now)
            ):
                return False
            values: dict[str, Any] = {"opened_ms": request.opened_ms, "missing_ms": request.missing_ms}
            match step:
                case None:
                    return await self._queue.renew(tx, row, **values)
                case Wait():
                    values |= failed or self._again(request, step, now)
                case End():
                    values["missing_ms"] = None
                    if (
                        step.outcome is not None or row.refetch == request.refetch
                    ):  # else an event came meanwhile
                        values |= {"refetch": None, "outcome": step.outcome}
                    if step.outcome is not None:
                        await put(tx, _change(request, step, now))
                        self._metrics.change("reported")
                case Answer():
                    values |= self._answered(request, step, now, row.refetch)
                    if (row.result, row.reason, row.code) != (step.result, step.reason, step.code):
                        values["result_ms"] = now
                        await put(tx, result_record_of({**row._mapping, **values}, now))
                        self._metrics.result(step.result)
                        log.info(
                            "outbound.result", kind=request.kind, own_id=request.request_id,
                            result=step.result, reason=step.reason, code=step.code,
                        )  # fmt: skip
            return await self._queue.release(tx, row, **values)

    def _again(self, request: Request, step: Answer | Wait, now: int) -> dict[str, Any]:
        after_s = delay(request.row.attempts + 1, FIRST_S, MOST_S) if step.after_s is None else step.after_s
        return {
            "attempts": request.row.attempts + 1,
            "missing_ms": (request.missing_ms or now) if step.missing else request.missing_ms,
            "due_ms": now + round(after_s * 1000),
        }

    def _answered(self, request: Request, step: Answer, now: int, refetch: str | None) -> dict[str, Any]:
        result = {"result": step.result, "reason": step.reason, "code": step.code, "words": step.words}
        if step.result == "pending":
            return result | self._again(request, step, now)
        open_ = {"opened_ms": None, "missing_ms": None}
        return result | open_ | {"ding_id": step.ding_id, "due_ms": now if refetch and step.ding_id else None}


def _change(request: Request, end: End, now: int) -> Outgoing:
    data = ChangeData(
        corp_id=request.corp_id, kind="approval", id=request.request_id, verdict="reported",
        dingtalk_id=request.ding_id, request=request.request_id, outcome=end.outcome, form=end.form,
    )  # fmt: skip
    return change_record(data, app=request.app, turn=0, now_ms=now)

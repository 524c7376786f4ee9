"""Approvals: starts them, and reports their end. Nothing that may have been done is repeated before DingTalk
was asked.

DingTalk has no guard against a second instance of one request, so the request's id stands in a field of the
form (``request_id_field`` of the owners file), by which the instance is found.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dingbridge.consumers.outbound.requests.steps import Answer, Call, End, People, Wait, unseen
from dingbridge.consumers.outbound.requests.tables import Request
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.error_codes import means_not_there
from dingbridge.dingtalk.errors import ApiError

_CLOCKS_MS: Final = 2 * 60 * 60_000
"""How far DingTalk's clock may be behind ours, for the listing of what was started, in ms."""
_SECOND_START_MS: Final = 15 * 60_000
"""How long DingTalk must not have shown a started approval before it is started once more, in ms."""

_UNMAPPED: Final = (
    "Whether it was started is not known, and its template has no request_id_field in the file of "
    "OUTBOUND_OWNERS by which it could be found. Look in DingTalk: if it is not there, send it under a new id"
)


@dataclass(frozen=True, slots=True)
class Approvals:
    """Works on requests of one company, with ``client``. Both methods raise ``ApiError`` and ``Stop``."""

    client: DingTalkClient
    people: People
    now_ms: int
    settle_ms: int

    async def start(self, request: Request, field: str | None) -> Answer | Wait | Call:
        """``field`` is the form field for the request's id; None: the template has none."""
        if request.opened_ms is not None and field is None:
            return Answer("conflict", reason="outcome", words=_UNMAPPED)
        body, approvers = request.body, request.body.get("approvers") or []
        userids = await self.people.userids([body["originator"], *approvers])
        originator = userids[body["originator"]]
        if request.opened_ms is not None and field is not None:
            found = await self._started(request, originator, field)
            if found is not None:
                return Answer("done", ding_id=found)
            # Invariant 7: a second one would be another approval in the same person's name
            if not request.missing_for(max(self.settle_ms, _SECOND_START_MS), self.now_ms):
                return Wait(missing=True)
        await self.people.check(body["originator"], originator)
        dept_id = None
        if body.get("department") is not None or not approvers:
            dept_id = await self.people.department(body.get("department"), originator)
        form = body["form"] if field is None else {**body["form"], field: request.request_id}

        async def send() -> Answer:
            instance_id = await self.client.start_approval(
                process_code=body["processCode"],
                originator=originator,
                form=form,
                dept_id=dept_id,
                approvers=[userids[own_id] for own_id in approvers],
            )
            return Answer("done", ding_id=instance_id)

        return Call(send)

    async def _started(self, request: Request, originator: str, field: str) -> str | None:
        """The instance that holds the request's id, among those that began since the first attempt."""
        since = (request.opened_ms or self.now_ms) - _CLOCKS_MS
        ids = self.client.approval_ids(request.body["processCode"], start_ms=since, originator=originator)
        async for instance_id in ids:
            document = await self._document(instance_id)
            if document is not None and form_of(document).get(field) == request.request_id:
                return instance_id
        return None

    async def end(self, request: Request) -> Wait | End:
        """Read whether an approval of ours has ended, after an event or on request."""
        document = await self._document(str(request.ding_id))
        outcome = None if document is None else outcome_of(document)
        if document is None or (outcome is None and request.refetch == "event"):
            return unseen(request, self.now_ms)  # the read lags behind the event, or it was deleted
        age_ms = self.now_ms - (request.result_ms or 0)
        if outcome is None and age_ms < self.settle_ms:
            return Wait((self.settle_ms - age_ms) / 1000)  # an event came before its id was known
        return End(outcome, form_of(document))

    async def _document(self, instance_id: str) -> Mapping[str, Any] | None:
        try:
            return await self.client.approval(instance_id)
        except ApiError as error:
            if means_not_there(error):
                return None
            raise


def form_of(document: Mapping[str, Any]) -> dict[str, str]:
    """The form of an instance, field name to text
    (obtains-the-details-of-a-single-approval-instance-pop)."""
    fields = document.get("formComponentValues") or []
    values = ((str(field.get("name")), str(field.get("value") or "")) for field in fields)
    return {name: "" if value == "null" else value for name, value in values}  # so an empty text area reads


def outcome_of(document: Mapping[str, Any]) -> str | None:
    """``agree``, ``refuse`` or ``terminated``; None for one that runs (the same page)."""
    status = document.get("status")
    if status == "TERMINATED":
        return "terminated"
    return str(document.get("result")) if status == "COMPLETED" else None

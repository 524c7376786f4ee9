"""Approvals by the newer host: one instance, ids by template and start, and the files that hang on them.

Pages: obtains-the-details-of-a-single-approval-instance-pop, obtain-an-approval-list-of-instance-ids,
download-an-approval-attachment. A file's address works for 15 minutes and without a token.
"""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Container
from typing import Any, Final

from aiohttp import web

from dingbridge.simulator.api.calls import Routes
from dingbridge.simulator.call import Answer, Call
from dingbridge.simulator.company.documents import Approval, Attachment, document
from dingbridge.simulator.company.past import PastApprovals
from dingbridge.simulator.company.sight import Sight
from dingbridge.simulator.company.templates import TEMPLATES
from dingbridge.simulator.errors import NewerError

DOWNLOAD_PATH: Final = "/approval-files/{ticket}"
_IDS_PAGE: Final = 20
_IDS_MOST: Final = 10_000
_DAY_MS: Final = 86_400_000
_SPAN_MS: Final = 120 * _DAY_MS
_BACK_MS: Final = 365 * _DAY_MS
_USERIDS_MOST: Final = 10
_STATUSES: Final = frozenset({"RUNNING", "TERMINATED", "COMPLETED"})
_DOWNLOAD_S: Final = 900
_TICKETS_KEPT: Final = 10_000


class ApprovalCalls:
    """The calls. ``users`` are those of the company; ``now_ms`` is its clock, ``clock`` (seconds) that of the
    downloads."""

    def __init__(
        self,
        past: PastApprovals,
        sight: Sight,
        users: Container[str],
        now_ms: Callable[[], int],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._past, self._sight, self._users = past, sight, users
        self._now_ms = now_ms
        self._clock = clock
        self._tickets: OrderedDict[str, tuple[float, Attachment]] = OrderedDict()

    def routes(self) -> Routes:
        return [
            ("GET", "/v1.0/workflow/processInstances", self._get),
            ("POST", "/v1.0/workflow/processes/instanceIds/query", self._ids),
            ("POST", "/v1.0/workflow/processInstances/spaces/files/urls/download", self._file_url),
        ]

    async def _get(self, call: Call) -> Answer:
        approval = self._approval(call, "invalidParameter", "processInstanceNotExist")
        return {"result": document(approval, true_z=self._sight.true_z), "success": True}

    async def _ids(self, call: Call) -> Answer:
        body, now = call.body, self._now_ms()
        code = body.get("processCode")
        if code not in TEMPLATES:
            raise NewerError("invalidProcessCode", "processCode不存在")
        first = _whole(body.get("nextToken"), "invalidNextToken", 0, 2**63)
        size = _whole(body.get("maxResults"), "invalidMaxResults", 1, _IDS_PAGE)
        start = _whole(body.get("startTime"), "invalidInstanceListIdsStartTime", 0, 2**63)
        end = now
        if body.get("endTime") is not None:
            end = _whole(body["endTime"], "invalidEndTime", 0, 2**63)
        elif now - start > _SPAN_MS:
            raise NewerError("invalidInstanceListIdsStartTime", "startTime距当前时间不能超过120天")
        if now - start > _BACK_MS:
            raise NewerError("invalidInstanceListIdsStartTime", "startTime距当前时间不能超过365天")
        if not start <= end <= start + _SPAN_MS:
            raise NewerError("invalidEndTime", "时间范围不能超过120天")
        wanted, statuses = body.get("userIds") or [], body.get("statuses") or []
        if not isinstance(wanted, list) or len(wanted) > _USERIDS_MOST:
            raise NewerError("invalidUserIds", f"userIds最大列表长度为{_USERIDS_MOST}")
        if not isinstance(statuses, list) or not {*map(str, statuses)} <= _STATUSES:
            raise NewerError("invalidParameter", "statuses")
        past = self._past.numbers(code, start, end)[:_IDS_MOST]
        if wanted or (statuses and "COMPLETED" not in statuses):
            past = range(0)  # who started them is not known without making each
        found = [
            approval.instance_id
            for approval in self._sight.approvals()
            if approval.process_code == code
            and start <= approval.created_ms <= end
            and (not wanted or approval.originator in wanted)
            and (not statuses or approval.status in statuses)
        ][: _IDS_MOST - len(past)]
        ids = [self._past.id_of(number) for number in past[first : first + size]]
        ids += found[max(0, first - len(past)) : max(0, first + size - len(past))]
        # text in the answer, a number in the request
        more = {"nextToken": str(first + size)} if first + size < len(past) + len(found) else {}
        return {"result": {"list": ids, **more}, "success": True}

    async def _file_url(self, call: Call) -> Answer:
        approval = self._approval(call, "invalidProcessInstanceId", "processInstNotExist")
        files = approval.attachments()
        if call.flag("withCommentAttatchment"):  # DingTalk's spelling
            files += approval.comment_files()
        attachment = next((file for file in files if file.file_id == call.body.get("fileId")), None)
        if attachment is None:
            raise NewerError("invalidFileId", "fileId不合法")
        if approval.originator not in self._users:
            raise NewerError("userNotExist", "用户不存在")
        result: dict[str, Any] = {"spaceId": int(attachment.space_id), "fileId": attachment.file_id}
        if attachment.size:  # one of 0 bytes has no address
            ticket = secrets.token_urlsafe(24)
            self._tickets[ticket] = (self._clock() + _DOWNLOAD_S, attachment)
            if len(self._tickets) > _TICKETS_KEPT:
                self._tickets.popitem(last=False)
            result["downloadUri"] = call.origin + DOWNLOAD_PATH.format(ticket=ticket)
        return {"result": result, "success": True}

    def download(self, ticket: str) -> web.Response:
        """The file behind an address; 403 when its time is over."""
        until, attachment = self._tickets.get(ticket, (0.0, None))
        if attachment is None or self._clock() >= until:
            return web.Response(status=403, text="<Error><Code>AccessDenied</Code></Error>")
        return web.Response(body=attachment.content(), content_type="application/octet-stream")

    def _approval(self, call: Call, missing: str, unknown: str) -> Approval:
        instance_id = call.body.get("processInstanceId")
        if not instance_id or not isinstance(instance_id, str):
            raise NewerError(missing, "processInstanceId不能为空")
        approval = self._sight.approval(instance_id) or self._past.get(instance_id)
        if approval is None:
            raise NewerError(unknown, "审批实例不存在")
        return approval


def _whole(value: Any, error: str, least: int, most: int) -> int:
    """A number of a body, which must be there and be no text. Raises ``NewerError``."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise NewerError(error, f"取值范围为{least}到{most}")
    return value

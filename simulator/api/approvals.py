"""Approvals: instances, their ids by template and time, templates, and the files that hang on them.

The limits of operation-to-retrieve-a-list-of: 20 ids a page, 120 days a listing, none older than 365 days,
10,000 ids in all. An attachment's address works for 15 minutes and without a token
(grants-the-permission-to-download-the-approval-file).
"""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from simulator.api.calls import Routes
from simulator.call import Answer, Call
from simulator.company.approvals import Approval, Approvals
from simulator.company.attachments import Attachment, attachments_of
from simulator.company.past import PastApprovals
from simulator.company.sight import Sight
from simulator.company.templates import TEMPLATES
from simulator.errors import PlatformError

DOWNLOAD_PATH: Final = "/approval-files/{ticket}"
_IDS_PAGE: Final = 20
_IDS_MOST: Final = 10_000
_DAY_MS: Final = 86_400_000
_USERIDS_MOST: Final = 10
_TEMPLATES_PAGE: Final = 100
_DOWNLOAD_S: Final = 900
_TICKETS_KEPT: Final = 10_000


class ApprovalCalls:
    """The calls. ``now_ms`` is the company's clock, ``clock`` (seconds) that of the downloads."""

    def __init__(
        self,
        approvals: Approvals,
        past: PastApprovals,
        sight: Sight,
        now_ms: Callable[[], int],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._approvals, self._past, self._sight = approvals, past, sight
        self._now_ms = now_ms
        self._clock = clock
        self._tickets: OrderedDict[str, tuple[float, Attachment]] = OrderedDict()

    def routes(self) -> Routes:
        return [
            ("POST", "/topapi/processinstance/get", self._get),
            ("POST", "/topapi/processinstance/listids", self._listids),
            ("POST", "/topapi/processinstance/file/url/get", self._file_url),
            ("POST", "/topapi/process/get_by_name", self._get_by_name),
            ("POST", "/topapi/process/listbyuserid", self._templates),
        ]

    async def _get(self, call: Call) -> Answer:
        return {"process_instance": self._approvals.result(self._approval(call))}

    async def _listids(self, call: Call) -> Answer:
        code, start = call.text("process_code"), call.number("start_time")
        cursor, size = call.page("cursor", _IDS_PAGE, first=0, size=10)
        now = self._now_ms()
        if "end_time" in call.body:
            end = call.number("end_time")
            if now - start > 365 * _DAY_MS:
                raise PlatformError(400002, "无效的参数: start_time距当前时间不能超过365天")
        else:
            end = now
        if end < start or end - start > 120 * _DAY_MS:
            raise PlatformError(400002, "无效的参数: 时间范围不能超过120天")
        originators = [u for u in str(call.body.get("userid_list") or "").split(",") if u]
        if len(originators) > _USERIDS_MOST:
            raise PlatformError(400002, f"无效的参数: userid_list最大列表长度为{_USERIDS_MOST}")
        if code not in TEMPLATES:
            raise PlatformError(400002, "无效的参数: process_code对应的审批模板不存在")
        past = self._past.numbers(code, start, end)[:_IDS_MOST] if not originators else range(0)
        found = [
            approval.instance_id
            for approval in self._sight.approvals()
            if approval.process_code == code
            and start <= approval.created_ms <= end
            and (not originators or approval.originator in originators)
        ][: _IDS_MOST - len(past)]
        more = cursor + size < len(past) + len(found)
        ids = [self._past.instance_id(number) for number in past[cursor : cursor + size]]
        ids += found[max(0, cursor - len(past)) : max(0, cursor + size - len(past))]
        page: dict[str, Any] = {"list": ids}
        return {"result": page | ({"next_cursor": cursor + size} if more else {})}

    async def _file_url(self, call: Call) -> Answer:
        request = call.inner("request")
        approval, file_id = self._approval(request), request.text("file_id")
        attachment = next((a for a in attachments_of(approval.form) if a.file_id == file_id), None)
        if attachment is None:
            raise PlatformError(400002, "无效的参数: file_id对应的文件不存在")
        ticket = secrets.token_urlsafe(24)
        self._tickets[ticket] = (self._clock() + _DOWNLOAD_S, attachment)
        if len(self._tickets) > _TICKETS_KEPT:
            self._tickets.popitem(last=False)
        result = {
            "file_id": file_id,
            "space_id": int(attachment.space_id),
            "download_uri": call.origin + DOWNLOAD_PATH.format(ticket=ticket),
        }
        return {"result": result, "success": True}

    def download(self, ticket: str) -> web.Response:
        """The file behind an address of ``file/url/get``; 403 when its time is over."""
        until, attachment = self._tickets.get(ticket, (0.0, None))
        if attachment is None or self._clock() >= until:
            return web.Response(status=403, text="<Error><Code>AccessDenied</Code></Error>")
        return web.Response(body=attachment.content(), content_type="application/octet-stream")

    async def _get_by_name(self, call: Call) -> Answer:
        name = call.text("name")
        code = next((t.process_code for t in TEMPLATES.values() if t.title == name), None)
        if code is None:
            raise PlatformError(400002, "无效的参数: name对应的审批模板不存在")
        return {"process_code": code}

    async def _templates(self, call: Call) -> Answer:
        offset, size = call.page("offset", _TEMPLATES_PAGE)
        shown = [
            {
                "name": template.title,
                "process_code": template.process_code,
                "icon_url": "",
                "url": f"https://aflow.dingtalk.com/?processCode={template.process_code}",
            }
            for template in TEMPLATES.values()
        ]
        page: dict[str, Any] = {"process_list": shown[offset : offset + size]}
        more = offset + size < len(shown)
        return {"result": page | ({"next_cursor": offset + size} if more else {})}

    def _approval(self, call: Call) -> Approval:
        instance_id = call.text("process_instance_id")
        approval = self._sight.approval(instance_id) or self._past.get(instance_id)
        if approval is None:
            raise PlatformError(400002, "无效的参数: process_instance_id对应的审批实例不存在")
        return approval

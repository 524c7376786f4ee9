"""Approvals: instances, their ids by template and time, templates, and the files that hang on them."""

import time
from collections.abc import AsyncIterator
from typing import Any, Final

import structlog

from dingbridge.dingtalk.api.calls import Calls, a_list, an_object, either, no_sense, objects
from dingbridge.dingtalk.replies import integer

log = structlog.get_logger(__name__)

IDS_PAGE: Final = 20
WINDOW_MS: Final = 120 * 86_400_000
"""The longest span of one listing of ids (operation-to-retrieve-a-list-of)."""
IDS_MOST: Final = 10_000
"""What DingTalk lists of one span at most (the same page)."""
TEMPLATES_PAGE: Final = 100


class ApprovalCalls(Calls):
    """Approvals, read only."""

    async def approval(self, process_instance_id: str) -> dict[str, Any]:
        """An approval instance: form values, operation records, tasks (get-details-single-approval-instance).

        Its times have no zone: they are DingTalk's local ones.
        """
        api = "processinstance/get"
        reply = await self._call(api, "POST", f"/topapi/{api}", {"process_instance_id": process_instance_id})
        return an_object(api, reply.get("process_instance"))

    async def approval_ids(
        self, process_code: str, *, start_ms: int, end_ms: int | None = None, originator: str | None = None
    ) -> AsyncIterator[str]:
        """The ids of a template's instances that were *started* between the two times (epoch ms; until now
        unless given), in spans of 120 days, the oldest first; only those of one ``originator`` (a userid), if
        given (operation-to-retrieve-a-list-of).

        DingTalk lists nothing that is older than 365 days, and no more than 10,000 ids of one span: a
        warning ``api.listing_full`` says when that many came.
        """
        api = "processinstance/listids"
        last = int(time.time() * 1000) if end_ms is None else end_ms
        begin = start_ms
        while begin <= last:
            end = min(begin + WINDOW_MS - 1, last)
            body: dict[str, Any] = {"process_code": process_code, "start_time": begin}
            if end < last or end_ms is not None:
                body["end_time"] = end
            if originator is not None:
                body["userid_list"] = originator
            found = 0
            cursor: int | None = 0
            while cursor is not None:
                page = an_object(api, await self._result(api, {**body, "cursor": cursor, "size": IDS_PAGE}))
                for instance_id in a_list(api, page.get("list")):
                    found += 1
                    yield str(instance_id)
                following = integer(page.get("next_cursor"))  # absent on the last page
                if following is not None and following <= cursor:
                    raise no_sense(api, "says that there is more, but its cursor does not advance")
                cursor = following
            if found >= IDS_MOST:
                log.warning("api.listing_full", api=api, process_code=process_code, ids=found)
            begin = end + 1

    async def process_code(self, name: str) -> str:
        """The code of the template of this name (obtain-the-template-code). Raises ``BadRequest`` when there
        is none."""
        api = "process/get_by_name"
        reply = await self._call(api, "POST", f"/topapi/{api}", {"name": name})
        code = reply.get("process_code")
        if not isinstance(code, str) or not code:
            raise no_sense(api, "succeeds without the process code")
        return code

    async def templates(self, userid: str | None = None) -> list[dict[str, Any]]:
        """The templates that a user may see, or all of the company: ``name``, ``process_code``
        (obtains-a-list-of-approval-forms)."""
        api = "process/listbyuserid"
        body = {} if userid is None else {"userid": userid}
        found: list[dict[str, Any]] = []
        offset: int | None = 0
        while offset is not None:
            page = an_object(api, await self._result(api, {**body, "offset": offset, "size": TEMPLATES_PAGE}))
            found += objects(api, page.get("process_list"))
            following = integer(page.get("next_cursor"))  # absent on the last page
            if following is not None and following <= offset:
                raise no_sense(api, "says that there is more, but its cursor does not advance")
            offset = following
        return found

    async def attachment_url(self, process_instance_id: str, file_id: str) -> str:
        """Where an attachment of an instance can be fetched, for a short time and without a token
        (download-an-approval-attachment). The address is a secret while it works."""
        api = "processinstance/file/url/get"
        request = {"process_instance_id": process_instance_id, "file_id": file_id}
        result = an_object(api, await self._result(api, {"request": request}))
        url = either(result, "download_uri", "downloadUri")
        if not isinstance(url, str) or not url:
            raise no_sense(api, "succeeds without an address")
        return url

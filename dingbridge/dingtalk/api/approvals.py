"""Approvals: instances, their ids by template and time, templates, and the files that hang on them.

All by the new API: the older calls of the same have been granted to no app since October 2022. The month's
quota counts every one of them. Permissions: ``Workflow.Instance.Read`` for instances and ids,
``Workflow.Form.Read`` for templates and forms, ``Workflow.Instance.Write`` (not Read) for a file's address.
"""

import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, cast

import structlog

from dingbridge.dingtalk.api.calls import Calls, a_list, an_object, no_sense, objects
from dingbridge.dingtalk.api.objects import Approval, FormSchema, Template
from dingbridge.dingtalk.errors import NoAddress
from dingbridge.dingtalk.replies import boolean, integer

log = structlog.get_logger(__name__)

INSTANCES: Final = "v1.0/workflow/processInstances"
IDS: Final = "v1.0/workflow/processes/instanceIds/query"
TEMPLATES: Final = "v1.0/workflow/processes/userVisibilities/templates"
SCHEMAS: Final = "v1.0/workflow/forms/schemas/processCodes"
FILE_URLS: Final = "v1.0/workflow/processInstances/spaces/files/urls/download"

IDS_PAGE: Final = 20
WINDOW_MS: Final = 119 * 86_400_000
"""The span of one listing of ids: a day less than DingTalk takes (obtain-an-approval-list-of-instance-ids),
so that neither its clock nor the time that the listing itself needs makes it too long."""
IDS_MOST: Final = 10_000
"""What DingTalk lists of one span at most (the same page)."""
TEMPLATES_PAGE: Final = 100
ENTRIES_MOST: Final = 10_000
"""Entries after which no listing leads on: the limit of ids, and more templates than a company has."""


class ApprovalCalls(Calls):
    """Approvals, read only."""

    async def approval(self, process_instance_id: str) -> Approval:
        """An approval instance as it came: form values, operation records, tasks; what DingTalk leaves out is
        absent (obtains-the-details-of-a-single-approval-instance-pop; Workflow.Instance.Read).

        Its times (``2026-04-16T15:34Z``) have minutes only and are China's, whatever the ``Z`` says
        (captured). The template's processCode is not in it: the event or the listing has it.
        """
        return cast(Approval, await self._read(INSTANCES, query={"processInstanceId": process_instance_id}))

    async def approval_ids(
        self,
        process_code: str,
        *,
        start_ms: int,
        end_ms: int | None = None,
        originator: str | None = None,
        statuses: tuple[str, ...] = (),
    ) -> AsyncIterator[str]:
        """The ids of a template's instances that were *started* between the two times (epoch ms; until now
        unless given), in spans of 119 days, the oldest first; only those of one ``originator`` (a userid), or
        in one of ``statuses`` (RUNNING, TERMINATED, COMPLETED), if given
        (obtain-an-approval-list-of-instance-ids; Workflow.Instance.Read, internal apps only).

        DingTalk lists nothing that is older than 365 days, and no more than 10,000 ids of one span: a
        warning ``api.listing_full`` is logged when that many came. Nothing lists what *changed* since a time.
        """
        last = int(time.time() * 1000) if end_ms is None else end_ms
        begin = start_ms
        while begin <= last:
            end = min(begin + WINDOW_MS - 1, last)
            body: dict[str, Any] = {
                "processCode": process_code,
                "startTime": begin,
                "maxResults": IDS_PAGE,
            }
            if end < last or end_ms is not None:
                body["endTime"] = end
            if originator is not None:
                body["userIds"] = [originator]
            if statuses:
                body["statuses"] = list(statuses)
            found = 0
            async for page in self._listing(IDS, "list", body=body):
                for instance_id in a_list(IDS, page.get("list")):
                    found += 1
                    yield str(instance_id)
                if found >= IDS_MOST:
                    break
            if found >= IDS_MOST:
                log.warning("api.listing_full", api=IDS, process_code=process_code, ids=found)
            begin = end + 1

    async def templates(self, userid: str | None = None) -> list[Template]:
        """The templates that a user may see, or all of the company: ``name``, ``processCode``, ``url``,
        ``iconUrl``, ``dirId``, ``dirName``
        (obtains-a-list-of-approval-forms-visible-to-the-specified; Workflow.Form.Read, internal apps only).
        """
        asked: dict[str, Any] = {"maxResults": TEMPLATES_PAGE}
        if userid is not None:
            asked["userId"] = userid
        return [
            cast(Template, template)
            async for page in self._listing(TEMPLATES, "processList", query=asked)
            for template in objects(TEMPLATES, page.get("processList"))
        ]

    async def form_schema(self, process_code: str) -> FormSchema:
        """A template's form: ``schemaContent`` holds its components (``items``, each ``componentName`` and
        ``props``), ``name``, ``status``, and more (obtain-the-form-schema; Workflow.Form.Read, not for
        third-party apps)."""
        return cast(FormSchema, await self._read(SCHEMAS, query={"processCode": process_code}))

    async def attachment_url(self, process_instance_id: str, file_id: str) -> str:
        """Where a file of an instance, of its form or of a comment, can be fetched for 15 minutes and without
        a token (download-an-approval-attachment; Workflow.Instance.Write). The address is a secret while it
        works.

        Raises ``NoAddress`` for a file of 0 bytes, and what ``userNotExist`` stands for when the *originator*
        has left the company; the instance and the file may be there all the same.
        """
        body = {
            "processInstanceId": process_instance_id,
            "fileId": file_id,
            "withCommentAttatchment": True,  # DingTalk's spelling; without it comments' files are unknown
        }
        url = (await self._read(FILE_URLS, body=body)).get("downloadUri")
        if url in (None, ""):
            raise NoAddress(
                f"DingTalk {FILE_URLS}: succeeds without an address, as it does for a file of 0 bytes. "
                "Compare the fileSize that the approval names.",
                api=FILE_URLS,
            )
        if not isinstance(url, str):
            raise no_sense(FILE_URLS, "answers with an address that is no text")
        return url

    async def _read(
        self, api: str, *, query: Mapping[str, Any] | None = None, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The ``result`` of a read: a POST of ``body``, or a GET with ``query``."""
        name, method = api.removeprefix("v1.0/"), "GET" if body is None else "POST"
        texts = {key: str(value) for key, value in (query or {}).items()}
        reply = await self._new_call(name, method, f"/{api}", body, query=texts)
        if boolean(reply.get("success")) is False:
            raise no_sense(api, "answers with success: false and names no error")
        return an_object(api, reply.get("result"))

    async def _listing(
        self,
        api: str,
        items: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> AsyncIterator[dict[str, Any]]:
        """Every page of a listing, whose entries are called ``items``. ``nextToken`` is a number in the
        request and, in places, text in the answer; it is absent on the last page.

        Raises ``Unavailable`` when a page does not lead on, since a listing that ended there would look
        complete, and when an empty page or more than ``ENTRIES_MOST`` entries lead on: then there is no end.
        """
        token: int | None = 0
        found = 0
        while token is not None:
            place = {"nextToken": token}
            page = await self._read(
                api,
                query=None if query is None else {**query, **place},
                body=None if body is None else {**body, **place},
            )
            yield page
            following = page.get("nextToken")
            number = integer(following)
            if following not in (None, "") and (number is None or number <= token):
                raise no_sense(api, "has hasMore, but its nextToken does not advance")
            entries = len(a_list(api, page.get(items)))
            found += entries
            if number is not None and (not entries or found >= ENTRIES_MOST):
                reason = "an empty page" if not entries else f"a page after {found} entries"
                raise no_sense(api, f"{reason} leads on to another")
            token = number

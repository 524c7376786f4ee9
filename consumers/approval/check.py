"""The calls of the Open API that approval makes, for the doctor and the probe to try them."""

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from consumers.approval.settings import ApprovalSettings
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.api.approvals import FILE_URLS, IDS, INSTANCES, TEMPLATES, WINDOW_MS
from dingbridge.doctor.checks.platform import NOBODY, Call, Known
from dingbridge.doctor.parts import Check
from dingbridge.errors import SettingsError
from dingbridge.snapshots.coerce import as_list

_ENOUGH: Final = 2
_TEMPLATES: Final = 10
"""Templates that are asked for an approval of the last four months, until two are found."""


def _calls(client: DingTalkClient, known: Known) -> list[Call]:
    async def instance(instance_id: str) -> None:
        files = _files(await client.approval(instance_id))
        known.add("file", *((instance_id, file_id) for file_id in files))

    async def templates(_: object) -> None:
        known.add("processCode", *(one.get("processCode") for one in await client.templates()))

    async def ids(process_code: str) -> None:
        if len(known.ids("processInstanceId")) >= _ENOUGH:
            return
        start_ms = int(time.time() * 1000) - WINDOW_MS + 1
        async for instance_id in client.approval_ids(process_code, start_ms=start_ms):
            known.add("processInstanceId", instance_id)
            return  # the next is of another template

    async def file_url(file: Any) -> None:
        instance_id, file_id = (NOBODY, NOBODY) if file == NOBODY else file
        await client.attachment_url(instance_id, file_id)

    calls = [
        Call(INSTANCES, instance, "processInstanceId"),
        Call(TEMPLATES, templates),
        Call(IDS, ids, "processCode", most=_TEMPLATES),
    ]
    return [*calls, Call(FILE_URLS, file_url, "file")] if _downloads() else calls


def _files(document: Mapping[str, Any]) -> Iterator[str]:
    """The ids of the files in a form's own controls."""
    for field in as_list(document.get("formComponentValues")) or []:
        if isinstance(field, Mapping) and field.get("componentType") == "DDAttachment":
            for file in as_list(field.get("value")) or []:
                if isinstance(file, Mapping) and file.get("fileId"):
                    yield str(file["fileId"])


def _downloads() -> bool:
    """Whether attachments are kept. With settings that do not load, a call too many shows more than one too
    few."""
    try:
        return ApprovalSettings.load().archive_dir is not None
    except SettingsError:
        return True


CHECK = Check(calls=_calls)

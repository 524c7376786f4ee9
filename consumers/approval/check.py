"""The calls of the Open API that approval makes, for the doctor and the probe to try them."""

import time
from typing import Final

from consumers.approval.settings import ApprovalSettings
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.doctor.checks.platform import NOBODY, Call, Known
from dingbridge.doctor.parts import Check
from dingbridge.errors import SettingsError

_DAY_MS: Final = 86_400_000


def _calls(client: DingTalkClient, known: Known) -> list[Call]:
    async def ids(_: object) -> None:
        start_ms = int(time.time() * 1000) - _DAY_MS
        async for _ in client.approval_ids(NOBODY, start_ms=start_ms):
            return

    calls = [
        Call("processinstance/get", lambda _: client.approval(NOBODY)),
        Call("process/get_by_name", lambda _: client.process_code(NOBODY)),
        Call("process/listbyuserid", lambda _: client.templates()),
        Call("processinstance/listids", ids),
    ]
    if _downloads():
        calls.append(Call("processinstance/file/url/get", lambda _: client.attachment_url(NOBODY, NOBODY)))
    return calls


def _downloads() -> bool:
    """Whether attachments are kept. With settings that do not load, a call too many shows more than one too
    few."""
    try:
        return ApprovalSettings.load().archive_dir is not None
    except SettingsError:
        return True


CHECK = Check(calls=_calls)

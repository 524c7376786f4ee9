"""The calls of the Open API that approval makes, for the doctor to try whether they are allowed."""

import time
from typing import Final

from consumers.approval.settings import ApprovalSettings
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.api.approvals import FILE_URLS, IDS, INSTANCES, TEMPLATES
from dingbridge.doctor.checks.platform import NOBODY, Call
from dingbridge.doctor.parts import Check
from dingbridge.errors import SettingsError

_DAY_MS: Final = 86_400_000


def _calls(client: DingTalkClient) -> list[Call]:
    async def ids() -> None:
        start_ms = int(time.time() * 1000) - _DAY_MS
        async for _ in client.approval_ids(NOBODY, start_ms=start_ms):
            return

    calls = [
        Call(INSTANCES, lambda: client.approval(NOBODY)),
        Call(TEMPLATES, client.templates),
        Call(IDS, ids),
    ]
    if _downloads():
        calls.append(Call(FILE_URLS, lambda: client.attachment_url(NOBODY, NOBODY)))
    return calls


def _downloads() -> bool:
    """Whether attachments are kept. With settings that do not load, a call too many shows more than one too
    few."""
    try:
        return ApprovalSettings.load().archive_dir is not None
    except SettingsError:
        return True


CHECK = Check(calls=_calls)

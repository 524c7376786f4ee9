"""The calls of the Open API that approval makes, for the doctor to try whether they are allowed; and the
templates that have an action."""

import time
from typing import Final

from consumers.approval.actions.declaration import load_actions
from consumers.approval.settings import ApprovalSettings
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.doctor.checks.platform import NOBODY, Call
from dingbridge.doctor.checks.subscription import Templates
from dingbridge.doctor.parts import Check
from dingbridge.errors import SettingsError

_DAY_MS: Final = 86_400_000


def _calls(client: DingTalkClient) -> list[Call]:
    async def ids() -> None:
        start_ms = int(time.time() * 1000) - _DAY_MS
        async for _ in client.approval_ids(NOBODY, start_ms=start_ms):
            return

    calls = [
        Call("processinstance/get", lambda: client.approval(NOBODY)),
        Call("process/get_by_name", lambda: client.process_code(NOBODY)),
        Call("process/listbyuserid", client.templates),
        Call("processinstance/listids", ids),
    ]
    if _downloads():
        calls.append(Call("processinstance/file/url/get", lambda: client.attachment_url(NOBODY, NOBODY)))
    return calls


def _downloads() -> bool:
    """Whether attachments are kept. With settings that do not load, a call too many shows more than one too
    few."""
    try:
        return ApprovalSettings.load().archive_dir is not None
    except SettingsError:
        return True


def _templates() -> Templates:
    """The ends of each template with an action. None of the examples', whose templates nobody has; and none
    of settings that do not load, which the doctor tells by itself."""
    try:
        where = ApprovalSettings.load().approval_actions
        if where == ApprovalSettings.model_fields["approval_actions"].default:
            return {}
        return dict.fromkeys(load_actions(where), ("finish", "terminate", "delete"))
    except SettingsError:
        return {}


CHECK = Check(calls=_calls, templates=_templates)

"""What doctor and probe look at for approval: the calls of the Open API that it makes, the templates that
have an action, and whether DingTalk's times are what they are taken for."""

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from dingbridge import ConsumerSettings, DependencyUnavailable, open_database
from dingbridge.consumers.approval.actions.declaration import load_actions
from dingbridge.consumers.approval.settings import ApprovalSettings
from dingbridge.consumers.approval.tables import approval_instances
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.api.approvals import FILE_URLS, IDS, INSTANCES, TEMPLATES, WINDOW_MS
from dingbridge.doctor.checks.platform import NOBODY, Call, Known
from dingbridge.doctor.checks.subscription import Templates
from dingbridge.doctor.context import Context
from dingbridge.doctor.findings import Finding, Level, Words, found
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
    """Whether attachments are kept; also if the settings do not load: better one call too many than too
    few."""
    try:
        return ApprovalSettings.load().archive_dir is not None
    except SettingsError:
        return True


async def _times(context: Context) -> list[Finding]:
    """Nothing without an archive that this process can read."""
    try:
        settings = ConsumerSettings.load()
        database = open_database(settings.database_url_for("approval"), create=False)
    except (SettingsError, DependencyUnavailable):
        return []
    try:
        where = select(func.count()).where(approval_instances.c.true_utc.is_(True))
        number = await database.reader().scalar(where)
    except (DependencyUnavailable, DBAPIError):
        return []
    finally:
        await database.close()
    return [found("approval.true_utc", number=number)] if number else []


WORDS: Final = {
    "approval.true_utc": Words(
        Level.WARNING,
        (
            "The times of {number} approval(s) are UTC, as their Z has it, by the number that each bears; "
            "DingTalk's are China's clock everywhere else that we know of. They are read as UTC.",
            "Compare one of them with DingTalk's client (true_utc in approval_instances), and report it; a "
            "program of yours that reads the same API may be 8 hours off.",
        ),
        (
            "按审批编号推算，{number} 个审批的时间确实是 UTC（与末尾的 Z 一致），已按 UTC 读取；"
            "我们所知的其他企业都是中国时间。",
            "请与钉钉客户端核对其中一个（approval_instances 的 true_utc），并反馈给项目；"
            "你们自己读同一接口的程序可能差 8 小时。",
        ),
    )
}


def _templates() -> Templates:
    """The ends of each template with an action. Empty for the example actions, whose templates nobody has,
    and for settings that do not load, which the doctor reports itself."""
    try:
        where = ApprovalSettings.load().approval_actions
        if where == ApprovalSettings.model_fields["approval_actions"].default:
            return {}
        return dict.fromkeys(load_actions(where), ("finish", "terminate", "delete"))
    except SettingsError:
        return {}


CHECK = Check(words=WORDS, look=_times, calls=_calls, templates=_templates)

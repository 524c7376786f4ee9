"""What the doctor looks at for approval: whether the calls of the Open API that it makes are allowed, and
whether DingTalk's times are what they are taken for."""

import time
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from consumers.approval.settings import ApprovalSettings
from consumers.approval.tables import approval_instances
from dingbridge import ConsumerSettings, DependencyUnavailable, open_database
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.api.approvals import FILE_URLS, IDS, INSTANCES, TEMPLATES
from dingbridge.doctor.checks.platform import NOBODY, Call
from dingbridge.doctor.context import Context
from dingbridge.doctor.findings import Finding, Level, Words, found
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
            "The times of {number} approval(s) are UTC, as their Z says, by the number that each bears; "
            "DingTalk's are China's clock everywhere else that we know of. They are read as UTC.",
            "Compare one of them with DingTalk's client (true_utc in approval_instances), and tell us; a "
            "program of yours that reads the same API may be 8 hours off.",
        ),
        (
            "按审批编号推算，{number} 个审批的时间确实是 UTC（与末尾的 Z 一致），已按 UTC 读取；"
            "我们所知的其他企业都是中国时间。",
            "请与钉钉客户端核对其中一个（approval_instances 的 true_utc），并告诉我们；"
            "你们自己读同一接口的程序可能差 8 小时。",
        ),
    )
}

CHECK = Check(words=WORDS, look=_times, calls=_calls)

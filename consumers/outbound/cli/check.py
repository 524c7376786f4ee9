"""outbound's part of the doctor and the probe: its calls of the Open API, the templates of its owners file,
and the rows that wait for an operator."""

from collections.abc import Mapping
from typing import Final

from sqlalchemy.exc import DBAPIError

from dingbridge import ConsumerSettings, DependencyUnavailable, open_database
from dingbridge.consumers.outbound import waiting
from dingbridge.consumers.outbound.owners import load_owners
from dingbridge.consumers.outbound.settings import OutboundSettings
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.api.approvals import INSTANCES
from dingbridge.doctor.checks.platform import NOBODY, Call, Known
from dingbridge.doctor.checks.subscription import Templates
from dingbridge.doctor.context import Context
from dingbridge.doctor.findings import Finding, Level, Words, found
from dingbridge.doctor.parts import Check
from dingbridge.errors import SettingsError


def _calls(client: DingTalkClient, known: Known) -> list[Call]:
    return [
        Call("v2/user/get", client.user, "userid"),
        Call("v2/department/get", client.department, "dept_id"),
        Call("v2/department/listsub", client.sub_departments, "dept_id"),
        # names nobody, so it changes nothing; all writes of contacts need the same right
        Call("v2/user/update", lambda _: client.update_user(NOBODY, {}), writes=True),
        Call(INSTANCES, client.approval, "processInstanceId"),
    ]


def _templates() -> Templates:
    """Empty when the settings do not load; the doctor reports that itself."""
    try:
        owners = load_owners(OutboundSettings.load().outbound_owners)
    except SettingsError:
        return {}
    return dict.fromkeys(owners.templates, ("finish", "terminate"))


async def _waiting(context: Context) -> list[Finding]:
    """Empty when this process cannot read a ledger."""
    try:
        settings = ConsumerSettings.load()
        database = open_database(settings.database_url_for("outbound"), create=False)
    except (SettingsError, DependencyUnavailable):
        return []
    try:
        counts = await waiting.counts(database.reader())
    except (DependencyUnavailable, DBAPIError):
        return []
    finally:
        await database.close()
    return judge(counts)


def judge(counts: Mapping[str, int]) -> list[Finding]:
    """By ``waiting.counts``: the alert warns of conflicts; the others wait for an operator as well."""
    named = [
        f"{state} {count}"
        for state in ("refused", "removal", "update", "adopted")
        if (count := counts.get(state))
    ]
    conflicts = counts.get("conflict", 0)
    return [
        *([found("outbound.conflict", count=conflicts)] if conflicts else []),
        *([found("outbound.waiting", states=named)] if named else []),
    ]


WORDS: Final = {
    "outbound.conflict": Words(
        Level.WARNING,
        (
            "People or departments that outbound leaves alone: it cannot know whose word counts: {count}.",
            "`dingbridge outbound status` lists them; look at them in DingTalk, then `dingbridge outbound "
            "release` those for which the OA's word counts.",
        ),
        (
            "outbound 无法判断以谁为准、因而不去动的人员或部门：{count}。",
            "`dingbridge outbound status` 会列出它们；先到钉钉里看一看，对以 OA 为准的运行 "
            "`dingbridge outbound release`。",
        ),
    ),
    "outbound.waiting": Words(
        Level.NOTE,
        (
            "What the OA wants in DingTalk waits for an operator, by state: {states}.",
            "`dingbridge outbound status` lists it; `dingbridge outbound approve` and `release` let it be "
            "written.",
        ),
        (
            "OA 希望写入钉钉的内容在等待人工确认，按状态：{states}。",
            "`dingbridge outbound status` 会列出；用 `dingbridge outbound approve` 和 `release` 放行。",
        ),
    ),
}

CHECK = Check(words=WORDS, look=_waiting, calls=_calls, templates=_templates)

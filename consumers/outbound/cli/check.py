"""The calls of the Open API that outbound makes, for the doctor and the probe to try them; and the
templates of its owners file."""

from consumers.outbound.owners import load_owners
from consumers.outbound.settings import OutboundSettings
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.api.approvals import INSTANCES
from dingbridge.doctor.checks.platform import NOBODY, Call, Known
from dingbridge.doctor.checks.subscription import Templates
from dingbridge.doctor.parts import Check
from dingbridge.errors import SettingsError


def _calls(client: DingTalkClient, known: Known) -> list[Call]:
    return [
        Call("v2/user/get", client.user, "userid"),
        Call("v2/department/get", client.department, "dept_id"),
        Call("v2/department/listsub", client.sub_departments, "dept_id"),
        # of nobody, so it changes nothing; the right is the same for all writes of contacts
        Call("v2/user/update", lambda _: client.update_user(NOBODY, {}), writes=True),
        Call(INSTANCES, client.approval, "processInstanceId"),
    ]


def _templates() -> Templates:
    """None of settings that do not load, which the doctor tells by itself."""
    try:
        owners = load_owners(OutboundSettings.load().outbound_owners)
    except SettingsError:
        return {}
    return dict.fromkeys(owners.templates, ("finish", "terminate"))


CHECK = Check(calls=_calls, templates=_templates)

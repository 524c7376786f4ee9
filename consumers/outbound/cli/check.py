"""The calls of the Open API that outbound makes, for the doctor to try whether they are allowed; and the
templates of its owners file."""

from consumers.outbound.owners import load_owners
from consumers.outbound.settings import OutboundSettings
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.doctor.checks.platform import NOBODY, Call
from dingbridge.doctor.checks.subscription import Templates
from dingbridge.doctor.parts import Check
from dingbridge.errors import SettingsError


def _calls(client: DingTalkClient) -> list[Call]:
    return [
        Call("v2/user/get", lambda: client.user(NOBODY)),
        Call("v2/department/get", lambda: client.department(1)),
        Call("v2/department/listsub", lambda: client.sub_departments(1)),
        # of nobody, so it changes nothing; the right is the same for all writes of contacts
        Call("v2/user/update", lambda: client.update_user(NOBODY, {})),
        Call("processinstance/get", lambda: client.approval(NOBODY)),
    ]


def _templates() -> Templates:
    """None of settings that do not load, which the doctor tells by itself."""
    try:
        owners = load_owners(OutboundSettings.load().outbound_owners)
    except SettingsError:
        return {}
    return dict.fromkeys(owners.request_id_fields, ("finish", "terminate"))


CHECK = Check(calls=_calls, templates=_templates)

"""Which company the person is of, and whether DingTalk still has the person."""

from collections.abc import Mapping
from contextlib import AsyncExitStack

from dingbridge.dingtalk.errors import ApiError, NotFound, PermissionDenied
from dingbridge.errors import BridgeError, SettingsError
from dingbridge.settings import ConsumerSettings
from dingbridge.settings.apps import App, load_apps
from dingbridge.worker.api.clients import open_clients


def apps_with_credentials(settings: ConsumerSettings) -> dict[str, App]:
    """Raises ``SettingsError`` for an apps file that cannot be read."""
    return {name: app for name, app in load_apps(settings).items() if app.app_key and app.app_secret}


def company_of(settings: ConsumerSettings, apps: Mapping[str, App]) -> str:
    """The one that the settings name. Raises ``SettingsError`` where they name none, or several."""
    known = {settings.dingtalk_corp_id, *(app.corp_id for app in apps.values())} - {None}
    if len(known) != 1:
        raise SettingsError(
            [
                f"--corp: say whose userid it is; the settings name {len(known) or 'no'} companies "
                "(DINGTALK_CORP_ID; it is the CorpId on the front page of open-dev.dingtalk.com)"
            ]
        )
    return str(known.pop())


async def still_there(
    settings: ConsumerSettings, apps: Mapping[str, App], corp_id: str, userid: str
) -> str | None:
    """In words why the person may still be in DingTalk; None: each app of the company gets "no such user"."""
    own = [app for app in apps.values() if app.corp_id == corp_id]
    own = own or [app for app in apps.values() if app.corp_id is None]
    if not own:
        return (
            f"no app of {corp_id} has credentials here, so DingTalk cannot be asked: set DINGTALK_CORP_ID, "
            "DINGTALK_APP_KEY and DINGTALK_APP_SECRET, or DINGTALK_APPS_FILE"
        )
    async with AsyncExitStack() as stack:
        opened = await open_clients(settings, stack)
        if opened is None:
            return "DingTalk cannot be asked: DINGTALK_APP_KEY and DINGTALK_APP_SECRET are not set"
        for app in own:
            try:
                await opened[0](app.name, corp_id).user(userid)
            except NotFound:
                continue
            except PermissionDenied as error:
                return f"the app {app.name} may not see whether DingTalk has {userid} ({error.code})"
            except (ApiError, BridgeError) as error:
                return f"DingTalk could not be asked as the app {app.name} ({error})"
            return f"DingTalk still has {userid}: delete the person there first"
    return None

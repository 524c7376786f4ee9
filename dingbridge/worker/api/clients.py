"""The Open API for events of several apps: calls for an event are made as the app that it came from.

With one app, a consumer's client is that app's. With ``DINGTALK_APPS_FILE``, ``ctx.dingtalk`` is the client
of the event's app, and ``Consumer.dingtalk``, for work beside events (full syncs, backfills), that of
``CONSUMER_APP``. A third-party suite has no client: it would call with a ticket, and in a company's name.
"""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack

from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.settings import ConsumerSettings
from dingbridge.settings.apps import load_apps
from dingbridge.worker.api.budget import ApiCalls
from dingbridge.worker.outcomes import Reject

ClientOf = Callable[[str | None, str | None], DingTalkClient]
"""The client for the events of an app (its name) and a company (its corpId); both None beside events."""


class AppClients:
    """A ``ClientOf`` for several apps. Raises ``Reject`` for the events of an app that this process cannot
    call as: at another company's app, DingTalk would say of everybody that they left."""

    def __init__(self, clients: Mapping[str, DingTalkClient], default: str) -> None:
        """``default`` is the app's name beside events."""
        self._clients, self._default = clients, default

    def __call__(self, app: str | None, corp_id: str | None) -> DingTalkClient:
        client = self._clients.get(self._default if app is None else app)
        if client is None:
            raise Reject(
                f"the event is of the app {app}, as which this consumer cannot call DingTalk: it is a "
                "third-party suite, or DINGTALK_APPS_FILE lacks its app_key and app_secret; add them and "
                "replay the dead letters"
            )
        return client


async def open_clients(settings: ConsumerSettings, stack: AsyncExitStack) -> tuple[ClientOf, ApiCalls] | None:
    """The clients for a consumer, and the budget of ``CONSUMER_APP``; ``None`` without credentials. Closed
    with ``stack``. Raises ``SettingsError`` for a file that cannot be read whole."""
    several = load_apps(settings) if settings.dingtalk_apps_file is not None else {}
    if not settings.calls_api:
        return None
    key, secret = settings.api_credentials()

    async def client(app_key: str, app_secret: str) -> tuple[DingTalkClient, ApiCalls]:
        budget = ApiCalls.of(settings, app_key)
        stack.push_async_callback(budget.close)
        made = DingTalkClient(
            app_key=app_key,
            app_secret=app_secret,
            base=settings.dingtalk_api_base,
            new_base=settings.new_api_base,
            budget=budget,
        )
        return await stack.enter_async_context(made), budget

    own, budget = await client(key, secret)
    if not several:
        return (lambda app, corp_id: own), budget
    made = {
        app.name: own if app.api_credentials() == (key, secret) else (await client(*app.api_credentials()))[0]
        for app in several.values()
        if app.calls_api
    }
    default = next(name for name, client in made.items() if client is own)
    return AppClients(made, default), budget

"""The Open API for events of several apps: each event is asked about at the app that it came from.

With one app, a consumer's client is that app's and nothing here is used. With ``DINGTALK_APPS_FILE``,
``Consumer.dingtalk`` is an ``AppClients``: within ``prepare`` and ``handle`` it is the client of the event's
app, elsewhere (full syncs, backfills, downloads) that of ``CONSUMER_APP``.
"""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from contextvars import ContextVar
from typing import Any, cast

from bridge.api_calls import ApiCalls
from bridge.apps import load_apps
from bridge.settings import ConsumerSettings
from consumers.runtime.outcomes import Reject
from dingtalk.api import DingTalkClient
from dingtalk.budget import Priority

event_app: ContextVar[str | None] = ContextVar("event_app", default=None)
"""The app of the event that is being worked on; set by ``Processor.attempt``."""


class AppClients:
    """Stands where a ``DingTalkClient`` does. Raises ``Reject`` for the events of an app whose credentials
    this process does not have: at another company's app, DingTalk would say of everybody that they left."""

    def __init__(self, clients: Mapping[str, DingTalkClient], default: str) -> None:
        """``default`` is the app's name where no event is being worked on."""
        self._clients, self._default = clients, default

    def at(self, priority: Priority) -> DingTalkClient:
        """The same apps at another priority."""
        clients = {name: client.at(priority) for name, client in self._clients.items()}
        return cast(DingTalkClient, AppClients(clients, self._default))

    def __getattr__(self, name: str) -> Any:
        app = event_app.get()
        client = self._clients.get(self._default if app is None else app)
        if client is None:
            raise Reject(
                f"the event is of the app {app}, whose app_key and app_secret this consumer lacks; add "
                "them to its DINGTALK_APPS_FILE and replay its dead letters"
            )
        return getattr(client, name)


async def open_clients(
    settings: ConsumerSettings, stack: AsyncExitStack
) -> tuple[DingTalkClient, ApiCalls] | None:
    """The client for a consumer, and the budget of ``CONSUMER_APP``; ``None`` without credentials. Closed
    with ``stack``. Raises ``SettingsError`` for a file that cannot be read whole."""
    several = load_apps(settings) if settings.dingtalk_apps_file is not None else {}
    if not settings.calls_api:
        return None
    key, secret = settings.api_credentials()

    async def client(app_key: str, app_secret: str) -> tuple[DingTalkClient, ApiCalls]:
        budget = ApiCalls.of(settings, app_key)
        stack.callback(budget.close)
        made = DingTalkClient(
            app_key=app_key, app_secret=app_secret, base=settings.dingtalk_api_base, budget=budget
        )
        return await stack.enter_async_context(made), budget

    own = await client(key, secret)
    if not several:
        return own
    clients = {
        name: own[0] if app.api_credentials() == (key, secret) else (await client(*app.api_credentials()))[0]
        for name, app in several.items()
        if app.calls_api
    }
    default = next(name for name, made in clients.items() if made is own[0])
    return cast(DingTalkClient, AppClients(clients, default)), own[1]

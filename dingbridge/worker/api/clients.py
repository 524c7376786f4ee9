"""The Open API for events of several apps: calls for an event are made as the app that it came from.

With one app, a consumer's client is that app's. With ``DINGTALK_APPS_FILE``, ``ctx.dingtalk`` is the client
of the event's app, and ``Consumer.dingtalk``, for work beside events (full syncs, backfills), that of
``CONSUMER_APP``. A third-party suite calls in the name of the event's company, beside events of its
``corp_id``.
"""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack

from dingbridge.api_budget import ApiCalls
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.errors import SettingsError
from dingbridge.events.envelope import NO_CORP_ID
from dingbridge.settings import ConsumerSettings
from dingbridge.settings.apps import VARIABLE, App, load_apps
from dingbridge.worker.api.suite_tickets import SuiteTickets
from dingbridge.worker.outcomes import Reject

ClientOf = Callable[[str | None, str | None], DingTalkClient]
"""The client for the events of an app (its name) and a company (its corpId); both None beside events."""

ForCompany = Callable[[str | None], DingTalkClient]
"""One app's client for the events of a company; None beside events."""


class AppClients:
    """A ``ClientOf`` for several apps. Raises ``Reject`` for the events of an app whose credentials this
    process does not have: at another company's app, DingTalk would say of everybody that they left."""

    def __init__(self, clients: Mapping[str, ForCompany], default: str) -> None:
        """``default`` is the app's name beside events."""
        self._clients, self._default = clients, default

    def __call__(self, app: str | None, corp_id: str | None) -> DingTalkClient:
        for_company = self._clients.get(self._default if app is None else app)
        if for_company is None:
            raise Reject(
                f"the event is of the app {app}, whose app_key and app_secret this consumer lacks; add "
                "them to its DINGTALK_APPS_FILE and replay its dead letters"
            )
        return for_company(corp_id)


class SuiteClients:
    """The clients of a third-party suite, one for each company that it is asked about. ``client`` has the
    suite's key and secret."""

    def __init__(self, client: DingTalkClient, app: App, settings: ConsumerSettings) -> None:
        self._client, self._app = client, app
        self._tickets = SuiteTickets(settings, app.name)
        self._companies: dict[str, DingTalkClient] = {}

    def __call__(self, company: str | None) -> DingTalkClient:
        corp_id = self._app.corp_id if company in (None, NO_CORP_ID) else company
        if corp_id is None and company is None:
            raise SettingsError(
                [
                    f"{VARIABLE}: apps.{self._app.name}: has no corp_id; a suite is asked in the name of a "
                    "company, and here no event names one"
                ]
            )
        if corp_id is None:
            raise Reject(
                f"the event names no company, so the suite {self._app.name} can ask in nobody's name"
            )
        if corp_id not in self._companies:
            self._companies[corp_id] = self._client.for_company(corp_id, self._tickets)
        return self._companies[corp_id]


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
        app: own if app.api_credentials() == (key, secret) else (await client(*app.api_credentials()))[0]
        for app in several.values()
        if app.app_key and app.app_secret
    }
    default = next(app.name for app, client in made.items() if client is own)
    return AppClients({app.name: _for_company(made[app], app, settings) for app in made}, default), budget


def _for_company(client: DingTalkClient, app: App, settings: ConsumerSettings) -> ForCompany:
    return SuiteClients(client, app, settings) if app.suite else lambda _: client

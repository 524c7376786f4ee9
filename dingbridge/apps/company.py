"""Which company an event, a message or a command is about: the one answer, for the relay and all consumers.

An app that a company made for itself belongs to that company, whatever a push or a message names: DingTalk's
pushes may have an empty corpId (captured), and bodies of Stream mode have none. A third-party suite has
events of many companies, so there the corpId that is named counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dingbridge.apps.model import App


@dataclass(frozen=True, slots=True)
class Companies:
    """The companies of the apps that are configured. ``of_app``: the corpId of each app by name; None for a
    suite."""

    of_app: Mapping[str, str | None]

    @classmethod
    def of_apps(cls, apps: Mapping[str, App]) -> "Companies":
        """The companies of ``apps``, by the apps' names."""
        return cls({name: None if app.suite else app.corp_id for name, app in apps.items()})

    def of(self, app: str, named: str) -> str:
        """The corpId of what came by ``app`` and names the company ``named``: the app's own; ``named`` for a
        suite, and for an app that is not configured here."""
        return self.of_app.get(app) or named

    def refusal(self, app: str, corp_id: str) -> str | None:
        """Return in words why a message cannot name ``app`` and ``corp_id``; None if it can. The words repeat
        no value of an unknown app. Where no app is configured nothing can be compared."""
        if not self.of_app:
            return None
        if app not in self.of_app:
            return f"app: is none of the apps that are configured here: {', '.join(sorted(self.of_app))}"
        own = self.of_app[app]
        if own in (None, corp_id):
            return None
        return f"corpId: is not the company of the app {app}, which belongs to {own}"

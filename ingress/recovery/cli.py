"""``dingbridge recover``: read DingTalk's lists of failed pushes now."""

from typing import Annotated, Any

import typer
from prometheus_client import CollectorRegistry

from dingbridge.ingress.admin.cli import print_result
from dingbridge.ingress.admin.client import do
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.metrics import RecoveryMetrics
from dingbridge.ingress.recovery.apps import Recovery
from dingbridge.settings import IngressSettings
from dingbridge.settings.apps import load_apps


def command(
    app: Annotated[str | None, typer.Option(metavar="NAME", help="One of several apps; else all.")] = None,
) -> None:
    """Read the pushes that DingTalk gave up, and publish them as events.

    The ingress does this by itself, hourly and after an outage; by hand it is sooner. If an ingress holds the
    journal, it is asked to; else it is done here, and published when an ingress starts. Exit code 1: DingTalk
    or the journal does not work, also if only for one app; 2: settings.
    """
    result = do("recover", {} if app is None else {"app": app}, _recover)
    types, failed, unread = (result.pop(name, {}) for name in ("types", "failed", "unread"))
    print_result(result)
    for name, count in types.items():
        print(f"  {name}: {count}")
    for name, reason in {**unread, **failed}.items():
        typer.echo(f"not read: {name}: {reason}", err=True)
    if failed:
        raise typer.Exit(1)


async def _recover(settings: IngressSettings, journal: Journal, options: dict[str, Any]) -> dict[str, Any]:
    """Without an ingress; what the lists hold is published when one starts."""
    apps = load_apps(settings)
    recovery = Recovery(settings, lambda: apps, journal, RecoveryMetrics(CollectorRegistry()))
    try:
        return await recovery.verb(options)
    finally:
        await recovery.stop(0)

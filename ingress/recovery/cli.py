"""``dingbridge recover``: read DingTalk's lists of failed pushes now."""

from typing import Annotated

import typer

from dingbridge.ingress.admin.cli import print_result
from dingbridge.ingress.admin.client import ask


def command(
    app: Annotated[str | None, typer.Option(metavar="NAME", help="One of several apps; else all.")] = None,
) -> None:
    """Read the pushes that DingTalk gave up, and publish them as events.

    The ingress does this by itself, hourly and after an outage; by hand it is sooner: this asks the running
    ingress. Exit code 1: DingTalk or the journal does not work, also if only for one app; 2: settings.
    """
    result = ask("recover", {} if app is None else {"app": app})
    types, failed, unread = (result.pop(name, {}) for name in ("types", "failed", "unread"))
    print_result(result)
    for name, count in types.items():
        print(f"  {name}: {count}")
    for name, reason in {**unread, **failed}.items():
        typer.echo(f"not read: {name}: {reason}", err=True)
    if failed:
        raise typer.Exit(1)

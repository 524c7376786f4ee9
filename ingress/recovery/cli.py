"""``dingbridge recover``: read DingTalk's lists of failed pushes now."""

from typing import Annotated

import typer


def command(
    app: Annotated[
        str | None, typer.Option("--app", metavar="NAME", help="One of several apps; else all of them.")
    ] = None,
) -> None:
    """Read the pushes that DingTalk gave up, and publish them as the events they are.

    The ingress does this by itself, hourly and after an outage; by hand it is sooner. If an ingress holds the
    journal, it is asked to; else it is done here, and published when an ingress starts. Nothing is read while
    another instance reads. Exit code 1: DingTalk or Kafka does not work, or another one reads, be it for one
    of several apps; 2: settings.
    """
    from ingress.admin.cli import do, print_result
    from ingress.admin.verbs import recover_alone

    result = do("recover", {} if app is None else {"app": app}, recover_alone)
    types, failed, unread = (result.pop(name, {}) for name in ("types", "failed", "unread"))
    print_result(result)
    for name, count in types.items():
        print(f"  {name}: {count}")
    for name, reason in {**unread, **failed}.items():
        typer.echo(f"not read: {name}: {reason}", err=True)
    if failed:
        raise typer.Exit(1)

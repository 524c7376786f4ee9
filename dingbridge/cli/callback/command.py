"""``dingbridge callback``: the callback URL at DingTalk, from nothing to registered and verified.

Credentials come from the settings, never from the command line. Exit codes: 0 done, and as it should be; 1
refused by DingTalk, not reached, or (``verify``) something differs; 2 settings or usage.
"""

import asyncio
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from dingbridge.cli.callback import check, registration
from dingbridge.cli.callback import rotate as callback_rotate
from dingbridge.cli.callback.registration import NOTE, asked_for, wanted

if TYPE_CHECKING:
    from dingbridge.cli.callback.check import RoundTrip
    from dingbridge.cli.callback.target import Target

app = typer.Typer(
    no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]}, add_completion=False
)


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # no number for a port, or a broken IPv6 address
        usable = False
    if not usable or any(c.isspace() for c in value):
        raise typer.BadParameter("must be an http(s) URL with a host, as https://bridge.example.com/callback")
    if parts.username is not None or parts.fragment:
        raise typer.BadParameter("must hold neither a user name nor a fragment (#…); DingTalk sends neither")
    return value


def _optional_url(value: str | None) -> str | None:
    return None if value is None else _url(value)


Url = Annotated[
    str,
    typer.Option(
        callback=_url, help="Where DingTalk shall send callbacks, as https://bridge.example.com/callback."
    ),
]
OptionalUrl = Annotated[
    str | None,
    typer.Option(
        callback=_optional_url, help="Where DingTalk shall send callbacks.", show_default="as registered"
    ),
]
Events = Annotated[
    str | None,
    typer.Option(help="EventTypes, comma separated.", show_default="all that the installed consumers read"),
]
AppName = Annotated[
    str, typer.Option("--app", metavar="NAME", help="Which app: the environment's, or one of the apps file.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")]
NoCheck = Annotated[
    bool,
    typer.Option("--no-check", help="Do not try the URL from here first; DingTalk tries it all the same."),
]
Wait = Annotated[
    float,
    typer.Option(min=0, metavar="SECONDS", help="Try the URL so long, while the ingress is being started."),
]


app.command("rotate")(callback_rotate.command)


@app.command()
def register(
    url: Url,
    events: Events = None,
    generate: Annotated[
        bool,
        typer.Option(
            "--generate",
            help="Make token and AES key; DINGTALK_TOKEN_FILE and DINGTALK_AES_KEY_FILE say where they go.",
        ),
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put this in the place of what is registered.")
    ] = False,
    app_name: AppName = "default",
    wait: Wait = 0,
    no_check: NoCheck = False,
    dry_run: DryRun = False,
) -> None:
    """Register URL, token, AES key and EventTypes.

    The ingress must be running: a push of our own tries the URL first, then DingTalk does. Where a callback
    is registered already, it asks on a terminal whether to update it, and says the command in a pipe. Exit
    code 0: done; 1: DingTalk refused, or the URL does not lead to the ingress; 2: settings or usage.
    """
    from dingbridge.cli.callback import credentials as files
    from dingbridge.cli.callback.target import target

    tags = asked_for(events)
    if generate and app_name != "default":
        raise typer.BadParameter(
            "is for the environment's app; others have `rotate`", param_hint="--generate"
        )
    made = (files.generate(), files.places(os.environ)) if generate else None
    to = target(app_name, made[0] if made else None)
    tags = wanted() if tags is None else tags
    if made is not None:
        generated, (token_file, aes_key_file) = made
        if not dry_run:
            files.write(generated, token_file, aes_key_file)
        typer.echo(f"{'would write' if dry_run else 'written'}: {token_file}, {aes_key_file} (mode 0600)")
    reached = True
    if made is not None and dry_run:
        typer.echo("The URL is not tried: no ingress has what would be generated.")
    elif not no_check:
        hint = ""
        if made is not None:
            hint = (
                " The ingress must have been started with the new files (DINGTALK_TOKEN_FILE, "
                "DINGTALK_AES_KEY_FILE); then run this command again without --generate."
            )
        reached = _reached(url, to, wait, dry_run=dry_run, hint=hint)
    else:
        _warn(url)
    asyncio.run(registration.register(to, url=url, tags=tags, replace=replace, dry_run=dry_run))
    _print_events(tags)
    if not reached:
        raise typer.Exit(1)


@app.command()
def update(
    url: OptionalUrl = None,
    events: Events = None,
    app_name: AppName = "default",
    wait: Wait = 0,
    no_check: NoCheck = False,
    dry_run: DryRun = False,
) -> None:
    """Put URL, token, AES key and EventTypes in the place of what is registered.

    Without --url the registered one stays. Exit codes as of `register`.
    """
    from dingbridge.cli.callback.target import target

    tags = asked_for(events)
    to = target(app_name)
    tags = wanted() if tags is None else tags
    current = asyncio.run(registration.current(to))
    url = url or current.url
    reached = True
    if no_check:
        _warn(url)
    else:
        reached = _reached(url, to, wait, dry_run=dry_run)
    for line in registration.differences(current, to, url, tags):
        typer.echo(line)
    if dry_run:
        typer.echo(f"would update: {url}")
    else:
        asyncio.run(registration.update(to, url=url, tags=tags))
        typer.echo(f"updated: {url}\n{registration.CHECKED}")
    _print_events(tags)
    if not reached:
        raise typer.Exit(1)


@app.command()
def show(app_name: AppName = "default") -> None:
    """Show what is registered; token and AES key are masked. Of an app in Stream mode, its connections.

    Exit code 0: done; 1: DingTalk refused, nothing is registered, or no connection is open; 2: settings or
    usage.
    """
    from dingbridge.cli.callback import stream
    from dingbridge.cli.callback.target import api_target

    to = api_target(app_name)
    if to.app.mode == "stream":
        if not asyncio.run(stream.show(to, wanted())):
            raise typer.Exit(1)
        return
    current = asyncio.run(registration.current(to))
    typer.echo(f"url      {current.url}")
    typer.echo(f"token    {registration.mask(current.token)}")
    typer.echo(f"aes_key  {registration.mask(current.aes_key)}")
    _print_events(current.tags)


@app.command()
def delete(
    app_name: AppName = "default",
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before it is deleted.")] = False,
) -> None:
    """Delete what is registered: DingTalk sends nothing any more. Asks on a terminal.

    Exit code 0: done; 1: DingTalk refused, nothing is registered, or the answer was no; 2: settings or usage.
    """
    from dingbridge.cli.callback.target import api_target
    from dingbridge.cli.terminal import confirmed

    to = api_target(app_name)
    current = asyncio.run(registration.current(to))
    if dry_run:
        typer.echo(f"would delete: {current.url}")
    elif confirmed(f"Delete {current.url} with {len(current.tags)} EventTypes at DingTalk?", yes):
        asyncio.run(registration.delete(to))
        typer.echo(f"deleted: {current.url}")
    else:
        typer.echo("nothing was deleted", err=True)
        raise typer.Exit(1)


@app.command()
def verify(
    url: Annotated[
        str | None,
        typer.Option(
            callback=_optional_url,
            help="Try this URL alone, and do not ask DingTalk what is registered.",
            show_default="what is registered",
        ),
    ] = None,
    events: Events = None,
    app_name: AppName = "default",
    wait: Wait = 0,
) -> None:
    """Compare what is registered with the settings and the consumers, try whether the URL leads here, and ask
    the ingress whether it took DingTalk's own pushes.

    Exit code 0: all is as it should be; 1: something is not, or DingTalk refused; 2: settings or usage.
    """
    from dingbridge.cli.callback.target import target

    tags = asked_for(events)
    to = target(app_name, api=url is None)
    wrong = False
    if url is None:
        current = asyncio.run(registration.current(to))
        tags = wanted() if tags is None else tags
        found = registration.differences(current, to, current.url, tags)
        wrong = any(not line.startswith(NOTE) for line in found)
        url = current.url
        typer.echo(f"url      {url}")
        typer.echo(f"events   {len(current.tags)} registered")
        for line in found:
            typer.echo(line)
    reached = _try(url, to, wait)
    good = reached.answers and reached.reached != "elsewhere"
    took = f" ({reached.took_ms:g} ms)" if reached.took_ms is not None else ""
    typer.echo(f"{'reached' if good else 'NOT reached'}  {reached.words}{took}")
    if not _owner_accepted(to):
        wrong = True
    if wrong or not good:
        raise typer.Exit(1)


def _owner_accepted(to: "Target") -> bool:
    """Whether the ingress takes the owner key that DingTalk encrypts for, in words. A push of ours shows
    nothing of it: it is encrypted for our own."""
    met = asyncio.run(check.owners(to.admin, to.app.name))
    if met is None:
        typer.echo(
            f"{NOTE}which owner key DingTalk uses is not known: the ingress of {to.admin} does not tell"
        )
        return True
    if not met.refused and not met.accepted:
        typer.echo(f"{NOTE}no push of DingTalk's own has come since the ingress started")
    for owner, count in met.refused.items():
        if owner in to.app.owner_keys:
            remedy = "it is set here, but the ingress was started without it: start it again"
        else:
            remedy = f"if it is yours, add it: DINGTALK_OWNER_KEY={','.join((*to.app.owner_keys, owner))}"
        typer.echo(f"owner    NOT accepted: DingTalk encrypts for {owner}, refused {count} times; {remedy}")
    return not met.refused


def _warn(url: str) -> None:
    from dingbridge.cli.callback.check import warnings

    for words in warnings(url):
        typer.echo(f"warning: {words}", err=True)


def _try(url: str, to: "Target", wait: float) -> "RoundTrip":
    from dingbridge.cli.callback.check import wait_for
    from dingbridge.cli.terminal import say

    _warn(url)
    return asyncio.run(wait_for(url, to.credentials, admin=to.admin, seconds=wait, say=say))


def _reached(url: str, to: "Target", wait: float, *, dry_run: bool, hint: str = "") -> bool:
    """Whether the URL leads to this ingress, in words. Raises ``BridgeError`` if not, except in a dry run."""
    from dingbridge.errors import BridgeError

    found = _try(url, to, wait)
    if found.reached == "here":
        typer.echo(f"{url} leads to this ingress ({found.took_ms:g} ms)")
    elif found.reached == "unasked":
        typer.echo(f"{NOTE}{found.words}")
    elif dry_run:
        typer.echo(f"{url}: {found.words}")
        return False
    else:
        raise BridgeError(
            f"nothing was registered. {url}: {found.words}.{hint} --no-check leaves this check out: it is "
            "made from here, and DingTalk makes its own."
        )
    return True


def _print_events(events: Iterable[str]) -> None:
    listed = sorted(events)
    typer.echo(f"events   {len(listed)}")
    for event in listed:
        typer.echo(f"  {event}")

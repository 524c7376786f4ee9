"""``dingbridge callback``: the callback URL at DingTalk, from nothing to registered.

Credentials come from the settings, never from the command line. Exit codes: 0 done; 1 refused by DingTalk, or
the URL does not lead to the ingress; 2 settings or usage.
"""

import asyncio
import os
import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Final
from urllib.parse import urlsplit

import aiohttp
import typer

from dingbridge.cli.callback import check, rotate
from dingbridge.cli.callback.credentials import write_new
from dingbridge.cli.callback.target import Target, target
from dingbridge.cli.terminal import DryRun, Yes, confirmed, listed, say
from dingbridge.dingtalk.api import CallbackRegistration
from dingbridge.dingtalk.errors import CallbackMissing
from dingbridge.doctor.checks import platform, stream
from dingbridge.doctor.checks import url as public
from dingbridge.doctor.checks.settings import Part
from dingbridge.doctor.findings import Finding, Level, printed
from dingbridge.errors import BridgeError, SettingsError
from dingbridge.worker.registry import Installed, installed_consumers

_EVENT_TYPE: Final = re.compile(r"[A-Za-z0-9_-]{1,200}")

app = typer.Typer(no_args_is_help=True)
app.command("rotate")(rotate.command)

AppName = Annotated[
    str, typer.Option("--app", metavar="NAME", help="Which app: the environment's, or one of the apps file.")
]
Events = Annotated[
    list[str] | None,
    typer.Option(help="EventTypes, comma separated.", show_default="all that the installed consumers read"),
]
Wait = Annotated[
    float,
    typer.Option(min=0, metavar="SECONDS", help="How long to try the URL, while the ingress starts."),
]


def _url(value: str | None) -> str | None:
    if value is None:
        return None
    if not public.usable(value) or any(c.isspace() for c in value):
        raise typer.BadParameter("must be an http(s) URL with a host, as https://bridge.example.com/callback")
    parts = urlsplit(value)
    if parts.username is not None or parts.fragment:
        raise typer.BadParameter("must hold neither a user name nor a fragment (#…); DingTalk sends neither")
    return value


@app.command()
def generate() -> None:
    """Make a token and an AES key, in new files that DINGTALK_TOKEN_FILE and DINGTALK_AES_KEY_FILE name.

    Then start the ingress, and register. Exit code 2: one is not set, or its file exists already.
    """
    for path in write_new(os.environ):
        typer.echo(f"written: {path} (mode 0600)")


@app.command()
def register(
    url: Annotated[
        str | None,
        typer.Option(
            callback=_url,
            help="Where DingTalk shall send callbacks, as https://bridge.example.com/callback.",
            show_default="with --replace what is registered",
        ),
    ] = None,
    events: Events = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace what is registered.")] = False,
    app_name: AppName = "default",
    wait: Wait = 0,
    no_check: Annotated[
        bool,
        typer.Option("--no-check", help="Do not try the URL from here; DingTalk tries it all the same."),
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Register URL, token, AES key and EventTypes.

    The ingress must be running: a push of our own tries the URL first, then DingTalk does. Exit code 0: done;
    1: DingTalk refused, or the URL does not lead to the ingress; 2: settings or usage.
    """
    if url is None and not replace:
        raise typer.BadParameter("is needed without --replace", param_hint="--url")
    tags = listed(events)
    if events and not (tags and all(map(_EVENT_TYPE.fullmatch, tags))):
        raise typer.BadParameter("names EventTypes, as user_add_org,user_leave_org", param_hint="--events")
    to = target(app_name)
    tags = tags or wanted(installed_consumers())
    asyncio.run(
        _register(to, url or "", tags, replace or dry_run, None if no_check else wait, dry_run=dry_run)
    )
    _print_events(tags)


@app.command()
def update(
    url: Annotated[
        str | None,
        typer.Option(callback=_url, help="Another URL.", show_default="what is registered"),
    ] = None,
    events: Events = None,
    app_name: AppName = "default",
    dry_run: DryRun = False,
) -> None:
    """Put URL, token, AES key and EventTypes in the place of what is registered: `register --replace`.

    Exit code 0: done; 1: DingTalk refused, or the URL does not lead to the ingress; 2: settings or usage.
    """
    register(url, events, replace=True, app_name=app_name, dry_run=dry_run)


@app.command()
def verify(
    url: Annotated[
        str | None,
        typer.Option(
            callback=_url,
            help="Try this URL alone, and do not ask DingTalk what is registered.",
            show_default="what is registered",
        ),
    ] = None,
    app_name: AppName = "default",
    wait: Wait = 0,
) -> None:
    """Compare what is registered with the settings and the consumers, and try whether the URL leads here.

    Exit code 0: all is as it should be; 1: something is not, or DingTalk refused; 2: settings or usage.
    """
    to = target(app_name)
    findings = asyncio.run(_verify(to, url, wait))
    for one in findings:
        typer.echo(printed(one, check.WORDS, "en"))
    if check.problem(findings, "url.elsewhere"):
        raise typer.Exit(1)


@app.command()
def show(app_name: AppName = "default") -> None:
    """Show what is registered; token and AES key are masked. Of an app in Stream mode, its connections.

    `dingbridge doctor` checks whether it is right. Exit code 0: done; 1: DingTalk refused, nothing is
    registered, or no connection is open; 2: settings or usage.
    """
    to = target(app_name, signed=False)
    if to.app.mode == "stream":
        asyncio.run(_show_stream(to))
        return
    current = asyncio.run(_current(to))
    typer.echo(f"url      {current.url}")
    typer.echo(f"token    {mask(current.token)}")
    typer.echo(f"aes_key  {mask(current.aes_key)}")
    _print_events(current.tags)


@app.command()
def delete(
    app_name: AppName = "default",
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Delete what is registered: DingTalk sends nothing any more. Asks first.

    Exit code 0: done; 1: DingTalk refused, nothing is registered, or the answer was no; 2: settings or usage.
    """
    to = target(app_name, signed=False)
    current = asyncio.run(_current(to))
    if dry_run:
        typer.echo(f"would delete: {current.url}")
    elif confirmed(f"Delete {current.url} with {len(current.tags)} EventTypes at DingTalk?", yes):
        asyncio.run(_delete(to))
        typer.echo(f"deleted: {current.url}")
    else:
        say("nothing was deleted")
        raise typer.Exit(1)


def wanted(installed: Sequence[Installed]) -> tuple[str, ...]:
    """The EventTypes of all installed consumers, sorted. Raises ``SettingsError`` naming each consumer that
    cannot be loaded, or when none reads any."""
    problems = [
        f"{one.problem}; fix it, or name EventTypes with --events" for one in installed if one.problem
    ]
    events = {topic for one in installed if one.consumer is not None for topic in one.consumer.topics}
    if not events and not problems:
        problems = ["no consumer is installed that reads an EventType; name them with --events"]
    if problems:
        raise SettingsError(problems)
    return tuple(sorted(events))


def mask(secret: str) -> str:
    """``secret`` so that it can be recognised, not used: its ends and its length."""
    if not secret:
        return "(none)"
    ends = f"{secret[:2]}…{secret[-2:]}" if len(secret) >= 12 else "…"
    return f"{ends} ({len(secret)} characters)"


async def _register(
    to: Target, url: str, tags: Sequence[str], replace: bool, wait_s: float | None, *, dry_run: bool
) -> None:
    """An empty ``url`` is the registered one; ``wait_s`` is ``None`` where it is not to be tried."""
    async with to.client() as client:
        call, done = client.register_call_back, "registered"
        if replace:
            try:
                registered = (await client.get_call_back()).url
            except CallbackMissing:  # nothing to replace is no reason to refuse a URL that was given
                if not url:
                    raise
            else:
                call, done, url = client.update_call_back, "replaced", url or registered
        if wait_s is not None:
            await _try(to, url, wait_s)
        if dry_run:
            typer.echo(f"would be {done}: {url}")
            return
        pair = to.credentials
        await call(tags=tags, token=pair.token, aes_key=pair.aes_key, url=url)
    typer.echo(f"{done}: {url}\nDingTalk has sent its check_url there, and got the encrypted success.")


async def _try(to: Target, url: str, wait_s: float) -> None:
    """Print what the URL leads to. Raises ``BridgeError`` if not to this ingress."""
    if wait_s:
        say(f"trying {url} for up to {wait_s:g} s")
    findings = await check.look(url, to.credentials, to, wait_s=wait_s)
    if why := check.problem(findings, "url.elsewhere"):
        raise BridgeError(
            f"nothing was registered. {why} --no-check leaves this check out: it is made from here, and "
            "DingTalk makes its own."
        )
    for one in findings:
        typer.echo(printed(one, check.WORDS, "en"))


async def _verify(to: Target, url: str | None, wait_s: float) -> list[Finding]:
    found = []
    if url is None:
        current = await _current(to)
        read, accepted = Part("", wanted(installed_consumers())), to.app.accepted(datetime.now(UTC))
        found = platform.judge_tags(current, [read], accepted=accepted, url=None)
        url = current.url
    return [*found, *await check.look(url, to.credentials, to, wait_s=wait_s)]


async def _show_stream(to: Target) -> None:
    """Raises ``typer.Exit`` where no connection is open, or known."""
    async with aiohttp.ClientSession() as session:
        seen = await stream.look(
            session, to.admin, to.app.name, new_api=to.settings.new_api_base, live=to.live
        )
    async with to.client() as client:
        registered = None
        with suppress(CallbackMissing):
            registered = (await client.get_call_back()).url
    read = Part("", wanted(installed_consumers()))
    connections = stream.judge(seen, wanted=1, watchdog_s=0)
    for one in (*connections, *stream.judge_tags([read], registered)):
        typer.echo(printed(one, check.WORDS, "en"))
    if any(one.level(check.WORDS) in (Level.ERROR, Level.SKIPPED) for one in connections):
        raise typer.Exit(1)


async def _current(to: Target) -> CallbackRegistration:
    async with to.client() as client:
        return await client.get_call_back()


async def _delete(to: Target) -> None:
    async with to.client() as client:
        await client.delete_call_back()


def _print_events(events: Collection[str]) -> None:
    typer.echo("\n  ".join([f"events   {len(events)}", *sorted(events)]))

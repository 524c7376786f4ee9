"""``dingbridge callback``: register the callback URL at DingTalk, and show what is registered there.

Credentials come from the settings, never from the command line. Exit codes: 0 done, 1 refused by the
platform, 2 settings or usage.
"""

import asyncio
import re
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

if TYPE_CHECKING:
    from bridge.settings import DingTalkApiSettings
    from dingtalk.api import CallbackRegistration, DingTalkClient

app = typer.Typer(
    no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]}, add_completion=False
)

CONSUMERS = "dingbridge.consumers"
"""Entry point group of the consumer classes."""

_EVENT_TYPE_RE = re.compile(r"[A-Za-z0-9_-]{1,200}")


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


def _events(value: str | None) -> list[str] | None:
    if value is None:
        return None
    events = list(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))
    if not events:
        raise typer.BadParameter("names no EventType; as user_add_org,user_leave_org", param_hint="--events")
    for event in events:
        if not _EVENT_TYPE_RE.fullmatch(event):
            raise typer.BadParameter(
                f"{event!r} is no EventType; as user_add_org,user_leave_org", param_hint="--events"
            )
    return events


@app.command()
def register(
    url: Annotated[
        str,
        typer.Option(
            callback=_url, help="Where DingTalk shall send callbacks, as https://bridge.example.com/callback."
        ),
    ],
    events: Annotated[
        str | None,
        typer.Option(
            help="EventTypes, comma separated.", show_default="all that the installed consumers read"
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put this in the place of what is registered.")
    ] = False,
) -> None:
    """Register URL, token, AES key and EventTypes. The ingress must be running: DingTalk checks the URL."""
    from bridge.errors import SettingsError
    from bridge.settings import CallbackSettings, DingTalkApiSettings, LogSettings
    from bridge.telemetry import configure_logging

    class RegisterSettings(CallbackSettings, DingTalkApiSettings, LogSettings):
        """What registering needs: the callback's credentials and the app's."""

        def check(self) -> list[str]:
            problems = super().check()
            try:
                self.api_credentials()
            except SettingsError as error:
                problems += error.problems
            return problems

    tags = _events(events)
    settings = RegisterSettings.load()
    configure_logging(settings)
    if tags is None:
        tags = consumed_events(entry_points(group=CONSUMERS))
    done = asyncio.run(
        _register(
            settings,
            tags=tags,
            token=settings.dingtalk_token.get_secret_value(),
            aes_key=settings.dingtalk_aes_key.get_secret_value(),
            url=url,
            replace=replace,
        )
    )
    typer.echo(f"{done}: {url}")
    typer.echo("DingTalk has sent its check_url there, and was answered with the encrypted success.")
    _print_events(tags)


@app.command()
def show() -> None:
    """Show what is registered; token and AES key are masked."""
    from bridge.settings import DingTalkApiSettings, LogSettings
    from bridge.telemetry import configure_logging

    class ShowSettings(DingTalkApiSettings, LogSettings):
        """What showing needs: the app's credentials."""

    settings = ShowSettings.load()
    configure_logging(settings)
    registration = asyncio.run(_show(settings))
    typer.echo(f"url      {registration.url}")
    typer.echo(f"token    {mask(registration.token)}")
    typer.echo(f"aes_key  {mask(registration.aes_key)}")
    _print_events(registration.tags)


def consumed_events(consumers: Iterable[EntryPoint]) -> list[str]:
    """The EventTypes of all installed consumers (``topics`` of their classes), sorted.

    Raises ``SettingsError`` naming each consumer that cannot be loaded, or when there is none at all.
    """
    from bridge.errors import SettingsError
    from consumers.runtime.registry import Family

    events: set[str] = set()
    problems = []
    for consumer in consumers:
        try:
            loaded = consumer.load()
            of_family = isinstance(loaded, Family)
            for member in [loaded.make(name) for name in loaded.names()] if of_family else [loaded]:
                events.update(getattr(member, "topics", ()))
        except SettingsError as error:  # of a family, whose members are declared in settings
            problems += error.problems
        except Exception as error:  # somebody else's module: anything may come out of it
            problems.append(
                f"the consumer {consumer.name} ({consumer.value}) cannot be loaded ({type(error).__name__}); "
                "mend it, or name the EventTypes with --events"
            )
    if not events and not problems:
        problems.append("no consumer is installed that reads an EventType; name them with --events")
    if problems:
        raise SettingsError(problems)
    return sorted(events)


def mask(secret: str) -> str:
    """``secret`` so that it can be recognised, not used: its ends and its length."""
    if not secret:
        return "(none)"
    ends = f"{secret[:2]}…{secret[-2:]}" if len(secret) >= 12 else "…"
    return f"{ends} ({len(secret)} characters)"


def _print_events(events: Iterable[str]) -> None:
    listed = sorted(events)
    typer.echo(f"events   {len(listed)}")
    for event in listed:
        typer.echo(f"  {event}")


def _client(settings: "DingTalkApiSettings") -> "DingTalkClient":
    from dingtalk.api import DingTalkClient

    app_key, app_secret = settings.api_credentials()
    return DingTalkClient(app_key=app_key, app_secret=app_secret, base=settings.dingtalk_api_base)


async def _register(
    settings: "DingTalkApiSettings", *, tags: list[str], token: str, aes_key: str, url: str, replace: bool
) -> str:
    from dingtalk.errors import CallbackMissing

    async with _client(settings) as client:
        if replace:
            try:
                await client.update_call_back(tags=tags, token=token, aes_key=aes_key, url=url)
                return "replaced"
            except CallbackMissing:
                pass  # nothing to replace is no reason to refuse: the wish is that this one stands there
        await client.register_call_back(tags=tags, token=token, aes_key=aes_key, url=url)
        return "registered"


async def _show(settings: "DingTalkApiSettings") -> "CallbackRegistration":
    async with _client(settings) as client:
        return await client.get_call_back()

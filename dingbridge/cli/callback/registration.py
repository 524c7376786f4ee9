"""What is registered at DingTalk against what should be: the EventTypes, the differences, and the calls.

Nothing here asks whether the URL leads to the ingress: that is ``callback_check.py``.
"""

import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Final

import typer

from dingbridge.cli.terminal import ask

if TYPE_CHECKING:
    from dingbridge.cli.callback.target import ApiTarget, Target
    from dingbridge.dingtalk.api import CallbackRegistration

CONSUMERS: Final = "dingbridge.consumers"
"""Entry point group of the consumer classes."""
NOTE: Final = "note: "
"""Begins a line that tells of nothing wrong."""
CHECKED: Final = "DingTalk has sent its check_url there, and was answered with the encrypted success."

_EVENT_TYPE_RE = re.compile(r"[A-Za-z0-9_-]{1,200}")


def asked_for(value: str | None) -> list[str] | None:
    """The EventTypes of ``--events``, each once. Raises ``typer.BadParameter``."""
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


def wanted() -> list[str]:
    """The EventTypes of all installed consumers. Raises as ``consumed_events``."""
    return consumed_events(entry_points(group=CONSUMERS))


def consumed_events(consumers: Iterable[EntryPoint]) -> list[str]:
    """The EventTypes of all installed consumers (``topics`` of their classes), sorted.

    Raises ``SettingsError`` naming each consumer that cannot be loaded, or when there is none at all.
    """
    from dingbridge.errors import SettingsError
    from dingbridge.worker.registry import Family

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
                "fix it, or name the EventTypes with --events"
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


def differences(current: "CallbackRegistration", to: "Target", url: str, tags: Iterable[str]) -> list[str]:
    """What is registered otherwise than it should be, a line each; what does no harm begins with ``NOTE``."""
    lines = []
    if current.url != url:
        lines.append(f"url: registered is {current.url}")
    if current.token != to.credentials.token:
        lines.append(f"token: registered is another one, {mask(current.token)}")
    if current.aes_key != to.credentials.aes_key:
        lines.append(f"aes_key: registered is another one, {mask(current.aes_key)}")
    if absent := sorted(set(tags) - set(current.tags)):
        lines.append(f"events: not registered, and wanted: {', '.join(absent)}")
    if more := sorted(set(current.tags) - set(tags)):
        lines.append(f"{NOTE}registered, and read by no installed consumer: {', '.join(more)}")
    return lines


async def current(to: "ApiTarget") -> "CallbackRegistration":
    async with to.client() as client:
        return await client.get_call_back()


async def register(to: "Target", *, url: str, tags: list[str], replace: bool, dry_run: bool) -> None:
    """Register, or update what is registered where that is wished. Says what was done."""
    from dingbridge.dingtalk.errors import CallbackExists, CallbackMissing

    async with to.client() as client:
        current: CallbackRegistration | None = None
        if replace or dry_run:
            # nothing to replace is no reason to refuse: the wish is that this one stands there
            with suppress(CallbackMissing):
                current = await client.get_call_back()
        if dry_run:
            for line in differences(current, to, url, tags) if current else ():
                typer.echo(line)
            done = "would register" if current is None else "would replace what is registered with"
            typer.echo(f"{done}: {url}")
            return
        done = "registered"
        if current is None:
            try:
                await client.register_call_back(
                    tags=tags, token=to.credentials.token, aes_key=to.credentials.aes_key, url=url
                )
            except CallbackExists:
                current = await client.get_call_back()
                for line in differences(current, to, url, tags):
                    typer.echo(line)
                if not sys.stdin.isatty() or not ask(
                    f"A callback is registered already: {current.url}. Update it?"
                ):
                    raise
        if current is not None:
            await client.update_call_back(
                tags=tags, token=to.credentials.token, aes_key=to.credentials.aes_key, url=url
            )
            done = "replaced"
    typer.echo(f"{done}: {url}\n{CHECKED}")


async def update(to: "Target", *, url: str, tags: list[str]) -> None:
    async with to.client() as client:
        await client.update_call_back(
            tags=tags, token=to.credentials.token, aes_key=to.credentials.aes_key, url=url
        )


async def delete(to: "ApiTarget") -> None:
    async with to.client() as client:
        await client.delete_call_back()

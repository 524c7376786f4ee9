"""New credentials for an app of ``DINGTALK_APPS_FILE``, without a push refused in between.

In this order: (1) the new pair is in the file as ``next``, and every worker of the ingress accepts it beside
the old one; (2) it is registered at DingTalk; (3) the new pair is the current one, the old one is accepted
until the grace period is over. If it is killed, the file goes on accepting both, and the same command goes on
from there: DingTalk returns which of the two is registered.
"""

import asyncio
import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import aiohttp
import typer

from dingbridge.apps import edit
from dingbridge.apps.file import read_apps
from dingbridge.cli.callback import check
from dingbridge.cli.callback.credentials import generate, write_secret
from dingbridge.cli.callback.target import Target, target
from dingbridge.cli.terminal import DryRun, length
from dingbridge.dingtalk.api import CallbackRegistration, DingTalkClient
from dingbridge.dingtalk.crypto import Credentials
from dingbridge.doctor.checks.network import get_json
from dingbridge.doctor.findings import Both
from dingbridge.errors import BridgeError, SettingsError
from dingbridge.settings.apps import App, AppCredentials

TAKEN_WITHIN_S: Final = 30.0
"""The ingress reads the file each second."""
_ASK_EVERY_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Rotation:
    """One rotation of ``to``'s app, whose table is in ``file``."""

    to: Target
    file: Path
    grace: timedelta

    async def run(self, *, dry_run: bool = False) -> None:
        """From where it stands to its end. Raises ``BridgeError`` or ``ApiError``; run it again then."""
        with alone(self.file):
            await self._run(dry_run=dry_run)

    async def _run(self, *, dry_run: bool) -> None:
        async with self.to.client() as client:
            registered = await client.get_call_back()
            following = self._following()
            if following is not None and _same(registered, following):
                typer.echo("DingTalk has the new credentials already; the file follows")
            else:
                await self._begin(client, registered, following, dry_run=dry_run)
            if dry_run:
                return
        until = datetime.now(UTC) + self.grace
        self._finish(until)
        await self._taken({self._app().credentials[0].fingerprint})
        typer.echo(f"rotated: {registered.url} (app {self.to.app.name})")
        typer.echo(f"The old credentials are accepted until {until:%Y-%m-%d %H:%M:%S} UTC, then no more.")

    async def _begin(
        self,
        client: DingTalkClient,
        registered: CallbackRegistration,
        following: AppCredentials | None,
        *,
        dry_run: bool,
    ) -> None:
        """Steps 1 and 2."""
        current = self._app().credentials[0]
        if not _same(registered, current):
            raise BridgeError(
                "what is registered at DingTalk has other credentials than the file, so a rotation would not "
                "know the old ones: see `dingbridge doctor`, then `dingbridge callback register --replace`"
            )
        if following is None:
            self._must_be_settled()
        if dry_run:
            typer.echo(f"would give {registered.url} (app {self.to.app.name}) new credentials")
            typer.echo(f"would accept the old ones for {self.grace}")
            return
        if following is None:
            following = self._write_next()
        await self._taken({current.fingerprint, following.fingerprint})
        pair = Credentials(following.token, following.aes_key, self.to.credentials.owner_keys)
        if why := check.problem(await check.look(registered.url, pair, self.to)):
            raise BridgeError(
                f"DingTalk still has the old credentials. {registered.url} with the new ones: "
                f"{why} Then run this again"
            )
        await client.update_call_back(
            tags=registered.tags, token=following.token, aes_key=following.aes_key, url=registered.url
        )

    def _must_be_settled(self) -> None:
        now = datetime.now(UTC)
        late = [pair.until for pair in self._app().credentials[1:] if pair.until and pair.until > now]
        if late:
            raise BridgeError(
                f"the last rotation's old credentials are accepted until {max(late):%Y-%m-%d %H:%M:%S} UTC, "
                "and two at a time is all there may be: wait, or take their table out of the file"
            )

    def _text(self) -> str:
        return self.file.read_text(encoding="utf-8")

    def _app(self) -> App:
        """As the file has it now. Raises ``SettingsError``."""
        apps, problems = read_apps(self.file)
        if problems:
            raise SettingsError(problems)
        return apps[self.to.app.name]

    def _following(self) -> AppCredentials | None:
        return None if edit.next_of(self._text(), self.to.app.name) is None else self._app().credentials[1]

    def _write_next(self) -> AppCredentials:
        """New secrets, in new files where the old ones are in files; then the table that names them."""
        now = datetime.now(UTC)
        name, text = self.to.app.name, self._text()
        current = edit.entry_of(text, name)
        entry: dict[str, str] = {}
        secrets: dict[str, str] = {}
        made = generate()
        for key, secret in (("token", made.token), ("aes_key", made.aes_key)):
            if (file := current.get(f"{key}_file")) is None:
                entry[key] = secret
            else:
                entry[f"{key}_file"] = file = renamed(str(file), now)
                secrets[file] = secret
        changed = edit.begun(text, name, entry, now)
        for file, secret in secrets.items():
            write_secret(self.file.parent / file, secret)
        edit.put_in_place(self.file, changed)
        following = self._following()
        assert following is not None  # noqa: S101 - written just now
        return following

    def _finish(self, until: datetime) -> None:
        edit.put_in_place(self.file, edit.finished(self._text(), self.to.app.name, until))

    async def _taken(self, wanted: set[str]) -> None:
        """Wait until the ingress accepts all of ``wanted``."""
        deadline = time.monotonic() + TAKEN_WITHIN_S
        async with aiohttp.ClientSession() as session:
            while True:
                answer = await get_json(session, f"{self.to.admin}/apps")
                if isinstance(answer, Both):
                    why = f"{answer.en}; ADMIN_HOST and ADMIN_PORT name its private listener"
                else:
                    if wanted <= set(answer[1].get("apps", {}).get(self.to.app.name, ())):
                        return
                    why = "; ".join(answer[1].get("rejected", ())) or "it has not taken the file"
                if time.monotonic() >= deadline:
                    break
                await asyncio.sleep(_ASK_EVERY_S)
        raise BridgeError(
            f"the ingress of {self.to.admin} does not take the credentials of the file within "
            f"{TAKEN_WITHIN_S:g} s: {why}. What it has taken before stays accepted; run this again"
        )


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """One rotation at a time: a second one would put its own pair where the first expects what it registered.
    The lock is a file beside it, which stays. Raises ``BridgeError``."""
    path = file.with_name(f".{file.name}.lock")
    try:
        handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BridgeError(
            f"{path} cannot be made ({error.strerror or type(error).__name__}); its user must be able "
            "to write the apps file and its folder"
        ) from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BridgeError(f"another rotation is under way with {file}; wait for its end") from None
        yield
    finally:
        os.close(handle)


def renamed(file: str, now: datetime) -> str:
    """``hr.token`` and ``hr.token.20261125T080000123456`` alike become ``hr.token.<now>``."""
    return re.sub(r"\.\d{8}T\d{12}$", "", file) + f".{now:%Y%m%dT%H%M%S%f}"


def _same(registered: CallbackRegistration, pair: AppCredentials) -> bool:
    return (registered.token, registered.aes_key) == (pair.token, pair.aes_key)


def command(
    app_name: Annotated[str, typer.Option("--app", metavar="NAME", help="An app of DINGTALK_APPS_FILE.")],
    grace: Annotated[
        str, typer.Option(metavar="TIME", help="How long the old credentials are accepted still.")
    ] = "24h",
    dry_run: DryRun = False,
) -> None:
    """Give an app new credentials: accepted by the running ingress, registered, the old ones retired.

    No push is refused in between, nothing has to be restarted. Interrupted, the same command goes on. Exit
    code 0: done; 1: DingTalk refused, or the ingress does not take them; 2: settings or usage.
    """
    if (kept := length(grace)) is None:
        raise typer.BadParameter(f"{grace!r} is no length of time; as 90m, 24h, 3d", param_hint="--grace")
    to = target(app_name)
    if (file := to.settings.dingtalk_apps_file) is None:
        raise SettingsError(
            [
                "DINGTALK_APPS_FILE: not set. The environment's app has room for one pair of credentials; "
                "put it into that file as [apps.default] to rotate it"
            ]
        )
    if to.app.name not in read_apps(file)[0]:
        raise SettingsError([f"--app: {app_name} is not in {file}, so it has room for one pair only"])
    asyncio.run(Rotation(to, file, kept).run(dry_run=dry_run))

"""The checks in their order: what each one needs of those before it, and what is done when one breaks."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import aiohttp

from dingbridge.api_budget import ApiCalls
from dingbridge.dingtalk.api import CallbackRegistration, DingTalkClient
from dingbridge.dingtalk.crypto import Credentials
from dingbridge.dingtalk.errors import ApiError, CallbackMissing
from dingbridge.doctor.checks import clock, disk, ingress, kafka, kafka_judge, own, platform, quota
from dingbridge.doctor.checks import url as public
from dingbridge.doctor.findings import Finding, found
from dingbridge.errors import SettingsError
from dingbridge.logging import configure_logging
from dingbridge.settings import IngressSettings
from dingbridge.settings.apps import App, bare_path_app, load_apps, with_failed_lists

Tell = Callable[[Finding], None]


@dataclass
class Patient:
    """One stack: its settings, and what was seen of it so far."""

    settings: IngressSettings
    app: App
    credentials: Credentials
    consumers: Sequence[own.Part]
    with_ingress: bool
    url: str | None
    session: aiohttp.ClientSession
    client: DingTalkClient | None
    calls: ApiCalls
    of_kafka: kafka.Seen = field(default_factory=kafka.Seen)
    of_ingress: ingress.Seen | None = None
    _registration: CallbackRegistration | ApiError | None = None
    _asked: bool = False

    @property
    def recovers(self) -> bool:
        """Whether the ingress reads the failed list of this app by itself."""
        read, _ = with_failed_lists(load_apps(self.settings))
        return self.with_ingress and self.settings.recovery_every_minutes > 0 and self.app.name in read

    async def registration(self) -> CallbackRegistration | ApiError | None:
        """What is registered by API, asked for once; ``None`` for nothing, an error when it is not known."""
        if self.client is not None and not self._asked:
            self._asked = True
            try:
                self._registration = await self.client.get_call_back()
            except CallbackMissing:
                pass
            except ApiError as error:
                self._registration = error
        return self._registration


async def examine(*, url: str | None, app_name: str | None, wanted: Sequence[str], tell: Tell) -> None:
    """Run all checks; ``tell`` hears each finding as it is made. ``wanted`` names the parts, none for all."""
    settings, problems = own.load()
    app = None
    if settings is not None:
        app, problems = own.app_of(settings, app_name)
    consumers, unloadable = own.parts(wanted, told=problems)
    for finding in [*problems, *unloadable]:
        tell(finding)
    if settings is None or app is None:
        tell(found("settings.stopped"))
        return
    with_ingress = not wanted or own.INGRESS in wanted
    if not unloadable:
        for finding in own.judge(app, consumers, ingress=with_ingress):
            tell(finding)
    keys = own.judge_keys(app)
    for finding in keys:
        tell(finding)
    if any(finding.code in own.NO_KEYS for finding in keys):
        tell(found("settings.stopped"))
        return
    configure_logging(settings)
    calls = ApiCalls.of(settings, app.app_key)
    pair = app.accepted(datetime.now(UTC))[0]
    async with aiohttp.ClientSession(headers={"User-Agent": "dingbridge"}) as session:
        patient = Patient(
            settings,
            app,
            Credentials(pair.token, pair.aes_key, app.owner_keys),
            consumers,
            with_ingress,
            url,
            session,
            _client(app, settings.dingtalk_api_base, session, calls),
            calls,
        )
        for check in CHECKS:
            try:
                findings = await check(patient)
            except Exception as error:  # a fault of ours must not hide what the other checks find
                frames = traceback.extract_tb(error.__traceback__)
                place = f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}"
                name = check.__name__.strip("_")
                findings = [found("doctor.fault", check=name, error=type(error).__name__, place=place)]
            for finding in findings:
                tell(finding)
    calls.close()


def _client(app: App, base: str, session: aiohttp.ClientSession, calls: ApiCalls) -> DingTalkClient | None:
    """The app's API client; ``None`` without its key and secret, and for a suite."""
    if not app.calls_api:
        return None
    app_key, app_secret = app.api_credentials()
    return DingTalkClient(app_key=app_key, app_secret=app_secret, base=base, session=session, budget=calls)


async def _clock(patient: Patient) -> list[Finding]:
    base = patient.settings.dingtalk_api_base
    seen = await clock.look(patient.session, base)
    return clock.judge(seen, base=base, max_age_s=patient.settings.max_age_s)


async def _url(patient: Patient) -> list[Finding]:
    url = patient.url
    if url is None:
        if not patient.with_ingress:
            return []
        registration = await patient.registration()
        if not isinstance(registration, CallbackRegistration):
            return [found("url.unknown")]
        url = registration.url
    if not public.usable(url):
        return [found("url.invalid", url=public.shown(url))]
    seen = await public.look(patient.session, url, patient.credentials)
    return public.judge(seen, from_internet=patient.settings.speaks_to_dingtalk)


async def _ingress(patient: Patient) -> list[Finding]:
    if not patient.with_ingress:
        return []
    settings, name = patient.settings, patient.app.name
    bare = bare_path_app(load_apps(settings), settings) == name
    patient.of_ingress = await ingress.look(
        patient.session, settings, patient.credentials, app=name, bare=bare
    )
    return ingress.judge(patient.of_ingress)


async def _owner(patient: Patient) -> list[Finding]:
    if patient.of_ingress is None:
        return []
    return ingress.judge_owner(patient.of_ingress, patient.app.owner_keys)


async def _kafka(patient: Patient) -> list[Finding]:
    ingress, recovery = patient.with_ingress, patient.recovers
    needs = kafka.needs(patient.settings, patient.consumers, ingress=ingress, recovery=recovery)
    groups = [part.name for part in patient.consumers]
    patient.of_kafka = await kafka.look(patient.settings, sorted(needs), groups)
    return kafka_judge.judge(patient.of_kafka, patient.settings, needs)


async def _disk(patient: Patient) -> list[Finding]:
    if not patient.with_ingress:
        return []
    seen = await asyncio.to_thread(disk.look, patient.settings.journal_path)
    return disk.judge(seen, allow_unsafe=patient.settings.journal_allow_unsafe)


async def _platform(patient: Patient) -> list[Finding]:
    if patient.client is None:
        return [found("api.suite", app=patient.app.name) if patient.app.suite else found("api.skipped")]
    from consumers.approval.settings import ApprovalSettings

    try:
        attachments = ApprovalSettings.load().archive_dir is not None
    except SettingsError:
        attachments = True  # told by ``own``; a call too many shows more than one too few
    probes = platform.probes(patient.client, patient.consumers, attachments=attachments)
    return platform.judge(await platform.look(patient.client, probes))


async def _tags(patient: Patient) -> list[Finding]:
    if patient.client is None:
        return [found("tags.unknown")]
    return platform.judge_tags(
        await patient.registration(),
        patient.consumers,
        accepted=patient.app.accepted(datetime.now(UTC)),
        url=patient.url,
    )


async def _failed(patient: Patient) -> list[Finding]:
    if patient.of_ingress is None:
        return []
    seen = patient.of_ingress
    if not patient.recovers:
        seen = replace(seen, recovery=ingress.Recovery())  # it tells of other apps' lists
    return ingress.judge_failed(seen, patient.app.owner_keys)


async def _quota(patient: Patient) -> list[Finding]:
    seen = patient.of_kafka
    return quota.judge(patient.calls.spent(), seen.pushes, all_pushes=seen.all_pushes)


CHECKS: tuple[Callable[[Patient], Awaitable[list[Finding]]], ...] = (
    _clock,
    _url,
    _ingress,
    _owner,
    _kafka,
    _disk,
    _platform,
    _tags,
    _failed,
    _quota,
)

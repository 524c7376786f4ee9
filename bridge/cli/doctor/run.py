"""The checks in their order: what each one needs of those before it, and what is done when one breaks."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import aiohttp

from bridge.api_calls import ApiCalls
from bridge.apps import as_if_alone, load_apps, pick
from bridge.cli.doctor.checks import clock, disk, ingress, kafka, kafka_judge, own, platform, quota
from bridge.cli.doctor.checks import url as public
from bridge.cli.doctor.findings import Finding, found
from bridge.settings import IngressSettings
from bridge.telemetry import configure_logging
from dingtalk.api import CallbackRegistration, DingTalkClient
from dingtalk.crypto import Credentials
from dingtalk.errors import ApiError, CallbackMissing

Tell = Callable[[Finding], None]


@dataclass
class Patient:
    """One stack: its settings, and what was seen of it so far."""

    settings: IngressSettings
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
        """Whether the ingress reads DingTalk's failed list by itself."""
        by_itself = self.settings.recovery_every_minutes > 0
        return self.with_ingress and by_itself and self.client is not None

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


async def examine(*, url: str | None, wanted: Sequence[str], tell: Tell, app: str = "default") -> None:
    """Run all checks; ``tell`` hears each finding as it is made. ``wanted`` names the parts, none for all;
    ``app`` one of several apps. Raises ``SettingsError`` when there is none of this name."""
    settings, problems = own.load()
    consumers, unloadable = own.parts(wanted)
    for finding in [*problems, *unloadable]:
        tell(finding)
    if settings is None:
        tell(found("settings.stopped"))
        return
    if settings.dingtalk_apps_file is not None:
        settings = as_if_alone(settings, pick(load_apps(settings), settings, app))
    with_ingress = not wanted or own.INGRESS in wanted
    if not unloadable:
        for finding in own.judge(settings, consumers, ingress=with_ingress):
            tell(finding)
    keys = own.judge_keys(settings)
    for finding in keys:
        tell(finding)
    if any(finding.code in ("key.aes", "key.token", "key.owner") for finding in keys):
        tell(found("settings.stopped"))
        return
    configure_logging(settings)
    calls = ApiCalls.of(settings)
    async with aiohttp.ClientSession(headers={"User-Agent": "dingbridge"}) as session:
        patient = Patient(
            settings,
            Credentials(
                settings.dingtalk_token.get_secret_value(),
                settings.dingtalk_aes_key.get_secret_value(),
                tuple(settings.dingtalk_owner_key),
            ),
            consumers,
            with_ingress,
            url,
            session,
            _client(settings, session, calls),
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


def _client(
    settings: IngressSettings, session: aiohttp.ClientSession, calls: ApiCalls
) -> DingTalkClient | None:
    """The API client of the environment's one app; ``None`` without its key and secret."""
    if not settings.dingtalk_app_key or not settings.dingtalk_app_secret:
        return None
    app_key, app_secret = settings.api_credentials()
    base = settings.dingtalk_api_base
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
        return [found("url.invalid", url=url.partition("?")[0])]
    seen = await public.look(patient.session, url, patient.credentials)
    return public.judge(seen, from_internet=patient.settings.speaks_to_dingtalk)


async def _ingress(patient: Patient) -> list[Finding]:
    if not patient.with_ingress:
        return []
    patient.of_ingress = await ingress.look(patient.session, patient.settings, patient.credentials)
    return ingress.judge(patient.of_ingress)


async def _owner(patient: Patient) -> list[Finding]:
    if patient.of_ingress is None:
        return []
    return ingress.judge_owner(patient.of_ingress, patient.settings.dingtalk_owner_key)


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
        return [found("api.skipped")]
    from consumers.approval.settings import ApprovalSettings

    attachments = ApprovalSettings.load().archive_dir is not None
    probes = platform.probes(patient.client, patient.consumers, attachments=attachments)
    return platform.judge(await platform.look(patient.client, probes))


async def _tags(patient: Patient) -> list[Finding]:
    if patient.client is None:
        return [found("tags.unknown")]
    return platform.judge_tags(
        await patient.registration(),
        patient.consumers,
        token=patient.settings.dingtalk_token.get_secret_value(),
        aes_key=patient.settings.dingtalk_aes_key.get_secret_value(),
        url=patient.url,
    )


async def _failed(patient: Patient) -> list[Finding]:
    if patient.of_ingress is None:
        return []
    return ingress.judge_failed(patient.of_ingress, patient.settings.dingtalk_owner_key)


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

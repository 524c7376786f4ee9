"""Runs the checks in their order: each gets what those before it have seen; a broken one stops no other."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from dingbridge.dingtalk.api import CallbackRegistration, DingTalkClient
from dingbridge.dingtalk.crypto import Credentials
from dingbridge.doctor.checks import (
    clock,
    consumers,
    dead_letters,
    ingress,
    kafka,
    kafka_judge,
    platform,
    quota,
    stream,
    subscription,
)
from dingbridge.doctor.checks import settings as settings_check
from dingbridge.doctor.checks import url as public
from dingbridge.doctor.context import NO_APP, Context
from dingbridge.doctor.findings import Finding, found
from dingbridge.doctor.parts import Check, calls_of
from dingbridge.logging import configure_logging, place_of
from dingbridge.outgoing.proxy import proxy_of, shown
from dingbridge.settings import IngressSettings
from dingbridge.settings.apps import App, bare_path_app, load_apps
from dingbridge.worker.api.budget import ApiCalls

Report = Callable[[Iterable[Finding]], None]
Looks = Callable[[Context], Awaitable[list[Finding]]]


async def examine(
    *,
    url: str | None,
    app_name: str | None,
    wanted: Sequence[str],
    report: Report,
    checks: Mapping[str, Check],
    in_background: bool = False,
) -> None:
    """Run all checks; ``report`` receives the findings of each as they are made. ``wanted`` names the parts,
    none for all; ``checks`` are those that parts bring along, by the part's name. ``in_background``, as the
    console looks again and again: the Open API, whose calls count, is not asked, dead letters are not read,
    and the process's log stays as it is."""
    with_ingress = not wanted or settings_check.INGRESS in wanted
    settings, problems = settings_check.load()
    # a consumer's own environment has no keys of the callback, and needs none
    needs_app = with_ingress or in_background
    if settings is None:
        settings, others = settings_check.load(needs_app=False)
        problems = problems if needs_app else others
    app = None
    if settings is not None and (settings.needs_app or not needs_app):
        app, problems = settings_check.app_of(settings, app_name)
    chosen, unloadable = settings_check.parts(wanted, reported=problems)
    report([*problems, *unloadable])
    if settings is None:
        report([found("settings.stopped")])
        return
    if app is not None:
        if not unloadable:
            report(settings_check.judge(app, chosen, ingress=with_ingress))
        keys = settings_check.judge_keys(app) if with_ingress or app.credentials else []
        report(keys)
        if any(finding.code in settings_check.NO_KEYS for finding in keys):
            app = None
    if app is None:
        report([found("settings.no_keys")])
        app = NO_APP
    if not in_background:
        configure_logging(settings)
    calls = ApiCalls.of(settings, app.app_key)
    pair = next(iter(app.accepted(datetime.now(UTC))), None)  # none in Stream mode
    async with aiohttp.ClientSession(headers={"User-Agent": "dingbridge"}) as session:
        context = Context(
            settings,
            app,
            Credentials(pair.token, pair.aes_key, app.owner_keys) if pair else None,
            chosen,
            with_ingress,
            url,
            session,
            None if in_background else _client(app, settings, session, calls),
            calls,
            in_background,
            wanted,
        )
        of_parts = {
            name: check
            for name, check in checks.items()
            if (with_ingress if name == settings_check.INGRESS else name in {p.name for p in chosen})
        }
        for check in _in_order(of_parts) if context.has_app else [*WITHOUT_APP, *_looks(of_parts), _quota]:
            report(await _findings(check, context))
    await calls.close()


def _in_order(of_parts: Mapping[str, Check]) -> list[Looks]:
    """The doctor's own checks, and in their place those of the parts."""
    platform, templates = (partial(check, of_parts=of_parts) for check in (_platform, _templates))
    return [*BEFORE, *_looks(of_parts), platform, _tags, templates, *AFTER]


def _looks(of_parts: Mapping[str, Check]) -> list[Looks]:
    return [check.look for check in of_parts.values() if check.look is not None]


async def _findings(check: Looks, context: Context) -> list[Finding]:
    try:
        return await check(context)
    except Exception as error:  # a fault of ours must not hide what the other checks find
        name = getattr(getattr(check, "func", check), "__name__", "?").strip("_")  # ``func`` of a ``partial``
        return [found("doctor.fault", check=name, error=type(error).__name__, place=place_of(error))]


def _client(
    app: App, settings: IngressSettings, session: aiohttp.ClientSession, calls: ApiCalls
) -> DingTalkClient | None:
    """The app's API client; ``None`` without its key and secret, and for a suite."""
    if not app.calls_api:
        return None
    app_key, app_secret = app.api_credentials()
    return DingTalkClient(
        app_key=app_key,
        app_secret=app_secret,
        base=settings.dingtalk_api_base,
        new_base=settings.new_api_base,
        session=session,
        budget=calls,
    )


async def _proxy(context: Context) -> list[Finding]:
    settings = context.settings
    hosts: dict[str, list[str]] = {}
    for base in dict.fromkeys((settings.dingtalk_api_base, settings.new_api_base)):
        if proxy := proxy_of(base):
            hosts.setdefault(shown(proxy), []).append(urlsplit(base).hostname or "")
    return [found("proxy.used", proxy=proxy, hosts=names) for proxy, names in hosts.items()]


async def _clock(context: Context) -> list[Finding]:
    base = context.settings.dingtalk_api_base
    seen = await clock.look(context.session, base)
    # what comes by Stream bears no signed time that could be too old
    max_age_s = context.settings.max_age_s if context.app.mode == "http" else 0
    return clock.judge(seen, base=base, max_age_s=max_age_s)


async def _url(context: Context) -> list[Finding]:
    if context.credentials is None:
        return []
    url = context.url
    if url is None:
        if not context.with_ingress:
            return []
        registration = await context.registration()
        if not isinstance(registration, CallbackRegistration):
            return [found("url.unknown")]
        url = registration.url
    if not public.usable(url):
        return [found("url.invalid", url=public.shown(url))]
    _, admin = ingress.addresses(context.settings)
    seen = await public.look(context.session, url, context.credentials, admin)
    return public.judge(seen, from_internet=context.settings.speaks_to_dingtalk)


async def _ingress(context: Context) -> list[Finding]:
    if not context.with_ingress:
        return []
    settings, name = context.settings, context.app.name
    bare = not context.has_app or bare_path_app(load_apps(settings), settings) == name
    url, admin = ingress.addresses(settings, None if bare else name)
    context.of_ingress = await ingress.look(
        context.session, admin, url=url, credentials=context.credentials, app=name
    )
    return ingress.judge(context.of_ingress)


async def _owner(context: Context) -> list[Finding]:
    if context.of_ingress is None or context.app.mode == "stream":
        return []
    return ingress.judge_owner(context.of_ingress, context.app.owner_keys)


async def _stream(context: Context) -> list[Finding]:
    if not context.with_ingress or context.app.mode == "http":
        return []
    settings = context.settings
    _, admin = ingress.addresses(settings)
    seen = await stream.look(
        context.session,
        admin,
        context.app.name,
        new_api=settings.new_api_base,
        live=settings.speaks_to_dingtalk,
    )
    return stream.judge(seen, wanted=settings.stream_connections, watchdog_s=settings.stream_watchdog_s)


async def _kafka(context: Context) -> list[Finding]:
    needs = kafka.needs(context.settings, context.consumers, ingress=context.with_ingress)
    groups = [part.name for part in context.consumers]
    context.of_kafka = await kafka.look(context.settings, sorted(needs), groups)
    findings = kafka_judge.judge(context.of_kafka, context.settings, needs)
    # whoever has no app's settings may have a user of its own in Kafka, as the console
    return [one for one in findings if context.has_app or one.code not in kafka_judge.OF_THE_USER]


async def _dead_letters(context: Context) -> list[Finding]:
    if context.in_background or context.of_kafka.failure is not None:
        return []
    names = None if context.with_ingress else [part.name for part in context.consumers]
    return dead_letters.judge(await dead_letters.look(context.settings, names))


async def _consumers(context: Context) -> list[Finding]:
    if context.in_background or context.of_kafka.failure is not None:  # the console's line has them
        return []
    return consumers.judge(await consumers.look(context.settings, context.consumers), context.wanted)


async def _platform(context: Context, of_parts: Mapping[str, Check]) -> list[Finding]:
    if context.client is None:
        return [found("api.suite", app=context.app.name) if context.app.suite else found("api.skipped")]
    known = platform.Known()
    wanted = platform.probes(calls_of(of_parts, context.client, known))
    return platform.judge(await platform.look(context.client, wanted, known))


async def _tags(context: Context) -> list[Finding]:
    if context.app.mode == "stream":
        registration = await context.registration()
        registered = registration.url if isinstance(registration, CallbackRegistration) else None
        return stream.judge_tags(context.consumers, registered)
    if context.client is None:
        return [found("tags.unknown")]
    return platform.judge_tags(
        await context.registration(),
        context.consumers,
        accepted=context.app.accepted(datetime.now(UTC)),
        url=context.url,
    )


async def _templates(context: Context, of_parts: Mapping[str, Check]) -> list[Finding]:
    wanted = {name: check.templates() for name, check in of_parts.items() if check.templates is not None}
    readers = [part.name for part in context.consumers if subscription.EVENT_TYPE in part.topics]
    return subscription.judge(wanted, readers)


async def _failed(context: Context) -> list[Finding]:
    if context.of_ingress is None:
        return []
    seen = context.of_ingress
    if not context.recovers:
        seen = replace(seen, recovery=ingress.Recovery())  # its metrics are of other apps' lists
    return ingress.judge_failed(seen, context.app.owner_keys)


async def _quota(context: Context) -> list[Finding]:
    findings: list[Finding] = []
    settings = context.settings
    if context.app.app_key or settings.dingtalk_app_key:
        findings += quota.judge(await context.calls.spent(), settings.api_monthly_budget)
    return findings


BEFORE: Final[tuple[Looks, ...]] = (
    _proxy,
    _clock,
    _url,
    _ingress,
    _owner,
    _stream,
    _kafka,
    _consumers,
    _dead_letters,
)
WITHOUT_APP: Final[tuple[Looks, ...]] = (_ingress, _kafka, _consumers, _dead_letters)
AFTER: Final[tuple[Looks, ...]] = (_failed, _quota)

"""Settings, the form of keys, and the parts that are looked at: the ingress and installed consumers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import EntryPoint
from typing import ClassVar, Final

from dingbridge.apps.model import OWNER_WORDS, TOKEN
from dingbridge.doctor.findings import Both, Finding, found
from dingbridge.errors import SettingsError
from dingbridge.settings import ConsumerSettings, IngressSettings
from dingbridge.settings.apps import App, environment_app, load_apps, pick
from dingbridge.settings.base import mistakes_of
from dingbridge.worker.registry import installed_consumers, unknown

INGRESS: Final = "ingress"
NO_KEYS: Final = frozenset({"key.aes", "key.token", "key.owner", "key.none"})
"""Findings of keys with which no call can be made."""
_TOKEN_LENGTHS: Final = range(6, 64)
_FORM_OF_TOKENS_ZH: Final = "应为 1 到 64 个不含空格的可打印 ASCII 字符"


@dataclass(frozen=True, slots=True)
class Part:
    """A consumer that is looked at; the EventTypes and control topics that it reads, and those that it
    writes."""

    name: str
    topics: tuple[str, ...]
    control_topics: tuple[str, ...] = ()
    written: tuple[str, ...] = ()


class WithoutApp(IngressSettings):
    """The same where nothing is done in an app's name, as in the console's container."""

    needs_app: ClassVar[bool] = False


def load(*, needs_app: bool = True) -> tuple[IngressSettings | None, list[Finding]]:
    """The settings, and what is wrong with them; unless ``needs_app`` without those of callbacks."""
    try:
        settings = (IngressSettings if needs_app else WithoutApp).load()
    except SettingsError as error:
        return None, judge_problems(error.problems)
    return settings, []


def app_of(settings: IngressSettings, name: str | None) -> tuple[App | None, list[Finding]]:
    """The app of this name; unless given, the environment's, else the file's only one; without its callback
    keys where these are not needed."""
    try:
        apps = load_apps(settings)
        app = environment_app(settings) if name is None else pick(apps, settings, name)
    except SettingsError as error:
        return None, judge_problems(error.problems)
    if app is None and len(apps) == 1:
        [app] = apps.values()
    if app is None:
        return None, [found("settings.app", apps=sorted(apps))] if apps or settings.needs_app else []
    # without them their form is not checked
    return app if settings.needs_app else replace(app, credentials=()), []


def judge_problems(problems: Sequence[str]) -> list[Finding]:
    """Mistakes that keep the ingress from starting."""
    return [_of_setting(problem) for problem in problems]


def _of_setting(problem: str) -> Finding:
    variable, _, words = problem.partition(": ")
    if problem.startswith("DINGTALK_AES_KEY: has "):
        return found("key.aes", problem=problem)
    if variable == "DINGTALK_TOKEN" and words == TOKEN.words:
        return found("key.token", problem=Both(words, _FORM_OF_TOKENS_ZH))
    if variable == "DINGTALK_OWNER_KEY" and words.endswith(OWNER_WORDS):
        return found("key.owner", problem=words)
    return found("settings.invalid", problem=problem)


def parts(
    wanted: Sequence[str], points: Iterable[EntryPoint] | None = None, reported: Sequence[Finding] = ()
) -> tuple[list[Part], list[Finding]]:
    """The consumers that are checked, those of ``wanted`` or all that are installed; and findings of those
    that would not start, without the problems that were ``reported`` for the ingress already."""
    chosen: list[Part] = []
    findings: list[Finding] = []
    of_ingress = {finding.values.get("problem") for finding in reported}
    installed = installed_consumers(points)
    for one in installed:
        if one.consumer is None:
            if not wanted or any(name == one.name or name.startswith(f"{one.name}-") for name in wanted):
                findings.append(found("settings.consumer", consumer=one.name, reason=one.problem))
        elif not wanted or one.name in wanted:
            cls = one.consumer
            reads = tuple(cls.topics), tuple(cls.control_topics)
            chosen.append(Part(one.name, *reads, tuple(cls.control_topics_written)))
            problems = [p for p in mistakes_of(one.consumer, ConsumerSettings.load) if p not in of_ingress]
            if problems:
                findings.append(found("settings.consumer", consumer=one.name, reason="; ".join(problems)))
    broken = tuple(f"{one.name}-" for one in installed if one.consumer is None)  # perhaps a family's
    known = {INGRESS, *(one.name for one in installed)}
    for name in wanted:
        if name not in known and not name.startswith(broken):
            findings.append(found("settings.consumer", consumer=name, reason=str(unknown(name))))
    return chosen, findings


def judge(app: App, consumers: Sequence[Part], *, ingress: bool) -> list[Finding]:
    """Of settings that load."""
    names = [*([INGRESS] if ingress else []), *(part.name for part in consumers)]
    if not app.calls_api and not app.suite:
        return [found("settings.no_app", app=app.name)]
    name = app.name if app.mode == "http" else f"{app.name} (Stream)"
    return [found("settings.ok", app=name, parts=names)]


def judge_keys(app: App) -> list[Finding]:
    """Token and AES key, of each pair that is accepted now, whose form the settings have checked; Stream mode
    has none."""
    if app.mode == "stream":
        return []
    pairs = app.accepted(datetime.now(UTC))
    if not pairs:
        return [found("key.none", app=app.name)]
    for pair in pairs:
        if len(pair.token) not in _TOKEN_LENGTHS:
            return [found("key.token_length", length=len(pair.token))]
    return [found("key.ok")]

"""Settings, the form of keys, and the parts that are looked at: the ingress and installed consumers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from bridge.cli.doctor.findings import Both, Finding, found
from bridge.errors import SettingsError
from bridge.settings import CallbackSettings, IngressSettings

INGRESS: Final = "ingress"
_TOKEN_LENGTHS: Final = range(6, 64)


@dataclass(frozen=True, slots=True)
class Part:
    """A consumer that is looked at, and the EventTypes that it reads."""

    name: str
    topics: tuple[str, ...]


def load() -> tuple[IngressSettings | None, list[Finding]]:
    """The settings, and what is wrong with them."""
    try:
        settings = IngressSettings.load()
    except SettingsError as error:
        return None, judge_problems(error.problems)
    return settings, []


def judge_problems(problems: Sequence[str]) -> list[Finding]:
    """Mistakes that keep the ingress from starting."""
    aes = "DINGTALK_AES_KEY: has "
    return [
        found("key.aes" if problem.startswith(aes) else "settings.invalid", problem=problem)
        for problem in problems
    ]


def parts(
    wanted: Sequence[str], found_points: Iterable[EntryPoint] | None = None
) -> tuple[list[Part], list[Finding]]:
    """The consumers that are looked at: those of ``wanted``, or all that are installed."""
    from consumers.runtime.registry import GROUP, Family, load_consumer

    points = entry_points(group=GROUP) if found_points is None else found_points
    chosen: list[Part] = []
    findings: list[Finding] = []
    for point in sorted(points, key=lambda point: point.name):
        try:
            loaded = point.load()
            names = list(loaded.names()) if isinstance(loaded, Family) else [point.name]
            for name in names:
                if not wanted or name in wanted:
                    maker = loaded.make(name) if isinstance(loaded, Family) else loaded
                    chosen.append(Part(name, tuple(maker.topics)))
        except SettingsError as error:
            findings += judge_consumer(point.name, "; ".join(error.problems), wanted)
        except Exception as error:  # somebody else's module: anything may come out of it
            findings += judge_consumer(point.name, type(error).__name__, wanted)
    known = {part.name for part in chosen} | {INGRESS} | {str(f.values["consumer"]) for f in findings}
    for name in wanted:
        if name not in known:
            try:
                load_consumer(name)
            except Exception as error:
                findings.append(found("settings.consumer", consumer=name, reason=str(error)))
    return chosen, findings


def judge_consumer(name: str, reason: str, wanted: Sequence[str]) -> list[Finding]:
    """A consumer that cannot be loaded, unless it was left out."""
    asked_for = not wanted or any(one == name or one.startswith(f"{name}-") for one in wanted)
    return [found("settings.consumer", consumer=name, reason=reason)] if asked_for else []


def judge(settings: IngressSettings, consumers: Sequence[Part], *, ingress: bool) -> list[Finding]:
    """Of settings that load."""
    names = [*([INGRESS] if ingress else []), *(part.name for part in consumers)]
    if not settings.dingtalk_app_key or not settings.dingtalk_app_secret:
        return [found("settings.no_app")]
    return [found("settings.ok", parts=names)]


def judge_keys(settings: CallbackSettings) -> list[Finding]:
    """The form of Token, AES key and owner keys."""
    from dingtalk.crypto import Credentials
    from dingtalk.errors import CredentialsError

    token = settings.dingtalk_token.get_secret_value()
    try:
        Credentials(token, settings.dingtalk_aes_key.get_secret_value(), tuple(settings.dingtalk_owner_key))
    except CredentialsError as error:
        return [_of_problem(problem) for problem in error.problems]
    if len(token) not in _TOKEN_LENGTHS:
        return [found("key.token_length", length=len(token))]
    return [found("key.ok")]


def _of_problem(problem: str) -> Finding:
    if problem.startswith("the token"):
        zh = "应为 1 到 64 个不含空格的可打印 ASCII 字符"
        return found("key.token", problem=Both(problem, zh))
    if problem.startswith("the AES key"):
        return found("key.aes", problem=problem)
    return found("key.owner", problem=problem)

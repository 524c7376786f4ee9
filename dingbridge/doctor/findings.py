"""A finding: the result of a check, by a code; and how findings are printed in English or Chinese.

What each code means is data: ``words.toml`` beside the checks, read by ``read_words``.
"""

import enum
import os
import textwrap
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Final, Literal, NamedTuple

Lang = Literal["en", "zh"]

EXIT_OK, EXIT_ERROR, EXIT_SETTINGS = 0, 1, 2
SETTINGS_CODES: Final = frozenset({"settings.invalid", "key.aes", "key.token", "key.owner", "settings.app"})
"""Findings of settings: the ingress would end with exit code 2, or it is not said which app is meant."""

_WIDTH: Final = 108
_CODE_WIDTH: Final = 22


class Level(enum.StrEnum):
    """How bad it is. Only an ``ERROR`` makes the exit code differ from 0."""

    OK = "ok"
    NOTE = "note"
    SKIPPED = "skipped"
    WARNING = "warning"
    ERROR = "error"


LEVELS: Final[dict[Lang, dict[Level, str]]] = {
    "en": {level: f"{level.value:7}" for level in Level},
    "zh": {
        Level.OK: "正常",
        Level.NOTE: "提示",
        Level.SKIPPED: "跳过",
        Level.WARNING: "警告",
        Level.ERROR: "错误",
    },
}
_REMEDY: Final = {"en": "do: ", "zh": "办法："}


class Words(NamedTuple):
    """What a code means. ``en`` and ``zh`` are the cause and, but for what is well, the remedy; in braces
    stand the names of the finding's values."""

    level: Level
    en: tuple[str, ...]
    zh: tuple[str, ...]


class Both(NamedTuple):
    """A value with words in both languages."""

    en: str
    zh: str


@dataclass(frozen=True, slots=True)
class Finding:
    """``values`` fill the words of ``code``; none of them is ever a secret."""

    code: str
    values: Mapping[str, Any] = field(default_factory=dict)

    def level(self, table: Mapping[str, Words]) -> Level:
        return table[self.code].level

    def said(self, table: Mapping[str, Words], lang: Lang) -> tuple[str, str]:
        """``(cause, remedy)``; the remedy of what is well is empty."""
        texts = table[self.code].en if lang == "en" else table[self.code].zh
        values = {name: plain(value, lang) for name, value in self.values.items()}
        cause, remedy = (*texts, "")[:2]
        return cause.format(**values), remedy.format(**values)


def read_words(package: str, name: str = "words.toml") -> dict[str, Words]:
    """``{code: words}`` of a file of ``package``: a table ``[<check>.<what>]`` for each code with ``level``,
    ``en`` and ``zh``, and unless all is well ``en_remedy`` and ``zh_remedy``."""
    tables = tomllib.loads(files(package).joinpath(name).read_text(encoding="utf-8"))
    return {
        f"{check}.{what}": Words(
            Level(entry["level"]),
            *(tuple(entry[key] for key in (lang, f"{lang}_remedy") if key in entry) for lang in ("en", "zh")),
        )
        for check, codes in tables.items()
        for what, entry in codes.items()
    }


def found(code: str, **values: Any) -> Finding:
    return Finding(code, values)


def plain(value: Any, lang: Lang) -> str:
    """A finding's value as text."""
    if isinstance(value, Both):
        return value.en if lang == "en" else value.zh
    if isinstance(value, list | tuple):
        return (", " if lang == "en" else "、").join(plain(item, lang) for item in value)
    if isinstance(value, float):
        return f"{value:.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def exit_code(findings: Iterable[Finding], table: Mapping[str, Words]) -> int:
    """0: no error; 2: settings with which the ingress would not start, or no app; 1: any other error."""
    codes = {finding.code for finding in findings}
    if codes & SETTINGS_CODES:
        return EXIT_SETTINGS
    return EXIT_ERROR if any(table[code].level is Level.ERROR for code in codes) else EXIT_OK


def language(chosen: str | None, environment: Mapping[str, str] = os.environ) -> Lang:
    """The one chosen, else that of the locale: the first of these variables that is set decides, as POSIX
    has it."""
    names = ("LC_ALL", "LC_MESSAGES", "LANG")
    locale = chosen or next((environment[name] for name in names if environment.get(name)), "")
    return "zh" if locale.lower().startswith("zh") else "en"


def printed(finding: Finding, table: Mapping[str, Words], lang: Lang) -> str:
    """The finding as lines of text; English is wrapped, Chinese is left to the terminal."""
    cause, remedy = finding.said(table, lang)
    begin = f"{LEVELS[lang][finding.level(table)]} {finding.code:{_CODE_WIDTH}} "
    indent = (8 if lang == "en" else 5) + _CODE_WIDTH + 1
    lines = [begin + _wrapped(cause, indent, lang)]
    if remedy:
        mark = _REMEDY[lang]
        lines.append(" " * indent + mark + _wrapped(remedy, indent + len(mark), lang))
    return "\n".join(lines)


def summary(findings: Iterable[Finding], table: Mapping[str, Words], lang: Lang) -> str:
    """The last line: how many errors and warnings."""
    levels = [finding.level(table) for finding in findings]
    errors, warnings = levels.count(Level.ERROR), levels.count(Level.WARNING)
    if lang == "zh":
        return f"共 {len(levels)} 条；错误：{errors}，警告：{warnings}。"
    return f"Findings: {len(levels)}; errors: {errors}, warnings: {warnings}."


def as_json(findings: Iterable[Finding], table: Mapping[str, Words], lang: Lang) -> dict[str, Any]:
    """For machines; ``values`` are plain JSON."""
    findings = list(findings)
    entries = []
    for finding in findings:
        cause, remedy = finding.said(table, lang)
        values = {name: _for_json(value, lang) for name, value in finding.values.items()}
        level = finding.level(table)
        entries.append(
            {"code": finding.code, "level": level, "cause": cause, "remedy": remedy, "values": values}
        )
    return {"exit_code": exit_code(findings, table), "lang": lang, "findings": entries}


def _for_json(value: Any, lang: Lang) -> Any:
    if isinstance(value, Both):
        return plain(value, lang)
    return [_for_json(item, lang) for item in value] if isinstance(value, list | tuple) else value


def _wrapped(text: str, indent: int, lang: Lang) -> str:
    if lang == "zh":
        return text
    lines = textwrap.wrap(text, _WIDTH - indent, break_long_words=False, break_on_hyphens=False)
    return ("\n" + " " * indent).join(lines)

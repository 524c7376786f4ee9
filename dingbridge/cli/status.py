"""``dingbridge status``: one screen that says whether the bridge works, and what to do where it does not."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import typer

from dingbridge.cli.terminal import AsJson, listed, print_json
from dingbridge.doctor import status
from dingbridge.doctor.checks import settings as settings_check
from dingbridge.doctor.checks.ingress import admin_address
from dingbridge.doctor.findings import (
    LEVELS,
    Lang,
    Level,
    Words,
    as_json,
    language,
    plain,
    printed,
    read_words,
)
from dingbridge.doctor.status import Line
from dingbridge.worker.registry import known_consumers, unknown

NOT_WELL: Final = frozenset({Level.WARNING, Level.ERROR})
_PART_WIDTH: Final = 16
_FIGURES: Final[Mapping[str, tuple[str, str]]] = {
    "answers": ("answers", "有应答"),
    "takes_writes": ("takes callbacks", "接收回调"),
    "waiting": ("waiting", "待发布"),
    "parked": ("parked", "已搁置"),
    "members": ("members", "成员"),
    "lag": ("behind", "积压"),
    "oldest_s": ("oldest", "最早"),
    "letters": ("dead letters", "死信"),
}
_UNUSED: Final = ("not in use", "未使用")
_UNITS: Final[Sequence[tuple[float, str, str]]] = (
    (86_400, "d", "天"),
    (3600, "h", "小时"),
    (60, "min", "分钟"),
    (0, "s", "秒"),
)


def command(
    part: Annotated[
        list[str] | None,
        typer.Option(
            help="What to look at: ingress, or a consumer's name; may be repeated.",
            show_default="the ingress and all installed consumers",
        ),
    ] = None,
    listener: Annotated[
        list[str] | None,
        typer.Option(
            help="An ingress's private listener, as http://10.0.0.5:8081; may be repeated.",
            show_default="by ADMIN_HOST and ADMIN_PORT",
        ),
    ] = None,
    lang: Annotated[
        Literal["en", "zh"] | None,
        typer.Option(help="en or zh.", show_default="by LC_ALL, LC_MESSAGES, LANG"),
    ] = None,
    as_json_: AsJson = False,
) -> None:
    """Is the bridge well? One line for the ingress, Kafka and each consumer, and what to do.

    Asks the ingress's private listener and Kafka, and nothing else. Changes nothing. Exit code 0: all is
    well; 1: something is not; 2: settings with which nothing can be asked.
    """
    settings = settings_check.WithoutApp.load()
    wanted, known = listed(part), known_consumers()
    for name in wanted:
        if name != settings_check.INGRESS and name not in known:
            raise unknown(name)
    parts = [
        settings_check.Part(name, tuple(cls.topics), tuple(cls.control_topics))
        for name, cls in known.items()
        if not wanted or name in wanted
    ]
    listeners = listed(listener) or (admin_address(settings),)
    if wanted and settings_check.INGRESS not in wanted:
        listeners = ()
    seen = asyncio.run(status.look(settings, listeners, parts, others=not wanted))
    lines, table = status.judge(seen, settings, wanted), read_words("dingbridge.doctor")
    code = 1 if any(line.level(table) in NOT_WELL for line in lines) else 0
    spoken = language(lang)
    if as_json_:
        print_json({"exit_code": code, "parts": [for_machines(line, table, spoken) for line in lines]})
    else:
        for line in lines:
            typer.echo(for_people(line, table, spoken))
    raise typer.Exit(code)


def for_people(line: Line, table: Mapping[str, Words], lang: Lang) -> str:
    """The line as text, and below it what is not well, each with the command that helps."""
    of_lang = 0 if lang == "en" else 1
    if line.figures.get("in_use") is False:
        told = _UNUSED[of_lang]
    else:
        figures = [
            f"{words[of_lang]} {_shown(name, line.figures[name], lang)}"
            for name, words in _FIGURES.items()
            if name in line.figures
        ]
        told = (", " if lang == "en" else "，").join(figures)
    first = f"{LEVELS[lang][line.level(table)]} {line.part:{_PART_WIDTH}} {told}"
    if address := line.figures.get("listener"):
        first += f"  {address}"
    findings = [printed(finding, table, lang) for finding in line.findings]
    return "\n".join([first, *("  " + one.replace("\n", "\n  ") for one in findings)])


def for_machines(line: Line, table: Mapping[str, Words], lang: Lang) -> dict[str, Any]:
    findings = as_json(line.findings, table, lang)["findings"]
    return {"part": line.part, "level": line.level(table), **line.figures, "findings": findings}


def _shown(name: str, value: Any, lang: Lang) -> str:
    """A figure as text."""
    of_lang = 0 if lang == "en" else 1
    if value is None:
        return "-"
    if isinstance(value, bool):
        return ("yes", "是")[of_lang] if value else ("no", "否")[of_lang]
    if name != "oldest_s":
        return plain(value, lang)
    seconds, *units = next(unit for unit in _UNITS if value >= unit[0])
    return f"{value / (seconds or 1):.0f} {units[of_lang]}"

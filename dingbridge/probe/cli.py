"""``dingbridge probe``: announces the reads, asks, makes them, prints what differs, writes the report."""

import asyncio
import os
import sys
import tomllib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from dingbridge.cli.terminal import ask, listed, say
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.api.approvals import INSTANCES
from dingbridge.dingtalk.budget import Priority
from dingbridge.doctor.checks import platform
from dingbridge.doctor.checks import settings as settings_check
from dingbridge.doctor.findings import Finding, Lang, found, language, printed, read_words, summary
from dingbridge.doctor.parts import calls_of, load_checks
from dingbridge.errors import KafkaUnavailable
from dingbridge.logging import configure_logging
from dingbridge.probe import judge, lag, report
from dingbridge.probe.recorder import Recorder
from dingbridge.probe.run import AtMost, Plan, plan, read
from dingbridge.settings import IngressSettings
from dingbridge.settings.apps import App
from dingbridge.worker.api.budget import ApiCalls

WORDS: Final = read_words("dingbridge.doctor") | read_words("dingbridge.probe")
DEFAULT_REPORT: Final = Path("dingbridge-probe.json")
_TEXTS: Final[dict[str, dict[Lang, str]]] = tomllib.loads(
    files("dingbridge.probe").joinpath("texts.toml").read_text(encoding="utf-8")
)
"""By name and language."""


def command(
    app: Annotated[
        str | None,
        typer.Option(
            help="The app, of several.", show_default="the environment's, else the only one of the apps file"
        ),
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(
            help="Whose reads to make: ingress, or a consumer's name; may be repeated.",
            show_default="the ingress and all installed consumers",
        ),
    ] = None,
    events: Annotated[
        float,
        typer.Option(min=0, max=120, metavar="MINUTES", help="Minutes to watch for events; 0: off."),
    ] = 2,
    entities: Annotated[
        int, typer.Option(min=1, max=1000, help="Read so many entities of these events at most.")
    ] = 10,
    to: Annotated[
        Path,
        typer.Option("--report", metavar="FILE", help="Where the report goes; an older one is replaced."),
    ] = DEFAULT_REPORT,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, for scripts.")] = False,
    lang: Annotated[
        str | None, typer.Option(help="en or zh.", show_default="by LC_ALL, LC_MESSAGES, LANG")
    ] = None,
) -> None:
    """Try a real app: make the reads that the consumers need, and report what will not work.

    Only reads. It shows the number of calls beforehand, and asks. It compares each reply with the tables that
    the client uses, and measures how late reads are behind events that arrive in Kafka meanwhile. The report
    has names of fields, types, lengths, codes and times, and no values: it can be sent to the project.

    Exit code 0: all as expected; 1: differences, or the question was answered with no; 2: settings that
    cannot work, or nobody to ask and no --yes: nothing was called.
    """
    if lang is not None and lang not in ("en", "zh"):
        raise typer.BadParameter("must be en or zh", param_hint="--lang")
    if to.is_dir() or not os.access(to if to.exists() else to.parent, os.W_OK):
        raise typer.BadParameter("no file can be written there", param_hint="--report")
    if not report.replaceable(to):
        raise typer.BadParameter("another file is there, not an older report", param_hint="--report")
    run = _Run(language(lang), events, entities, to, yes)
    raise typer.Exit(asyncio.run(run.probe(app, listed(part))))


class _Run:
    """One run of the command, and what it has found so far."""

    def __init__(self, lang: Lang, minutes: float, entities: int, to: Path, yes: bool) -> None:
        self._lang, self._minutes, self._entities, self._to, self._yes = lang, minutes, entities, to, yes
        self._findings: list[Finding] = []

    async def probe(self, app_name: str | None, wanted: Sequence[str]) -> int:
        settings, problems = settings_check.load()
        if settings is None:  # the Open API needs no keys of the callback
            settings, problems = settings_check.load(needs_app=False)
        chosen = None
        if settings is not None:
            chosen, problems = settings_check.app_of(settings, app_name)
        consumers, unloadable = settings_check.parts(wanted, reported=problems)
        checks, broken = load_checks()
        self._report(*problems, *unloadable, *broken)
        if settings is None or problems or unloadable:
            return judge.EXIT_SETTINGS
        if chosen is None or not chosen.calls_api:
            kind = "api.suite" if chosen is not None and chosen.suite else "settings.no_app"
            self._report(found(kind, app=app_name or settings.dingtalk_app_name))
            return judge.EXIT_SETTINGS
        configure_logging(settings)
        names = [part.name for part in consumers]
        with_ingress = not wanted or settings_check.INGRESS in wanted
        calls, recorder, known = ApiCalls.of(settings, chosen.app_key), Recorder(), platform.Known()
        budget = AtMost(calls, 0)
        key, secret = chosen.api_credentials()
        client = DingTalkClient(
            app_key=key,
            app_secret=secret,
            base=settings.dingtalk_api_base,
            new_base=settings.new_api_base,
            session=recorder.session,
            budget=budget,
        ).at(Priority.RECONCILE)
        async with recorder.session:
            of_parts = calls_of({name: checks[name] for name in names if name in checks}, client, known)
            what = plan(client, platform.probes(of_parts), callback=with_ingress and chosen.mode == "http")
            parts = [*([settings_check.INGRESS] if with_ingress else []), *names]
            kinds = _kinds(what)
            budget.most = self._announce(what, settings, chosen, parts, kinds)
            if (code := self._asked()) is not None:
                return code
            readings = await read(what, known, recorder)
            self._report(*judge.judge(readings))
            watched = await self._watch(settings, client, chosen, kinds)
        await calls.close()
        document = report.build(readings, self._findings, WORDS, parts=parts, watched=watched)
        report.write(document, self._to)
        typer.echo(summary(self._findings, WORDS, self._lang))
        say(self._text("report", path=self._to))
        return judge.exit_code(self._findings, WORDS)

    def _announce(
        self, what: Plan, settings: IngressSettings, app: App, parts: Sequence[str], kinds: Sequence[str]
    ) -> int:
        """Print what will be called; returns the greatest number of counted calls."""
        values = {"app": app.name, "base": settings.dingtalk_api_base, "parts": ", ".join(parts)}
        say(self._text("reads", **values, calls=what.calls, counted=what.counted))
        if not self._minutes or not kinds:
            return what.counted
        again = self._entities * len(lag.STEPS_S)
        counted = again if "approval" in kinds else 0
        steps, minutes = len(lag.STEPS_S), self._minutes
        say(
            self._text(
                "events", minutes=minutes, entities=self._entities, steps=steps, calls=again, counted=counted
            )
        )
        return what.counted + counted

    def _asked(self) -> int | None:
        """The exit code where the answer is no, or there is nobody to ask."""
        if self._yes:
            return None
        if not sys.stdin.isatty():
            say(self._text("refused"))
            return judge.EXIT_SETTINGS
        if ask(self._text("ask")):
            return None
        say(self._text("declined"))
        return judge.EXIT_DIFFERENT

    async def _watch(
        self, settings: IngressSettings, client: DingTalkClient, app: App, kinds: Sequence[str]
    ) -> lag.Watched | None:
        if not self._minutes or not kinds:
            return None
        events = lag.arriving(settings, lambda: say(self._text("watching", minutes=self._minutes)))
        for_s, watched = self._minutes * 60, lag.Watched()
        try:
            await lag.watch(events, client, for_s, watched, app=app.name, most=self._entities, kinds=kinds)
        except KafkaUnavailable as error:
            self._report(found("lag.kafka", reason=str(error)))
            return None
        self._report(*judge.judge_watched(watched))
        return watched

    def _report(self, *findings: Finding) -> None:
        for finding in findings:
            self._findings.append(finding)
            typer.echo(printed(finding, WORDS, self._lang))

    def _text(self, name: str, **values: Any) -> str:
        return _TEXTS[name][self._lang].format(**values)


def _kinds(what: Plan) -> list[str]:
    """What the parts read one by one, and so can be followed after an event."""
    read_one = {"v2/user/get": "user", "v2/department/get": "department", INSTANCES: "approval"}
    return [read_one[probe.call.api] for probe in what.probes if probe.call.api in read_one]

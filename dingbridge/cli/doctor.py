"""``dingbridge doctor``: reports in plain words why callbacks do not arrive."""

import asyncio
from collections.abc import Iterable
from typing import Annotated, Literal

import typer

from dingbridge.cli.terminal import AsJson, listed, print_json
from dingbridge.doctor import run
from dingbridge.doctor.findings import Finding, as_json, exit_code, language, printed, read_words, summary
from dingbridge.doctor.parts import load_checks


def command(
    url: Annotated[
        str | None,
        typer.Option(
            help="The public callback URL, as https://bridge.example.com/callback.",
            show_default="what is registered at DingTalk",
        ),
    ] = None,
    app: Annotated[
        str | None,
        typer.Option(
            help="The app, of several.", show_default="the environment's, else the only one of the apps file"
        ),
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(
            help="What to check for: ingress, or a consumer's name; may be repeated.",
            show_default="the ingress and all installed consumers",
        ),
    ] = None,
    lang: Annotated[
        Literal["en", "zh"] | None,
        typer.Option(help="en or zh.", show_default="by LC_ALL, LC_MESSAGES, LANG"),
    ] = None,
    as_json_: AsJson = False,
) -> None:
    """Find out why callbacks do not arrive: settings, clock, public URL, ingress, Kafka, disk, DingTalk.

    Changes nothing, and does not read DingTalk's failed list. Exit code 0: no error; 1: errors;
    2: settings with which the ingress would not start, or no app is named.
    """
    spoken = language(lang)
    checks, unloadable = load_checks()
    words = read_words("dingbridge.doctor")
    for check in checks.values():
        words |= check.words
    findings: list[Finding] = []

    def report(more: Iterable[Finding]) -> None:
        for finding in more:
            findings.append(finding)
            if not as_json_:
                typer.echo(printed(finding, words, spoken))

    report(unloadable)
    asyncio.run(run.examine(url=url, app_name=app, wanted=listed(part), report=report, checks=checks))
    if as_json_:
        print_json(as_json(findings, words, spoken))
    else:
        typer.echo(summary(findings, words, spoken))
    raise typer.Exit(exit_code(findings, words))

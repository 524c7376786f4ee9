"""``dingbridge approvals``: export a template's approvals, list templates, call what their actions lack."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from consumers.approval.cli_archive import Codes, archive, day_or_moment, new_file
from consumers.approval.cli_backfill import resync_approvals
from dingbridge.cli.terminal import confirmed, listed, print_json, say

if TYPE_CHECKING:
    from consumers.approval.consumer import Approval
    from consumers.approval.pending import Filter
    from consumers.approval.reading import Wanted

app = typer.Typer(
    no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]}, add_completion=False
)
app.command("resync")(resync_approvals)

Since = Annotated[
    str | None,
    typer.Option("--from", help="Ended since: 2026-01-31 (DINGTALK_TIMEZONE), an ISO time, or 30d (ago)."),
]
Until = Annotated[str | None, typer.Option("--to", help="Ended before.")]


@app.command()
def export(
    process_code: Annotated[str, typer.Option("--process-code", help="The template.")],
    format_: Annotated[Literal["csv", "json"], typer.Option("--format")] = "csv",
    from_: Since = None,
    to: Until = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="The file; tables of the form get files beside it.", show_default="stdout"
        ),
    ] = None,
) -> None:
    """Write a template's archived approvals that ended, one row or object each.

    CSV opens in a spreadsheet: UTF-8 with a byte order mark, no cell that it would run as a formula. JSON has
    every value parsed, with records, tasks and files. Exit code 1: there is no archive.
    """
    asyncio.run(_export(process_code, format_, from_, to, out))


@app.command()
def templates(
    from_dingtalk: Annotated[
        bool, typer.Option("--from-dingtalk", help="Also those without approvals; costs an API call.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for machines.")] = False,
) -> None:
    """List the templates: how many approvals the archive has, and which action they have, if any."""
    asyncio.run(_templates(from_dingtalk, as_json))


@app.command()
def actions(
    process_code: Codes = None,
    instance: Annotated[
        list[str] | None, typer.Option("--instance", help="Instance ids, with commas.")
    ] = None,
    from_: Since = None,
    to: Until = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be called.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for machines.")] = False,
) -> None:
    """Call the actions and undos that archived approvals lack, and no event will bring.

    That is so where an action was declared later, where one rejected a form and was mended since, where an
    undo was missing, and for what a backfill archived. Each is called at most once for an instance. Exit code
    1: a function failed; the others were called, and the same command tries again.
    """
    asyncio.run(_actions(process_code, instance, from_, to, dry_run, yes, as_json))


async def _export(
    process_code: str, format_: str, from_: str | None, to: str | None, out: Path | None
) -> None:
    from consumers.approval.reading import Wanted, count

    async with archive() as (consumer, settings):
        wanted = Wanted(
            process_code, day_or_moment(from_, "--from", settings), day_or_moment(to, "--to", settings)
        )
        db = consumer.database.reader()
        if not await count(db, wanted):
            say(f"the archive has no such approval of {process_code}; `dingbridge approvals templates` lists")
        files = await _write(consumer, wanted, format_, out)
    for path, what in files:
        say(f"{path}: {what}")


async def _write(
    consumer: "Approval", wanted: "Wanted", format_: str, out: Path | None
) -> list[tuple[Path, str]]:
    """Write the export; the files and what is in each. None of them is seen half written."""
    from contextlib import ExitStack
    from zoneinfo import ZoneInfo

    from consumers.approval.export import file_name, write_csv, write_json
    from consumers.approval.reading import table_columns

    db = consumer.database.reader()
    zone = ZoneInfo(consumer.settings.dingtalk_timezone)
    if out is None:
        sys.stdout.reconfigure(encoding="utf-8", newline="")  # type: ignore[union-attr]
        if format_ == "json":
            await write_json(db, wanted, sys.stdout)
        else:
            await write_csv(db, wanted, sys.stdout, zone)
        return []
    with ExitStack() as stack:
        sink = stack.enter_context(new_file(out))
        if format_ == "json":
            return [(out, f"{await write_json(db, wanted, sink)} approval(s)")]
        paths: dict[str, Path] = {}
        for table in await table_columns(db, wanted):
            path = out.with_name(f"{out.stem}.{file_name(table)}{out.suffix}")
            while path in paths.values():
                path = path.with_name(f"{path.stem}_{out.suffix}")
            paths[table] = path
        sheets = {table: stack.enter_context(new_file(path)) for table, path in paths.items()}
        number = await write_csv(db, wanted, sink, zone, sheets)
    return [
        (out, f"{number} approval(s)"),
        *((path, f"the rows of {table}") for table, path in paths.items()),
    ]


async def _templates(from_dingtalk: bool, as_json: bool) -> None:
    from consumers.approval import templates as known

    async with archive(api=from_dingtalk) as (consumer, _):
        names: dict[str, str] = {}
        if from_dingtalk:
            for template in await consumer.dingtalk.templates():
                names[str(template.get("process_code"))] = str(template.get("name") or "")
        found = await known.listed(consumer.database.reader(), consumer.actions, names)
    if as_json:
        for one in found:
            print_json(one.as_object())
        return
    columns = ["process_code", "name", "approvals", "running", "approved", "action", "undo", "states"]
    _print_table("templates", columns, [template.as_row() for template in found])
    without = [t for t in found if not t.action and t.approved]
    if without:
        say(
            f"{len(without)} template(s) with approved instances have no action; to give one an action, "
            "write it into the module that APPROVAL_ACTIONS names"
        )


async def _actions(
    process_code: list[str] | None,
    instance: list[str] | None,
    from_: str | None,
    to: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    from consumers.approval.pending import Filter

    async with archive(migrate=not dry_run) as (consumer, settings):
        wanted = Filter(
            listed(process_code),
            listed(instance),
            day_or_moment(from_, "--from", settings),
            day_or_moment(to, "--to", settings),
        )
        calls, left = await _show_pending(consumer, wanted, as_json)
        say(f"{calls} call(s) to make, {left} instance(s) that nothing can be called for")
        if dry_run or not calls:
            return
        if not confirmed(f"Make {calls} call(s)?", yes):
            say("nothing was called")
            raise typer.Exit(1)
        if await _call_pending(consumer, wanted):
            raise typer.Exit(1)


async def _show_pending(consumer: "Approval", wanted: "Filter", as_json: bool) -> tuple[int, int]:
    from dataclasses import asdict

    from consumers.approval.pending import pending

    calls = left = 0
    rows = []
    async for one in pending(consumer, wanted):
        calls, left = calls + (one.kind != "nothing"), left + (one.kind == "nothing")
        if as_json:
            print_json(asdict(one))
        rows.append(
            (one.instance_id, one.business_id, one.process_code, one.kind, one.calls, one.state, one.reason)
        )
    if not as_json:
        columns = ["instance_id", "business_id", "process_code", "kind", "calls", "state", "reason"]
        _print_table("to be called", columns, rows)
    return calls, left


async def _call_pending(consumer: "Approval", wanted: "Filter") -> int:
    """Call them; how many failed."""
    from collections import Counter

    from consumers.approval.pending import call, pending
    from dingbridge.error_location import error_location
    from dingbridge.worker.supervise import is_unavailable

    ended: Counter[str] = Counter()
    async for one in pending(consumer, wanted):
        try:
            ended[str(await call(consumer, one))] += 1
        except Exception as error:
            if is_unavailable(error):
                raise
            # a fault of one action is no reason to leave out the others
            ended["failed"] += 1
            say(f"{one.instance_id}: {one.calls} failed: {error_location(error, one.calls.split('.')[0])}")
    say(", ".join(f"{count} {state}" for state, count in sorted(ended.items())) or "nothing was called")
    return ended["failed"]


def _print_table(title: str, columns: list[str], rows: list[tuple[Any, ...]]) -> None:
    from dingbridge.cli.consume import _print

    _print([(title, columns, rows)])

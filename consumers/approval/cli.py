"""``dingbridge approvals``: export a template's approvals, list templates, call what their actions lack."""

import asyncio
import sys
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

import typer

from dingbridge.cli.terminal import Yes, confirmed, listed, print_list, say
from dingbridge.consumers.approval.actions import templates as known_templates
from dingbridge.consumers.approval.actions.action_state import FAILED
from dingbridge.consumers.approval.actions.pending_actions import Pending, call, pending
from dingbridge.consumers.approval.archive.export import file_name, write_csv, write_json
from dingbridge.consumers.approval.archive.query import Filter, count, table_columns
from dingbridge.consumers.approval.cli_resync import resync
from dingbridge.consumers.approval.cli_support import (
    AsJson,
    Codes,
    EndedSince,
    EndedUntil,
    day_or_moment,
    new_file,
    open_archive,
)
from dingbridge.consumers.approval.consumer import Approval
from dingbridge.consumers.approval.refused import ask_again, refused

app = typer.Typer(
    no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]}, add_completion=False
)
app.command("resync")(resync)


@app.command()
def export(
    process_code: Annotated[str, typer.Option("--process-code", help="The template.")],
    format_: Annotated[Literal["csv", "json"], typer.Option("--format")] = "csv",
    since: EndedSince = None,
    until: EndedUntil = None,
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
    asyncio.run(_export(process_code, format_, since, until, out))


@app.command()
def templates(
    from_dingtalk: Annotated[
        bool, typer.Option("--from-dingtalk", help="Also those without approvals; costs an API call.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the templates: how many approvals the archive has, and which action they have, if any."""
    asyncio.run(_templates(from_dingtalk, as_json))


@app.command()
def actions(
    process_code: Codes = None,
    instance: Annotated[
        list[str] | None, typer.Option("--instance", help="Instance ids, with commas.")
    ] = None,
    since: EndedSince = None,
    until: EndedUntil = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be called.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Call the actions and undos that archived approvals lack and that no event will cause.

    For actions that were declared later, that rejected a form and were corrected since, undos that were
    missing, and approvals that a resync archived. Each is called at most once for an instance. Exit code 1: a
    function failed; the others were called, and the same command tries again.
    """
    asyncio.run(_actions(listed(process_code), listed(instance), since, until, dry_run, yes, as_json))


@app.command()
def retry(
    reason: Annotated[
        str | None, typer.Option("--reason", help="Only those whose reason or code has this text in it.")
    ] = None,
    yes: Yes = False,
) -> None:
    """Ask DingTalk again for attachments and approvals that were refused or given up.

    For after what was in the way is mended: a right, ARCHIVE_MAX_BYTES, a server of files. The running
    consumer does it; each costs an API call.
    """
    asyncio.run(_retry(reason, yes))


async def _export(
    process_code: str, format_: str, since: str | None, until: str | None, out: Path | None
) -> None:
    async with open_archive() as consumer:
        settings = consumer.settings
        chosen = Filter(
            (process_code,),
            (),
            day_or_moment(since, "--since", settings),
            day_or_moment(until, "--until", settings),
        )
        if not await count(consumer.database.reader(), chosen):
            say(f"the archive has no such approval of {process_code}; `dingbridge approvals templates` lists")
        files = await _write(consumer, chosen, format_, out)
    for path, what in files:
        say(f"{path}: {what}")


async def _write(
    consumer: Approval, chosen: Filter, format_: str, out: Path | None
) -> list[tuple[Path, str]]:
    """Write the export; the files and what is in each. None of them is seen half written."""
    db, zone = consumer.database.reader(), ZoneInfo(consumer.settings.dingtalk_timezone)
    if out is None:
        sys.stdout.reconfigure(encoding="utf-8", newline="")  # type: ignore[union-attr]
        write = write_json if format_ == "json" else write_csv
        await write(db, chosen, sys.stdout, zone)
        return []
    with ExitStack() as stack:
        sink = stack.enter_context(new_file(out))
        if format_ == "json":
            return [(out, f"{await write_json(db, chosen, sink, zone)} approval(s)")]
        paths: dict[str, Path] = {}
        for table in await table_columns(db, chosen):
            path = out.with_name(f"{out.stem}.{file_name(table)}{out.suffix}")
            while path in paths.values():
                path = path.with_name(f"{path.stem}_{out.suffix}")
            paths[table] = path
        sheets = {table: stack.enter_context(new_file(path)) for table, path in paths.items()}
        number = await write_csv(db, chosen, sink, zone, sheets)
    return [
        (out, f"{number} approval(s)"),
        *((path, f"the rows of {table}") for table, path in paths.items()),
    ]


async def _templates(from_dingtalk: bool, as_json: bool) -> None:
    async with open_archive(api=from_dingtalk) as consumer:
        names: dict[str, str] = {}
        if from_dingtalk:
            for template in await consumer.dingtalk.templates():
                names[str(template.get("processCode"))] = str(template.get("name") or "")
        found = await known_templates.listed(consumer.database.reader(), consumer.actions, names)
    columns = ["process_code", "name", "approvals", "running", "approved", "action", "undo", "actions"]
    print_list(columns, [template.as_object() for template in found], as_json=as_json)
    without = sum(not template.action and template.approved > 0 for template in found)
    if without and not as_json:
        say(
            f"{without} template(s) with approved instances have no action; to give one an action, "
            "write it into the module that APPROVAL_ACTIONS names"
        )


async def _retry(reason: str | None, yes: bool) -> None:
    async with open_archive() as consumer:
        found = await refused(consumer.database.reader(), reason)
        print_list(["kind", "entity_id", "reason"], found, as_json=False)
        if not found:
            say("nothing was refused or given up" if reason is None else "nothing has such a reason")
            return
        if not confirmed(f"Ask again for {len(found)}?", yes):
            raise typer.Exit(1)
        async with consumer.database.transaction() as tx:
            await ask_again(tx, consumer.entities, found)
    say(f"{len(found)} will be asked for again")


async def _actions(
    process_codes: tuple[str, ...],
    instances: tuple[str, ...],
    since: str | None,
    until: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    async with open_archive(migrate=not dry_run) as consumer:
        settings = consumer.settings
        chosen = Filter(
            process_codes,
            instances,
            day_or_moment(since, "--since", settings),
            day_or_moment(until, "--until", settings),
        )
        found = [one async for one in pending(consumer.database, consumer.runner, chosen)]
        columns = ["instance_id", "business_id", "process_code", "kind", "calls", "state", "reason"]
        print_list(columns, map(asdict, found), as_json=as_json)
        due = [one for one in found if one.kind != "nothing"]
        left = len(found) - len(due)
        say(f"{len(due)} call(s) to make, {left} instance(s) that nothing can be called for")
        if dry_run or not due:
            return
        if not confirmed(f"Make {len(due)} call(s)?", yes):
            say("nothing was called")
            raise typer.Exit(1)
        if await _call(consumer, due):
            raise typer.Exit(1)


async def _call(consumer: Approval, due: list[Pending]) -> int:
    """Call them; how many failed."""
    ended: Counter[str] = Counter()
    for one in due:
        ended[str(await call(consumer.database, consumer.entities, consumer.runner, one))] += 1
    say(", ".join(f"{number} {state}" for state, number in sorted(ended.items())))
    return ended[FAILED]

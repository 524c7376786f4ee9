"""``dingbridge approvals resync``: makes the archive equal to DingTalk, also for what is older than it."""

import asyncio
import shlex
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated

import typer

from dingbridge.cli.terminal import Progress, Yes, confirmed, listed, progress, say
from dingbridge.consumers.approval.cli_support import (
    Codes,
    calls_left,
    day_or_moment,
    open_archive,
)
from dingbridge.consumers.approval.consumer import Approval
from dingbridge.consumers.approval.reconcile.reconciler import (
    OnProgress,
    Reconciler,
    Scope,
    reachable,
    template_codes,
)
from dingbridge.dingtalk.api.approvals import IDS_PAGE
from dingbridge.errors import BridgeError
from dingbridge.worker.supervise import is_unavailable


def resync(
    since: Annotated[
        str,
        typer.Option(
            "--since", help="Started since: 2026-01-31 (DINGTALK_TIMEZONE), an ISO time, or 90d (ago)."
        ),
    ],
    until: Annotated[str | None, typer.Option("--until", help="Started before.", show_default="now")] = None,
    process_code: Codes = None,
    with_actions: Annotated[
        bool, typer.Option("--with-actions", help="Also call their actions, as if they had just ended.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List and count, archive nothing.")] = False,
    yes: Yes = False,
) -> None:
    """Archive what DingTalk has and the archive has not: list ids, say what they cost, fetch each once.

    DingTalk lists up to 365 days back, also from before the bridge. What the archive has whole costs no call,
    so the same command goes on where it was cut off. Exit code 1: something is left to be done, and the last
    line says what to do.
    """
    asyncio.run(_resync(since, until, listed(process_code), with_actions, dry_run, yes))


async def _resync(
    since: str, until: str | None, codes: tuple[str, ...], with_actions: bool, dry_run: bool, yes: bool
) -> None:
    async with open_archive(api=True, migrate=True) as consumer:
        settings = consumer.settings
        begin, end = day_or_moment(since, "--since", settings), day_or_moment(until, "--until", settings)
        if begin is None or (end is not None and end <= begin):
            raise typer.BadParameter("--until must be later than --since", param_hint="--until")
        now = datetime.now(UTC)
        earliest = reachable(begin)
        if earliest > begin:
            say(f"DingTalk lists no further back than {earliest:%Y-%m-%d %H:%M}Z; what is older is left out")
        corp_id, app = settings.required_company(), settings.own_app
        scope = Scope(corp_id, app, earliest, min(end or now, now), codes, "all" if with_actions else "none")
        try:
            await _run(consumer, scope, dry_run, yes)
        except BridgeError as error:
            if not is_unavailable(error):
                raise
            say(f"stopped: {str(error).rstrip('.')}. What is archived stays; this goes on: {_command(scope)}")
            raise typer.Exit(1) from error


async def _run(consumer: Approval, scope: Scope, dry_run: bool, yes: bool) -> None:
    settings, client = consumer.settings, consumer.client_of(scope.app, scope.corp_id)
    again = _command(scope)
    if not scope.process_codes:
        scope = replace(scope, process_codes=await template_codes(client))
    work = Reconciler(consumer.fetcher, client, scope)
    spans = len(scope.spans())
    say(
        f"{len(scope.process_codes)} template(s), started {scope.since:%Y-%m-%d %H:%M}Z to "
        f"{scope.until:%Y-%m-%d %H:%M}Z. Listing: at least {spans} call(s), one more for each further "
        f"{IDS_PAGE} ids{await calls_left(settings, spans)}"
    )
    if not confirmed("List them?", yes or dry_run):
        raise typer.Exit(1)
    with progress(spans, "spans listed") as listing:
        ids = await work.list_ids(_shown_by(listing))
    calls, listed_by = await work.count_calls(list(ids)), spans + len(ids) // IDS_PAGE
    say(
        f"{len(ids)} approval(s) found; {calls} to fetch, one API call each, and one for each of their "
        f"attachments later; the archive has the others"
        f"{await calls_left(settings, calls, listing=listed_by, again=again)}"
    )
    if dry_run:
        say("nothing was archived (--dry-run)")
        return
    if not confirmed(f"Archive them with {calls} call(s)?", yes):
        raise typer.Exit(1)
    with progress(len(ids), "approvals archived") as archiving:
        counts = await work.archive(ids, _shown_by(archiving))
    say(f"{counts.archived} archived, {counts.missing} that DingTalk does not know any more")
    if counts.left:
        say(f"{len(counts.left)} failed (see the log); the same command tries these again")
        raise typer.Exit(1)


def _command(scope: Scope) -> str:
    """What means ``scope`` on any day: ``30d`` is another range tomorrow."""
    words = ["dingbridge", "approvals", "resync"]
    words += ["--since", scope.since.isoformat(timespec="microseconds")]
    words += ["--until", scope.until.isoformat(timespec="microseconds")]
    words += ["--process-code", ",".join(scope.process_codes)] if scope.process_codes else []
    return shlex.join([*words, "--with-actions"] if scope.without_event == "all" else words)


def _shown_by(bar: Progress) -> OnProgress:
    async def advance(count: int) -> None:
        bar.advance(count)

    return advance

"""``dingbridge approvals resync``: archives the approvals from before the start."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consumers.approval.cli_archive import Codes, archive, calls_left, corp_id_of, day_or_moment, progress
from dingbridge.cli.terminal import confirmed, listed, say

if TYPE_CHECKING:
    from consumers.approval.backfill import Backfill, Run
    from dingbridge.settings import ConsumerSettings


def resync_approvals(
    from_: Annotated[
        str,
        typer.Option(
            "--from", help="Started since: 2026-01-31 (DINGTALK_TIMEZONE), an ISO time, or 90d (ago)."
        ),
    ],
    to: Annotated[str | None, typer.Option("--to", help="Started before.", show_default="now")] = None,
    process_code: Codes = None,
    with_actions: Annotated[
        bool, typer.Option("--with-actions", help="Also call their actions, as if they had just ended.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List and count, archive nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Archive approvals from before the start: list their ids, say what they cost, then fetch each once.

    DingTalk lists up to 365 days back. The archive's own approvals cost no call. The same command goes on
    where it was cut off. Exit code 1: something is left to be done, and the last line says what to do.
    """
    asyncio.run(_resync(from_, to, process_code, with_actions, dry_run, yes))


async def _resync(
    from_: str, to: str | None, process_code: list[str] | None, with_actions: bool, dry_run: bool, yes: bool
) -> None:
    from consumers.approval.backfill import Asked, Backfill
    from dingbridge.errors import BridgeError
    from dingbridge.worker.supervise import is_unavailable

    async with archive(api=True, migrate=True) as (consumer, settings):
        since, until = day_or_moment(from_, "--from", settings), day_or_moment(to, "--to", settings)
        if since is None or (until is not None and until <= since):
            raise typer.BadParameter("--to must be later than --from", param_hint="--to")
        asked = Asked(
            await corp_id_of(consumer),
            since,
            until,
            listed(process_code),
            with_actions,
            f"{from_} {to or ''}",
        )
        try:
            await _backfill(Backfill(consumer.looks), asked, settings, dry_run, yes)
        except BridgeError as error:
            if not is_unavailable(error):
                raise
            say(f"stopped: {str(error).rstrip('.')}. The same command goes on from here")
            raise typer.Exit(1) from error


async def _backfill(
    work: "Backfill", asked: Any, settings: "ConsumerSettings", dry_run: bool, yes: bool
) -> None:
    run = await work.begin(asked)
    if run.since > asked.since:
        say(f"DingTalk lists no further back than {run.since:%Y-%m-%d %H:%M}Z; what is older is left out")
    spans = len(run.spans())
    begun = "going on with an earlier run: " if run.resumed else ""
    listing = f"at least {spans} call(s), one more for each further 20 ids" if spans else "done"
    say(
        f"{begun}{len(run.process_codes)} template(s), started {run.since:%Y-%m-%d %H:%M}Z to "
        f"{run.until:%Y-%m-%d %H:%M}Z. Listing: {listing}{calls_left(settings)}"
    )
    if spans and not confirmed("List them?", yes):
        raise typer.Exit(1)
    if not run.resumed:
        await work.keep(run, asked)
    with progress("spans listed", spans) as on_listed:
        run = await work.list_ids(run, on_listed)
    cost = await work.cost(run)
    say(
        f"{cost.found} approval(s) found; {cost.calls} to fetch, one API call each, and one for each "
        f"of their attachments later; the archive has the others{calls_left(settings)}"
    )
    if dry_run:
        say("nothing was archived (--dry-run); the same command without it goes on from this list")
        return
    if not confirmed(f"Archive them with {cost.calls} call(s)?", yes):
        raise typer.Exit(1)
    await _fetch(work, run)


async def _fetch(work: "Backfill", run: "Run") -> None:
    cost = await work.cost(run)
    with progress("approvals archived", cost.waiting) as on_done:
        counts = await work.fetch(run, on_done)
    say(f"{counts['done']} archived, {counts['missing']} that DingTalk does not know any more")
    if counts["failed"]:
        say(f"{counts['failed']} failed (the log says why); the same command tries these again")
        raise typer.Exit(1)

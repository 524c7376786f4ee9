"""``dingbridge approvals resync``: makes the archive equal to DingTalk, also for what is older than it."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

import typer
from sqlalchemy import select

from dingbridge.cli.terminal import Yes, confirmed, listed, progress, say
from dingbridge.consumers.approval.archive.query import PAGE, whole
from dingbridge.consumers.approval.cli_support import Codes, calls_left, day_or_moment, open_archive
from dingbridge.consumers.approval.consumer import Approval
from dingbridge.consumers.approval.resync import OLDEST, list_ids, running
from dingbridge.consumers.approval.tables import INSTANCE, entities
from dingbridge.dingtalk.api.approvals import IDS_PAGE, WINDOW_MS
from dingbridge.dingtalk.budget import Priority
from dingbridge.errors import BridgeError
from dingbridge.tasks import end

_LOOK_S = 0.2
_ALL = 100_000_000
_KEPT = "What is to be read is kept: the running consumer goes on, and so does the same command."


def resync(
    since: Annotated[
        str,
        typer.Option(
            "--since", help="Started since: 2026-01-31 (DINGTALK_TIMEZONE), an ISO time, or 90d (ago)."
        ),
    ],
    until: Annotated[str | None, typer.Option("--until", help="Started before.", show_default="now")] = None,
    process_code: Codes = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List and count, archive nothing.")] = False,
    yes: Yes = False,
) -> None:
    """Archive what DingTalk has and the archive has not: list ids, say what they cost, read each once.

    DingTalk lists up to 365 days back, also from before the bridge. What the archive has whole costs no call.
    An interrupted resync goes on where it was; the consumer may be running meanwhile. Exit code 1: something
    is left to be done, and the last line says what to do.
    """
    asyncio.run(_resync(since, until, listed(process_code), dry_run, yes))


async def _resync(since: str, until: str | None, codes: tuple[str, ...], dry_run: bool, yes: bool) -> None:
    async with open_archive(api=True, migrate=True) as consumer:
        settings, now = consumer.settings, datetime.now(UTC)
        begin, stop = day_or_moment(since, "--since", settings), day_or_moment(until, "--until", settings)
        if begin is None or (stop is not None and stop <= begin):
            raise typer.BadParameter("--until must be later than --since", param_hint="--until")
        if (earliest := now - OLDEST) > begin:
            say(f"DingTalk lists no further back than {earliest:%Y-%m-%d %H:%M}Z; what is older is left out")
        begin, stop = max(begin, earliest), min(stop or now, now)
        ids = await _list(consumer, begin, stop, codes, yes or dry_run)
        have = await whole(consumer.database.reader(), settings.required_company(), list(ids))
        calls = len(ids) - len(have)
        say(
            f"{len(ids)} approval(s) found; {calls} to fetch, one API call each, and one for each of their "
            f"attachments later; the archive has the others{await calls_left(settings, calls)}"
        )
        if dry_run:
            say("nothing was archived (--dry-run)")
            return
        if not confirmed(f"Archive them with {calls} call(s)?", yes):
            raise typer.Exit(1)
        await _archive(consumer, ids)


async def _list(
    consumer: Approval, begin: datetime, stop: datetime, codes: tuple[str, ...], yes: bool
) -> dict[str, str | None]:
    """The instance ids, each with its template; those in progress as the archive has it."""
    settings, client = consumer.settings, consumer.dingtalk.at(Priority.RECONCILE)
    if not codes:
        found = [template.get("processCode") for template in await client.templates()]
        codes = tuple(sorted({code for code in found if isinstance(code, str) and code}))
    begin_ms, stop_ms = (round(moment.timestamp() * 1000) for moment in (begin, stop))
    spans = len(codes) * ((stop_ms - begin_ms) // WINDOW_MS + 1)
    say(
        f"{len(codes)} template(s), started {begin:%Y-%m-%d %H:%M}Z to {stop:%Y-%m-%d %H:%M}Z. Listing: at "
        f"least {spans} call(s), one more for each further {IDS_PAGE} ids{await calls_left(settings, spans)}"
    )
    if not confirmed("List them?", yes):
        raise typer.Exit(1)
    corp_id, ids = settings.required_company(), dict[str, str | None]()
    for instance_id, code in await running(consumer.database.reader(), corp_id):
        if code is None or code in codes:
            ids[instance_id] = code
    with progress(len(codes), "templates listed") as bar:
        for code in codes:
            ids |= dict.fromkeys(await list_ids(client, code, begin_ms, stop_ms), code)
            bar.advance(1)
    return ids


async def _archive(consumer: Approval, ids: Mapping[str, str | None]) -> None:
    """Make them due, and read them here, too, until none is left."""
    settings, database = consumer.settings, consumer.database
    corp_id, run_ms = settings.required_company(), consumer.entities.now_ms()
    for code in set(ids.values()):
        own = {"process_code": code}
        of_code = [one for one, template in ids.items() if template == code]
        for begin in range(0, len(of_code), PAGE):
            some = of_code[begin : begin + PAGE]
            async with database.transaction() as tx:
                await consumer.entities.ask(
                    tx, settings.own_app, corp_id, INSTANCE, some, run_ms=run_ms, own=own
                )
    work = asyncio.create_task(consumer.loop.run())
    try:
        with progress(len(ids), "approvals archived") as bar:
            while left := await consumer.entities.left_of_run(database.reader(), corp_id, _ALL):
                bar.update(max(len(ids) - left, 0), len(ids))
                await asyncio.wait([work], timeout=_LOOK_S)
                if work.done():
                    work.result()
                if (error := consumer.loop.gave_up_on) is not None:
                    raise BridgeError(f"{error} {_KEPT}")
            bar.update(len(ids), len(ids))
    finally:
        await end(work)
    refused, every, c = 0, list(ids), entities.c
    for begin in range(0, len(every), PAGE):
        some = every[begin : begin + PAGE]
        of_ids = (c.corp_id == corp_id, c.kind == INSTANCE, c.entity_id.in_(some), c.state == "refused")
        refused += len((await database.reader().execute(select(c.entity_id).where(*of_ids))).all())
    say(f"{len(ids) - refused} archived, {refused} that DingTalk does not give")
    if refused:
        say("`dingbridge consume approval --show` names them; `dingbridge approvals retry` asks again")
        raise typer.Exit(1)

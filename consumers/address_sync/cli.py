"""``dingbridge resync``: read the whole company now, and make address-sync's tables equal to it.

It is the consumer's full sync, as a run of its own in this process. The consumer may be running meanwhile,
since every write is guarded.
"""

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import Annotated

import typer

from dingbridge import ConsumerSettings, DependencyUnavailable, open_database
from dingbridge.cli.terminal import progress, say
from dingbridge.consumers.address_sync.consumer import AddressSync
from dingbridge.consumers.address_sync.settings import AddressSyncSettings
from dingbridge.consumers.address_sync.sync.details import Details, for_s
from dingbridge.consumers.address_sync.sync.full_sync import FullSync, result
from dingbridge.consumers.address_sync.sync.runs import Run, Runs
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.errors import ApiError
from dingbridge.errors import BridgeError
from dingbridge.logging import configure_logging
from dingbridge.mirror.cli import request_comparison
from dingbridge.throttle import Throttle
from dingbridge.worker.api.clients import open_clients
from dingbridge.worker.store.migrations import migrate

STOPPED = 3
"""Exit code when the limit of leavers stopped it (or would, in a dry run)."""

_DOING = {"reading": "reading the company", "applying": "comparing", "refetching": "asking one by one"}
_LOOK_S = 1.0
_ALL = 100_000_000
_PATIENCE_S = 30.0
"""How long, in s, to wait for people whom other processes are fetching: after that, DingTalk gives no details
of them."""
_KEPT = (
    "What was read is kept, and nobody was marked as left for not having been read: the same command goes on "
    "from there."
)


def command(
    consumer: Annotated[
        str, typer.Argument(help="address-sync, or a Mirror of your own, which is asked to do it.")
    ] = AddressSync.name,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read, print what would change, and change nothing.")
    ] = False,
    confirm_leavers: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="So many people did leave: mark them, beyond MAX_LEAVERS."),
    ] = None,
    no_details: Annotated[
        bool,
        typer.Option(
            "--no-details", help="End when the rows are written; the running consumer fetches the details."
        ),
    ] = False,
) -> None:
    """Read the company from DingTalk and make address-sync's tables equal to it.

    First the rows, from listings; then one call for each person who is new or differs, for what no listing
    has (the manager). An interrupted run goes on where it was; the consumer may be running meanwhile.
    Exit code 0: done; 1: DingTalk or the database did not work; 2: settings; 3: more left than
    MAX_LEAVERS allows.
    """
    if consumer != AddressSync.name:
        request_comparison(consumer, confirm_leavers)
        return
    try:
        code = asyncio.run(_resync(dry_run, confirm_leavers, no_details))
    except KeyboardInterrupt:
        say(f"interrupted. {_KEPT}")
        code = 130
    raise typer.Exit(code)


async def _resync(dry_run: bool, confirmed: int | None, no_details: bool) -> int:
    settings, own = ConsumerSettings.load(), AddressSyncSettings.load()
    configure_logging(settings)
    logging.getLogger().setLevel(logging.CRITICAL)  # what is logged for a service is said here in words
    async with AsyncExitStack() as stack:
        opened = await open_clients(settings, stack)
        if opened is None:
            settings.api_credentials()  # raises, in words
            return 2
        database = open_database(settings.database_url_for(AddressSync.name))
        stack.push_async_callback(database.close)
        try:
            await migrate(database, AddressSync)
            runs = Runs(database, settings.required_company())
            client = opened[0](None, runs.corp_id)
            pace = Throttle(own.resync_calls_per_s)
            details = Details(database, runs.corp_id, client, pace)
            run = await _run(runs, details, dry_run, confirmed, no_details)
            if run.is_open:
                await _sync(runs, run, client, own, pace, confirmed)
            if run.state == "details":
                await _details(runs, run, details, wait=not no_details)
            return STOPPED if run.words else 0
        except ApiError as error:
            raise BridgeError(f"{error} {_KEPT}") from error
        except DependencyUnavailable as error:
            raise BridgeError(f"{error.reason}; check DATABASE_URL or DATA_DIR. {_KEPT}") from error


async def _sync(
    runs: Runs,
    run: Run,
    client: DingTalkClient,
    own: AddressSyncSettings,
    pace: Throttle,
    confirmed: int | None,
) -> None:
    with progress(0, _DOING["reading"]) as bar:

        def draw(done: int, known: int) -> None:
            bar.update(done, known, what=_DOING.get(run.state, run.state), note=f"{run.calls:,} API calls")

        await FullSync(runs, run, client, own, pace, draw, confirmed=confirmed).work()
    if run.state == "dry_run":
        print("a dry run: so much would change, and nothing did")
    for line in result(run):
        print(line)


async def _details(runs: Runs, run: Run, details: Details, *, wait: bool) -> None:
    """Fetch them; a running consumer does its share."""
    total = await details.pending(_ALL)
    if total:
        say(f"the rows are written; the details of {total:,} people are still to be fetched, one call each")
    if total and wait:
        with progress(total, "fetching details") as bar:
            left, may_wait = total, for_s(details.lease_s + _PATIENCE_S)
            while left and may_wait():
                wait_s = await details.work(for_s(_LOOK_S))
                await asyncio.sleep(min(wait_s, _LOOK_S))
                before, left = left, await details.pending(_ALL)
                if left < before:
                    may_wait = for_s(details.lease_s + _PATIENCE_S)
                bar.update(max(0, total - left), total)
        if left:
            say(f"DingTalk gives no details of {left:,} people just now; the running consumer tries again")
    if wait or not total:
        await runs.advance(run, "done")


async def _run(runs: Runs, details: Details, dry_run: bool, confirmed: int | None, no_details: bool) -> Run:
    """The command's run that was interrupted, the stopped one that is confirmed, or a new one."""
    if dry_run:
        return await runs.begin("dry_run")
    stopped = await runs.last("stopped")
    if confirmed is not None and stopped is not None:
        run = await runs.reopen(stopped)
        say(f"applies what was read at {run.began_at:%Y-%m-%d %H:%M} UTC, without reading it again")
        return run
    interrupted = await runs.unfinished("command")
    # one whose details somebody else has fetched meanwhile is over, and so is one if they are not wanted here
    rows_only = no_details or confirmed is not None
    if interrupted and (interrupted.is_open or (not rows_only and await details.pending())):
        say(f"goes on with the full sync that began at {interrupted.began_at:%Y-%m-%d %H:%M} UTC")
        return interrupted
    return await runs.begin("command")

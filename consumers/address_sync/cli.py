"""``dingbridge resync``: read the whole company now, and make address-sync's tables equal to it.

The same full sync that the consumer runs by itself (``consumers/address_sync/schedule.py``), by hand.
"""

import asyncio
import logging
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dingbridge.cli.terminal import confirmed as agreed
from dingbridge.cli.terminal import say

if TYPE_CHECKING:
    from consumers.address_sync.reading import Progress
    from consumers.address_sync.runs import Run, Runs
    from consumers.address_sync.settings import AddressSyncSettings
    from dingbridge.api_budget import ApiCalls
    from dingbridge.dingtalk.api import DingTalkClient

STOPPED = 3
"""Exit code when the brake stopped it (or would, in a dry run)."""

SPENT = 4
"""Exit code when the month's API calls are spent."""

app = typer.Typer(invoke_without_command=True)

_DOING = {"reading": "reading the company", "applying": "comparing", "looking": "asking one by one"}
_KEPT = (
    "What was read is kept, and nobody was marked as left for not having been read: `dingbridge resync`, or "
    "the consumer itself, goes on from there."
)
_BUSY = (
    "another process is at a full sync of this company (the consumer, or another `dingbridge resync`). Wait "
    "for it to end; or stop it, and this command goes on where it was, after at most 90 s"
)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the operator asked for. ``leavers``: so many people are confirmed to have left."""

    dry_run: bool
    reconcile: bool
    departments: bool
    details: bool
    leavers: int | None
    yes: bool

    @property
    def priority(self) -> str:
        return "reconcile" if self.reconcile and not self.dry_run else "resync"


@app.callback()
def contacts(
    context: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read, say what would change, and change nothing.")
    ] = False,
    reconcile: Annotated[
        bool, typer.Option("--reconcile", help="At the lowest priority of API calls, as the weekly one.")
    ] = False,
    departments: Annotated[
        bool, typer.Option("--departments", help="Only the departments, at far fewer calls.")
    ] = False,
    details: Annotated[
        bool, typer.Option("--details", help="Ask for everybody by name too (1 call each): managers.")
    ] = False,
    confirm_leavers: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="So many people did leave: mark them, beyond MAX_LEAVERS."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before it begins.")] = False,
) -> None:
    """Read the company from DingTalk and make address-sync's tables equal to it.

    Says first what it will cost in API calls, and afterwards what it changed. One that was interrupted goes
    on where it was; the consumer may be running meanwhile. Exit code 0: done; 1: DingTalk or the database
    did not work; 2: settings; 3: the brake stopped it (MAX_LEAVERS); 4: the month's API calls are spent.
    """
    if context.invoked_subcommand is not None:
        return
    wanted = _Wanted(dry_run, reconcile, departments, details, confirm_leavers, yes)
    try:
        code = asyncio.run(_resync(wanted))
    except KeyboardInterrupt:
        say(f"interrupted. {_KEPT}")
        code = 130
    raise typer.Exit(code)


async def _resync(wanted: _Wanted) -> int:
    from consumers.address_sync import AddressSync
    from consumers.address_sync.settings import AddressSyncSettings
    from dingbridge import DependencyUnavailable, open_database
    from dingbridge.api_budget import ApiCalls
    from dingbridge.dingtalk.api import DingTalkClient
    from dingbridge.dingtalk.errors import ApiError, BudgetSpent, QuotaSpent
    from dingbridge.errors import BridgeError
    from dingbridge.logging import configure_logging
    from dingbridge.settings import ConsumerSettings
    from dingbridge.worker.store.migrations import migrate

    settings, own = ConsumerSettings.load(), AddressSyncSettings.load()
    key, secret = settings.api_credentials()
    configure_logging(settings)
    logging.getLogger().setLevel(logging.CRITICAL)  # what is logged for a service is said here in words
    async with AsyncExitStack() as stack:
        database = open_database(settings.database_url_for(AddressSync.name))
        stack.push_async_callback(database.close)
        calls = ApiCalls.of(settings, key)
        stack.callback(calls.close)
        client = await stack.enter_async_context(
            DingTalkClient(app_key=key, app_secret=secret, base=settings.dingtalk_api_base, budget=calls)
        )
        try:
            await migrate(database, AddressSync)
            return await _with(await _runs(database, own), client, calls, own, wanted)
        except (BudgetSpent, QuotaSpent) as error:
            say(f"dingbridge: {error}\n{_KEPT}")
            return SPENT
        except ApiError as error:
            raise BridgeError(f"{error} {_KEPT}") from error
        except DependencyUnavailable as error:
            raise BridgeError(f"{error.reason}; check DATABASE_URL or DATA_DIR. {_KEPT}") from error


async def _runs(database: Any, own: "AddressSyncSettings") -> "Runs":
    """The runs of the company. Raises ``SettingsError`` when nothing says which one it is."""
    from consumers.address_sync.resync import company
    from consumers.address_sync.runs import Runs
    from dingbridge.errors import SettingsError

    found = await company(database.reader(), own)
    if len(found) != 1:
        raise SettingsError(
            [
                f"DINGTALK_CORP_ID: not set, and the tables name {len(found) or 'no'} companies; it is the "
                "CorpId on the front page of open-dev.dingtalk.com"
            ]
        )
    return Runs(database, found[0])


async def _with(
    runs: "Runs", client: "DingTalkClient", calls: "ApiCalls", own: "AddressSyncSettings", wanted: _Wanted
) -> int:
    from consumers.address_sync.resync import budget, result, resync

    run = await _to_go_on_with(runs, wanted)
    say(budget(calls.spent(), wanted.priority))
    run = run or await _begun(runs, client, wanted)
    if run is None:
        return 0
    with _progress(run) as progress:
        run = await resync(runs, run, client, own, progress, confirmed=wanted.leavers)
    if run.state == "dry_run":
        print("a dry run: so much would change, and nothing did")
    for line in result(run):
        print(line)
    say(budget(calls.spent(), wanted.priority))
    return STOPPED if run.words else 0


async def _to_go_on_with(runs: "Runs", wanted: _Wanted) -> "Run | None":
    """The run that was interrupted, or that waits to be confirmed; None when there is none."""
    from dingbridge.errors import BridgeError

    if await runs.under_way() is not None:
        run = await runs.go_on()
        if run is None and await runs.under_way() is not None:
            raise BridgeError(_BUSY)
        if run is not None and wanted.dry_run:
            await runs.let_go(run)
            raise BridgeError(
                f"a full sync that began at {run.began_at:%Y-%m-%d %H:%M} UTC is not finished: finish it "
                "with `dingbridge resync`, then try again"
            )
        if run is not None:
            say(f"goes on with the full sync that began at {run.began_at:%Y-%m-%d %H:%M} UTC")
            return run
    stopped = await runs.ended("stopped")
    if wanted.leavers is None or wanted.dry_run or not stopped:
        return None
    run = stopped[-1]
    if not await runs.reopen(run, state="reading"):
        raise BridgeError(_BUSY)
    say(f"applies what was read at {run.began_at:%Y-%m-%d %H:%M} UTC, without reading it again")
    return run


async def _begun(runs: "Runs", client: "DingTalkClient", wanted: _Wanted) -> "Run | None":
    """A new run, after its cost was said; None when the operator does not want it."""
    from consumers.address_sync.resync import cost
    from consumers.address_sync.verdict import current_users
    from dingbridge.dingtalk.budget import Priority
    from dingbridge.errors import BridgeError

    employees = None
    if not wanted.departments and not await current_users(runs.reader, runs.corp_id):
        at = client.at(Priority[wanted.priority.upper()])
        employees = await at.user_count(only_active=False)
    part: Any = "departments" if wanted.departments else "all"
    words = await cost(runs.reader, runs.corp_id, part, employees=employees, details=wanted.details)
    say(f"this will cost {words}")
    if not agreed("Go on?", wanted.yes):
        return None
    cause: Any = "dry_run" if wanted.dry_run else wanted.priority.replace("resync", "command")
    run = await runs.begin(cause, part, details=wanted.details)
    if run is None:
        raise BridgeError(_BUSY)
    return run


@contextmanager
def _progress(run: "Run") -> "Iterator[Progress]":
    """A bar on a terminal, on standard error; in a pipe a line at each step and each quarter of it."""
    if not sys.stderr.isatty():
        said: tuple[str, int] = ("", 0)

        def line(done: int, known: int) -> None:
            nonlocal said
            quarter = 4 * done // known if known else 4
            if (run.state, quarter) != said:
                said = (run.state, quarter)
                doing = _DOING.get(run.state, run.state)
                say(f"{doing}: {done:,} of {known:,} known steps, {run.calls:,} API calls")

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, TextColumn("{task.fields[calls]} API calls"), console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=None, calls="0")

        def draw(done: int, known: int) -> None:
            doing = _DOING.get(run.state, run.state)
            bar.update(task, description=doing, completed=done, total=known, calls=f"{run.calls:,}")

        yield draw

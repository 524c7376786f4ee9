"""What the commands about approvals share: the archive without its consumer, files, progress, times."""

import os
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from dingbridge.cli.terminal import LINE_EVERY, moment, say

if TYPE_CHECKING:
    from consumers.approval.consumer import Approval
    from dingbridge import Database
    from dingbridge.settings import ConsumerSettings

Codes = Annotated[
    list[str] | None, typer.Option("--process-code", help="Templates, with commas.", show_default="all")
]


@asynccontextmanager
async def archive(
    *, api: bool = False, migrate: bool = False
) -> "AsyncIterator[tuple[Approval, ConsumerSettings]]":
    """The consumer with its database and, with ``api``, a client that spends as a resync does; nothing of it
    runs. With ``migrate`` its tables are made, or brought up to date, else they must be there."""
    from sqlalchemy.exc import DBAPIError

    from consumers.approval.consumer import Approval
    from dingbridge import DependencyUnavailable, open_database
    from dingbridge.errors import BridgeError
    from dingbridge.logging import configure_logging
    from dingbridge.settings import ConsumerSettings
    from dingbridge.worker.store.errors import is_missing_table

    settings = ConsumerSettings.load()
    # what each instance does is for a consumer's log; a command has its own words, and a log when it is asked
    quiet = {} if "log_level" in settings.model_fields_set else {"log_level": "WARNING"}
    configure_logging(settings.model_copy(update=quiet))
    consumer = Approval()
    consumer.settings = settings
    hint = "start the consumer first: dingbridge consume approval"
    try:
        database = open_database(settings.database_url_for(consumer.name), create=migrate)
    except DependencyUnavailable as error:
        raise BridgeError(f"{error.reason}; check DATABASE_URL or DATA_DIR, or {hint}") from error
    consumer.database = database
    try:
        if migrate:
            await _make_tables(database)
        consumer.open_archive()
        if not api:
            yield consumer, settings
            return
        async with _client(settings) as consumer.dingtalk:
            yield consumer, settings
    except DependencyUnavailable as error:
        if api:
            raise
        raise BridgeError(f"{error.reason}; check DATABASE_URL or DATA_DIR") from error
    except DBAPIError as error:
        if is_missing_table(error) or _is_missing_column(error):
            raise BridgeError(f"the archive has no tables of this version yet; {hint}") from error
        raise
    finally:
        await database.close()


def _is_missing_column(error: BaseException) -> bool:
    """Whether the tables are an older version's."""
    cause = getattr(error, "orig", None)
    return getattr(cause, "sqlstate", None) == "42703" or "no such column" in str(cause)


async def _make_tables(database: "Database") -> None:
    from consumers.approval.consumer import Approval
    from dingbridge.worker.store.migrations import migrate

    await migrate(database, Approval)


@asynccontextmanager
async def _client(settings: "ConsumerSettings") -> AsyncIterator[Any]:
    from dingbridge.api_budget import ApiCalls
    from dingbridge.dingtalk.api import DingTalkClient
    from dingbridge.dingtalk.budget import Priority

    key, secret = settings.api_credentials()
    budget = ApiCalls.of(settings, key)
    try:
        async with DingTalkClient(
            app_key=key, app_secret=secret, base=settings.dingtalk_api_base, budget=budget
        ) as client:
            yield client.at(Priority.RESYNC)
    finally:
        budget.close()


async def corp_id_of(consumer: "Approval") -> str:
    """The company's id, which DingTalk's API does not tell: as set, else the only one of the archive."""
    from sqlalchemy import select

    from consumers.approval.settings import ApprovalSettings
    from consumers.approval.tables import approval_instances
    from dingbridge.errors import SettingsError

    configured = ApprovalSettings.load().dingtalk_corp_id
    if configured:
        return configured
    rows = await consumer.database.reader().execute(select(approval_instances.c.corp_id).distinct())
    known = sorted(row.corp_id for row in rows if row.corp_id != "-")
    if len(known) == 1:
        return str(known[0])
    found = f"the archive has {len(known)} companies" if known else "the archive is empty"
    raise SettingsError(
        [f"DINGTALK_CORP_ID: not set, and {found}; it is the CorpId on open-dev.dingtalk.com"]
    )


def day_or_moment(text: str | None, option: str, settings: "ConsumerSettings") -> datetime | None:
    """A day or a time without a zone is meant in ``DINGTALK_TIMEZONE``, as forms and the API are."""
    from zoneinfo import ZoneInfo

    if text is None:
        return None
    try:
        local = datetime.combine(date.fromisoformat(text), datetime.min.time())
        return local.replace(tzinfo=ZoneInfo(settings.dingtalk_timezone))
    except ValueError:
        return moment(text, option)


def calls_left(settings: "ConsumerSettings") -> str:
    """How many calls this month's budget has for it, as the end of a sentence."""
    from dingbridge.api_budget import ApiCalls

    budget = ApiCalls.of(settings, settings.api_credentials()[0] if settings.calls_api else None)
    try:
        spent = budget.spent()
    finally:
        budget.close()
    if spent["left"] is None:
        return ""
    return f" ({spent['left']['resync']:,} left for it in {spent['month']})"


@contextmanager
def new_file(path: Path) -> Iterator[TextIO]:
    """A text file that takes the place of ``path`` when it is whole; only its owner may read it.

    Raises ``BridgeError`` when it cannot be made.
    """
    from dingbridge.errors import BridgeError

    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BridgeError(f"{path} cannot be written ({error.strerror}); choose another --out") from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            yield file
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Call it with how many more are done: a bar on a terminal, on standard error; in a pipe a line for each
    tenth."""
    done = 0
    if not sys.stderr.isatty():
        said = 0

        def tell(count: int) -> None:
            nonlocal done, said
            done += count
            percent = min(100, done * 100 // total) if total else 100
            if percent // LINE_EVERY > said // LINE_EVERY:
                said = percent
                say(f"{what}: {done:,} of {total:,} ({percent} %)")

        yield tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total)
        yield lambda count: bar.advance(task, count)

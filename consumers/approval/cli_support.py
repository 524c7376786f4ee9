"""What the commands about approvals share: the archive without its consumer, its company, options, files."""

import os
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, TextIO
from zoneinfo import ZoneInfo

import typer
from prometheus_client import CollectorRegistry
from sqlalchemy.exc import DBAPIError

from dingbridge import DependencyUnavailable, open_database
from dingbridge.cli.terminal import moment
from dingbridge.consumers.approval.consumer import Approval
from dingbridge.errors import BridgeError
from dingbridge.logging import configure_logging
from dingbridge.settings import ConsumerSettings
from dingbridge.worker.api.budget import ApiCalls
from dingbridge.worker.api.clients import open_clients
from dingbridge.worker.store.errors import is_missing_table
from dingbridge.worker.store.migrations import migrate as make_tables

Codes = Annotated[
    list[str] | None, typer.Option("--process-code", help="Templates, with commas.", show_default="all")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, for machines.")]
EndedSince = Annotated[
    str | None,
    typer.Option("--since", help="Ended since: 2026-01-31 (DINGTALK_TIMEZONE), an ISO time, or 30d (ago)."),
]
EndedUntil = Annotated[str | None, typer.Option("--until", help="Ended before.")]


@asynccontextmanager
async def open_archive(*, api: bool = False, migrate: bool = False) -> AsyncIterator[Approval]:
    """The consumer with its database and, with ``api``, its clients; nothing of it runs.

    With ``migrate`` its tables are made, or brought up to date, else they must be there.
    """
    settings = ConsumerSettings.load()
    # each instance is logged by a consumer; a command prints its own words, and logs when it is asked to
    quiet = {} if "log_level" in settings.model_fields_set else {"log_level": "WARNING"}
    configure_logging(settings.model_copy(update=quiet))
    consumer = Approval()
    # files are the running consumer's
    consumer.own = consumer.own.model_copy(update={"archive_dir": None})
    consumer.settings, consumer.registry = settings, CollectorRegistry()
    hint = "start the consumer first: dingbridge consume approval"
    try:
        database = open_database(settings.database_url_for(consumer.name), create=migrate)
    except DependencyUnavailable as error:
        raise BridgeError(f"{error.reason}; check DATABASE_URL or DATA_DIR, or {hint}") from error
    consumer.database = database
    stack = AsyncExitStack()
    stack.push_async_callback(database.close)
    try:
        if migrate:
            await make_tables(database, Approval)
        if api:
            opened = await open_clients(settings, stack)
            if opened is None:
                settings.api_credentials()  # raises, in words
            else:
                consumer.clients = opened[0]
        yield consumer
    except DependencyUnavailable as error:
        if api:
            raise
        raise BridgeError(f"{error.reason}; check DATABASE_URL or DATA_DIR") from error
    except DBAPIError as error:
        if is_missing_table(error):
            raise BridgeError(f"the archive has no tables yet; {hint}") from error
        raise
    finally:
        await stack.aclose()


def day_or_moment(text: str | None, option: str, settings: ConsumerSettings) -> datetime | None:
    """In UTC. A day or a time without a zone is meant in ``DINGTALK_TIMEZONE``, as forms and the API are."""
    if text is None:
        return None
    try:
        local = datetime.combine(date.fromisoformat(text), datetime.min.time())
        return local.replace(tzinfo=ZoneInfo(settings.dingtalk_timezone)).astimezone(UTC)
    except (ValueError, OverflowError):
        return moment(text, option)


async def calls_left(settings: ConsumerSettings, wanted: int) -> str:
    """How many calls this month's budget has left for a resync, as the end of a sentence, and what happens if
    the ``wanted`` calls are more."""
    budget = ApiCalls.of(settings, settings.api_credentials()[0])
    try:
        spent = await budget.spent()
    finally:
        await budget.close()
    if spent["left"] is None:
        return ""
    left, setting = spent["left"]["reconcile"], f"API_MONTHLY_BUDGET={spent['limit']}"
    words = f" ({setting} leaves {left:,} for it in {spent['month']})"
    if wanted <= left:
        return words
    return (
        f"{words}. So it will not be done this month: the newest come first, and the running consumer goes "
        "on with the others in the months to come. A larger API_MONTHLY_BUDGET makes it fewer, if DingTalk's "
        "plan has that many"
    )


@contextmanager
def new_file(path: Path) -> Iterator[TextIO]:
    """A text file that takes the place of ``path`` when it is whole; only its owner may read it.

    Raises ``BridgeError`` when it cannot be made.
    """
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

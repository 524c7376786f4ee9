"""The consumers' databases: which there are, a copy of each, and each put back with the mark that keeps its
consumers from starting before their offsets are set back (``worker/store/restored.py``)."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from sqlalchemy import inspect, select

from dingbridge.backup import postgres
from dingbridge.backup.manifest import BadBackup, DatabaseCopy, Manifest
from dingbridge.backup.sqlite import copy_file, to_disk
from dingbridge.errors import BridgeError
from dingbridge.settings import ConsumerSettings
from dingbridge.settings.database_url import parse_database_url
from dingbridge.worker.outcomes import DependencyUnavailable
from dingbridge.worker.registry import installed_consumers
from dingbridge.worker.store import restored
from dingbridge.worker.store.database import Database, open_database
from dingbridge.worker.store.inbox import topics

FOLDER: Final = "databases"
_ENDINGS: Final = {"sqlite": "db", "postgresql": "dump"}


@dataclass(frozen=True, slots=True)
class Found:
    """A database that is here, and the consumers that have started on it."""

    url: str
    consumers: tuple[str, ...]

    @property
    def kind(self) -> Literal["sqlite", "postgresql"]:
        return kind_of(self.url)


def kind_of(url: str) -> Literal["sqlite", "postgresql"]:
    return "sqlite" if parse_database_url(url).drivername.startswith("sqlite") else "postgresql"


def file_of(url: str) -> Path:
    """A SQLite address's file."""
    return Path(str(parse_database_url(url).database))


@asynccontextmanager
async def opened(url: str, *, create: bool = False) -> AsyncIterator[Database]:
    """Raises ``BridgeError`` for a database that does not answer, or is not there."""
    try:
        database = open_database(url, create=create)
        try:
            yield database
        finally:
            await database.close()
    except DependencyUnavailable as error:
        raise BridgeError(f"{error.reason}; check DATABASE_URL or DATA_DIR") from error


async def databases(settings: ConsumerSettings) -> list[Found]:
    """Those of the installed consumers, as this environment has them, in which one has run. Raises
    ``BridgeError`` for one that does not answer, or whose restore has not come to its end."""
    names = [
        one.name for one in installed_consumers() if one.consumer is not None and one.consumer.uses_database
    ]
    found = []
    for url in dict.fromkeys(map(settings.database_url_for, names)):
        if kind_of(url) == "sqlite" and not file_of(url).exists():
            continue
        async with opened(url) as database:
            for name in await restored.marks(database):
                await restored.is_restored(database, name)
            if consumers := await _registered(database):
                found.append(Found(url, consumers))
    return found


async def _registered(database: Database) -> tuple[str, ...]:
    """Who has started on this database, also of other images."""
    async with database.reading() as connection:
        if not await connection.run_sync(lambda sync: inspect(sync).has_table(topics.name)):
            return ()
    rows = await database.reader().execute(select(topics.c.consumer).distinct().order_by(topics.c.consumer))
    return tuple(rows.scalars())


async def save(found: Found, folder: Path) -> tuple[DatabaseCopy, str]:
    """Copy a database into ``folder``; returns its entry in the manifest, and words for the operator if it
    has to be done by hand. Raises ``BridgeError``."""
    name = f"{FOLDER}/{found.consumers[0]}.{_ENDINGS[found.kind]}"
    copy = DatabaseCopy(file=name, kind=found.kind, consumers=list(found.consumers))
    if found.kind == "sqlite":
        await asyncio.to_thread(copy_file, file_of(found.url), folder / name)
        return copy, ""
    try:
        await postgres.dump(found.url, folder / name)
    except postgres.NotInstalled as error:
        return copy.model_copy(update={"by_hand": True}), str(error)
    return copy, ""


def url_for(settings: ConsumerSettings, copy: DatabaseCopy) -> str:
    """Where ``copy`` is put back in this environment. Raises ``BadBackup`` where that is another kind of
    database, or several."""
    urls = {settings.database_url_for(name) for name in copy.consumers}
    if len(urls) != 1 or kind_of(url := urls.pop()) != copy.kind:
        raise BadBackup(
            f"{copy.file} is one {copy.kind} database of {', '.join(copy.consumers)}, and DATABASE_URL or "
            "DATA_DIR give them another kind here, or several; set them as they were"
        )
    return url


async def refusal(url: str, copy: DatabaseCopy, manifest: Manifest) -> str:
    """Why ``copy`` cannot be put into the database at ``url``; empty: it can, or was by an earlier run.
    Raises ``BridgeError``."""
    if copy.kind == "sqlite":
        file = file_of(url)
        left = [path for path in (file, *_beside(file)) if path.exists()]
        if not left or (left[0] == file and await _is_ours(url, manifest)):
            return ""
        names = " and ".join(map(str, left))
        return (
            f"{names} stands in the place of {copy.file}; move it away, with -wal and -shm beside it. If an "
            "earlier run of this restore put it there, and it is in use, name the rest with --only"
        )
    if await _is_ours(url, manifest) or await _tables(url) <= {restored.MARKS}:
        return ""
    return (
        f"the database for {copy.file} is not empty; make an empty one, and let DATABASE_URL name that, or "
        "drop what is in it"
    )


async def put_back(url: str, copy: DatabaseCopy, folder: Path, manifest: Manifest) -> None:
    """Make the database at ``url`` what ``copy`` is, marked. What an earlier run has done stays. Raises
    ``BridgeError``."""
    if words := await refusal(url, copy, manifest):  # a consumer was started since that was checked
        raise BridgeError(words)
    source, marked = folder / copy.file, (copy.consumers, manifest.id, manifest.at_ms)
    if copy.kind == "sqlite":
        file = file_of(url)
        if file.exists():
            return
        draft = file.with_name(file.name + ".restored")
        for path in (draft, *_beside(draft)):
            path.unlink(missing_ok=True)
        await asyncio.to_thread(copy_file, source, draft)
        async with opened(f"sqlite:///{draft.absolute()}") as database:
            await restored.mark(database, *marked)
        if any(path.exists() for path in _beside(draft)):  # closed, so all of it is in the file
            raise BridgeError(f"{draft} was not closed; run this again")
        to_disk(draft)
        draft.rename(file)
        to_disk(file.parent)  # if a power cut undid the rename, a new file would begin, without the mark
        return
    if not await _tables(url) <= {restored.MARKS}:
        return  # an earlier run loaded it; a second mark would set back a consumer that has started since
    async with opened(url) as database:
        await restored.mark(database, *marked)
    await postgres.load(url, source)


async def _is_ours(url: str, manifest: Manifest) -> bool:
    """Whether an earlier run of the same restore has marked it."""
    async with opened(url) as database:
        return any(row.backup == manifest.id for row in (await restored.marks(database)).values())


async def _tables(url: str) -> set[str]:
    async with opened(url) as database, database.reading() as connection:
        return await connection.run_sync(lambda sync: set(inspect(sync).get_table_names()))


def _beside(file: Path) -> Sequence[Path]:
    return [file.with_name(file.name + ending) for ending in ("-wal", "-shm", "-journal")]

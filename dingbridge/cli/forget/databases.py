"""Goes through the installed consumers that have a database, each in a transaction or a few."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import structlog
from prometheus_client import CollectorRegistry
from sqlalchemy import inspect
from sqlalchemy.exc import DBAPIError

from dingbridge.errors import BridgeError, SettingsError
from dingbridge.settings import ConsumerSettings
from dingbridge.worker.consumer import Consumer
from dingbridge.worker.outcomes import Conflict, DependencyUnavailable
from dingbridge.worker.registry import installed_consumers
from dingbridge.worker.store.database import Database, open_database
from dingbridge.worker.store.errors import is_missing_table
from dingbridge.worker.store.forgetting import Forgotten, Person

log = structlog.get_logger(__name__)

MOST_TRIES = 10
"""Of one transaction that others get in the way of."""


@dataclass(frozen=True, slots=True)
class Had:
    """What a consumer's database has, or had, of a person. ``found`` None: it is not known, for ``why``;
    ``failed``: since the database could not be asked."""

    consumer: str
    found: Forgotten | None = None
    why: str = ""
    failed: bool = False


class NoDatabase(DependencyUnavailable):
    """A SQLite file that is not there."""


class _DryRun(Exception):
    """No error: it rolls a transaction back."""


async def look(settings: ConsumerSettings, person: Person) -> list[Had]:
    """What each consumer would delete and mask; nothing is changed. A consumer that comes later knows the
    texts of those before."""
    had, texts = [], person.texts
    for one in installed_consumers():
        known = Person(person.corp_id, person.userid, texts)
        if one.consumer is None:
            had.append(Had(one.name, why=str(one.problem), failed=True))
        elif one.consumer.uses_database:
            had.append(await _of_one(settings, one.consumer, known, dry_run=True))
            texts |= had[-1].found.texts if had[-1].found is not None else frozenset()
    return had


async def forget(settings: ConsumerSettings, person: Person, seen: Sequence[Had]) -> list[Had]:
    """Do it in those databases that ``look`` has seen. Who knows most of the person's texts comes last, so
    that a run which breaks off still finds them when it is begun again. Raises ``DependencyUnavailable``."""
    texts = person.texts.union(*(one.found.texts for one in seen if one.found is not None))
    consumers = {one.name: one.consumer for one in installed_consumers()}
    done = []
    for one in sorted(seen, key=lambda had: len(had.found.texts) if had.found else 0):
        cls = consumers[one.consumer]
        if one.found is None or cls is None:
            continue
        named = Person(person.corp_id, person.userid, texts)
        had = await _of_one(settings, cls, named, dry_run=False)
        if had.found is None:
            raise DependencyUnavailable(f"{one.consumer}: {had.why}")
        log.info(
            "forget.done",
            consumer=one.consumer,
            userid=person.userid,
            corp_id=person.corp_id,
            deleted={table: rows for table, rows in had.found.deleted.items() if rows},
            masked={table: rows for table, rows in had.found.masked.items() if rows},
            files=len(had.found.files),
        )
        done.append(had)
    return done


async def _of_one(settings: ConsumerSettings, cls: type[Consumer], person: Person, *, dry_run: bool) -> Had:
    if cls.metadata is None:
        return Had(cls.name, why="it has no tables of its own")
    try:
        async with _database(settings, cls) as database:
            there = await _tables(database)
            if not there & cls.own_tables:
                return Had(cls.name, why="it has never run on this database")
            found = await _in_transactions(settings, cls, database, person, dry_run=dry_run)
    except SettingsError as error:
        return Had(cls.name, why="; ".join(error.problems), failed=True)
    except NoDatabase as error:
        return Had(cls.name, why=error.reason)
    except DependencyUnavailable as error:
        return Had(cls.name, why=error.reason, failed=True)
    except BridgeError as error:
        return Had(cls.name, why=str(error), failed=True)
    except DBAPIError as error:
        if not is_missing_table(error):
            raise
        return Had(cls.name, why="its tables are of an older version: start it once", failed=True)
    if found is None:
        return Had(cls.name, why="its author does not say what it has of a person (Consumer.forget)")
    return Had(cls.name, found)


@asynccontextmanager
async def _database(settings: ConsumerSettings, cls: type[Consumer]) -> AsyncIterator[Database]:
    url = settings.database_url_for(cls.name)
    try:
        database = open_database(url, create=False)
    except DependencyUnavailable as error:
        raise NoDatabase(error.reason) from error
    try:
        yield database
    finally:
        await database.close()


async def _tables(database: Database) -> set[str]:
    async with database.reading() as connection:
        return await connection.run_sync(lambda sync: set(inspect(sync).get_table_names()))


async def _in_transactions(
    settings: ConsumerSettings, cls: type[Consumer], database: Database, person: Person, *, dry_run: bool
) -> Forgotten | None:
    consumer = cls()
    consumer.settings, consumer.database, consumer.registry = settings, database, CollectorRegistry()
    found = await _in_one(consumer, database, person, dry_run=dry_run)
    while found is not None and found.more is not None:
        rest = replace(person, after=found.more)
        found += await _in_one(consumer, database, rest, dry_run=dry_run) or Forgotten()
    return found


async def _in_one(
    consumer: Consumer, database: Database, person: Person, *, dry_run: bool
) -> Forgotten | None:
    for _ in range(MOST_TRIES):
        found: Forgotten | None = None
        try:
            async with database.transaction() as tx:
                found = await consumer.forget(person, tx)
                if dry_run:
                    raise _DryRun
                for file in found.files if found is not None else ():
                    file.unlink(missing_ok=True)
        except _DryRun:
            return found
        except Conflict:  # the consumer wrote at the same moment
            continue
        return found
    raise DependencyUnavailable("others write the same rows again and again; try it later")

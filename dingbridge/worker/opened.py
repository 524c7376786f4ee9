"""A consumer that a command works with: settings, database and Open API clients, and nothing of it runs."""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar

from prometheus_client import CollectorRegistry
from sqlalchemy.exc import DBAPIError

from dingbridge.errors import BridgeError
from dingbridge.logging import configure_logging
from dingbridge.settings import ConsumerSettings
from dingbridge.worker.api.clients import open_clients
from dingbridge.worker.consumer import Consumer
from dingbridge.worker.outcomes import DependencyUnavailable
from dingbridge.worker.store.database import open_database
from dingbridge.worker.store.errors import is_missing_table
from dingbridge.worker.store.migrations import migrate as make_tables

C = TypeVar("C", bound=Consumer)


@asynccontextmanager
async def open_consumer(consumer: C, *, api: bool = True, migrate: bool = True) -> AsyncIterator[C]:
    """Set what ``consumer`` is given before its start; it may be running elsewhere. ``api``: it has clients.
    ``migrate``: its tables are made, or brought up to date; else they must be there.

    Raises ``SettingsError``, and ``BridgeError`` in words while the database is down, or has no tables.
    """
    settings = ConsumerSettings.load()
    configure_logging(settings)
    if "log_level" not in settings.model_fields_set:
        logging.getLogger().setLevel(logging.CRITICAL)  # what is logged for a service is said here in words
    consumer.settings, consumer.registry = settings, CollectorRegistry()
    hint = f"start the consumer first: dingbridge consume {consumer.name}"
    async with AsyncExitStack() as stack:
        opened = await open_clients(settings, stack) if api else None
        if opened is not None:
            consumer.clients = opened[0]
        elif api:
            settings.api_credentials()  # raises, in words
        try:
            consumer.database = open_database(settings.database_url_for(consumer.name), create=migrate)
            stack.push_async_callback(consumer.database.close)
            if migrate:
                await make_tables(consumer.database, type(consumer))
            yield consumer
        except DependencyUnavailable as error:
            raise BridgeError(f"{error.reason}; check DATABASE_URL or DATA_DIR, or {hint}") from error
        except DBAPIError as error:
            if is_missing_table(error):
                raise BridgeError(f"{consumer.name} has no tables yet; {hint}") from error
            raise

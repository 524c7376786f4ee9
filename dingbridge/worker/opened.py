"""A consumer that a command works with: settings, database and Open API clients, and nothing of it runs."""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar

from prometheus_client import CollectorRegistry

from dingbridge.errors import BridgeError
from dingbridge.logging import configure_logging
from dingbridge.settings import ConsumerSettings
from dingbridge.worker.api.clients import open_clients
from dingbridge.worker.consumer import Consumer
from dingbridge.worker.outcomes import DependencyUnavailable
from dingbridge.worker.store.database import open_database
from dingbridge.worker.store.migrations import migrate

C = TypeVar("C", bound=Consumer)


@asynccontextmanager
async def open_consumer(consumer: C) -> AsyncIterator[C]:
    """Set what ``consumer`` is given before its start, and bring its tables up; it may be running elsewhere.

    Raises ``SettingsError``, and ``BridgeError`` in words while the database is down.
    """
    settings = ConsumerSettings.load()
    configure_logging(settings)
    logging.getLogger().setLevel(logging.CRITICAL)  # what is logged for a service is said here in words
    consumer.settings, consumer.registry = settings, CollectorRegistry()
    async with AsyncExitStack() as stack:
        opened = await open_clients(settings, stack)
        if opened is None:
            settings.api_credentials()  # raises, in words
        else:
            consumer.clients = opened[0]
        consumer.database = open_database(settings.database_url_for(consumer.name))
        stack.push_async_callback(consumer.database.close)
        try:
            await migrate(consumer.database, type(consumer))
            yield consumer
        except DependencyUnavailable as error:
            raise BridgeError(f"{error.reason}; check DATABASE_URL or DATA_DIR") from error

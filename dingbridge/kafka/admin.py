"""Kafka's admin client for a few questions, and what its clients raise in words."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from dingbridge.errors import KafkaUnavailable
from dingbridge.kafka.client import connection, explain
from dingbridge.settings import KafkaSettings

REQUEST_S = 10


@contextmanager
def explaining(settings: KafkaSettings) -> Iterator[None]:
    """Raises ``KafkaUnavailable``, with the next step, for what a client of Kafka raises in it."""
    try:
        yield
    except (KafkaError, OSError) as error:
        raise KafkaUnavailable(explain(error, settings)) from error


@asynccontextmanager
async def admin_client(
    settings: KafkaSettings, within_s: float | None = None
) -> AsyncIterator[AIOKafkaAdminClient]:
    """An admin client, started; all that is asked may take ``within_s``. Raises what ``explaining`` does."""
    timeout_ms = int((within_s or REQUEST_S) * 1000)
    admin = AIOKafkaAdminClient(**connection(settings), request_timeout_ms=timeout_ms)
    try:
        with explaining(settings):
            async with asyncio.timeout(within_s):
                await admin.start()
                yield admin
    finally:
        await admin.close()

"""Going back to an older revision of a consumer's tables, while nobody works with them."""

from collections.abc import Collection

from dingbridge.doctor.checks.kafka_wire import describe_groups
from dingbridge.errors import BridgeError
from dingbridge.kafka.admin import admin_client
from dingbridge.settings import ConsumerSettings, KafkaSettings
from dingbridge.worker.consumer import Consumer
from dingbridge.worker.registry import known_consumers
from dingbridge.worker.store.database import open_database
from dingbridge.worker.store.migrations import WorkerTables, migrate_down


async def down(consumer: type[Consumer], revision: str, *, worker: bool) -> str:
    """Take the tables of ``consumer``, or with ``worker`` the worker's in the same database, back to
    ``revision``; returns the one before. Raises ``BridgeError``: a consumer of that database runs, Kafka does
    not answer, or the revision cannot be reached."""
    settings = ConsumerSettings.load()
    url = settings.database_url_for(consumer.name)
    names = {consumer.name}
    if worker:
        names |= {name for name in known_consumers() if settings.database_url_for(name) == url}
    await _refuse_running(settings, names)
    database = open_database(url, create=False)
    try:
        return await migrate_down(database, WorkerTables if worker else consumer, revision)
    finally:
        await database.close()


async def _refuse_running(settings: KafkaSettings, names: Collection[str]) -> None:
    """Raises ``BridgeError`` where a group of ``names`` has members: the code that runs needs the tables that
    it was started with."""
    async with admin_client(settings) as admin:
        nodes = [broker["node_id"] for broker in (await admin.describe_cluster())["brokers"]]
        groups = await describe_groups(admin, sorted(names), nodes)
    if running := [f"{group['group']} ({len(group['members'])})" for group in groups if group["members"]]:
        raise BridgeError(
            f"consumers of this database run: {', '.join(running)}. Nothing was changed; stop them first"
        )

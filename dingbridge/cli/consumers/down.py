"""Going back to an older revision of a consumer's tables, while nobody works with them."""

from collections.abc import Iterable

from aiokafka.errors import for_code

from dingbridge.errors import BridgeError
from dingbridge.kafka.admin import admin_client
from dingbridge.kafka.wire import describe_groups
from dingbridge.settings import ConsumerSettings, KafkaSettings
from dingbridge.worker.consumer import Consumer
from dingbridge.worker.store.database import open_database
from dingbridge.worker.store.migrations import WorkerTables, migrate_down
from dingbridge.worker.store.offsets import consumers_of


async def down(consumer: type[Consumer], revision: str, *, worker: bool) -> str:
    """Take the tables of ``consumer``, or with ``worker`` the worker's in the same database, back to
    ``revision``; returns the one before. Raises ``BridgeError``: a consumer of that database runs, Kafka does
    not answer, or the revision cannot be reached."""
    settings = ConsumerSettings.load()
    database = open_database(settings.database_url_for(consumer.name), create=False)
    try:
        # not only those that are installed here: other packages and images may share the database
        others = await consumers_of(database) if worker else frozenset[str]()
        await _refuse_running(settings, {consumer.name, *others})
        return await migrate_down(database, WorkerTables if worker else consumer, revision)
    finally:
        await database.close()


async def _refuse_running(settings: KafkaSettings, names: Iterable[str]) -> None:
    """Raises ``BridgeError`` where a group of ``names`` has members: the code that runs needs the tables that
    it was started with. Each group's own broker is asked, and without its answer nothing is assumed."""
    running = []
    async with admin_client(settings) as admin:
        for name in sorted(names):
            (group,) = await describe_groups(admin, [name], [await admin.find_coordinator(name)])
            if group["error_code"]:
                raise for_code(group["error_code"])(f"group {name}")
            if group["members"]:
                running.append(f"{name} ({len(group['members'])})")
    if running:
        raise BridgeError(
            f"consumers of this database run: {', '.join(running)}. Nothing was changed; stop them first"
        )

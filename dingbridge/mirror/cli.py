"""``dingbridge resync NAME`` for a ``Mirror`` other than address-sync: asks the consumer to compare
everybody."""

import asyncio
import time
import uuid

from dingbridge.cli.terminal import say
from dingbridge.errors import BridgeError, SettingsError
from dingbridge.events.control import resync_requested
from dingbridge.kafka.inbox import write_to_inbox
from dingbridge.mirror.leavers import LeaverLimit
from dingbridge.mirror.mirror import Mirror
from dingbridge.settings import ConsumerSettings
from dingbridge.worker.registry import load_consumer
from dingbridge.worker.store.database import open_database


def request_comparison(name: str, confirm_leavers: int | None = None) -> None:
    """Write the request into the inbox of consumer ``name``, or with ``confirm_leavers`` let so many who wait
    be marked as left. Raises ``UnknownConsumer``, ``SettingsError`` for a consumer that compares nothing,
    ``KafkaUnavailable``, and ``BridgeError`` when more people wait."""
    consumer = load_consumer(name)
    if not issubclass(consumer, Mirror):
        raise SettingsError([f"consumer {name} is no Mirror, so it has nothing to compare with DingTalk"])
    settings, now_ms = ConsumerSettings.load(), int(time.time() * 1000)
    if confirm_leavers is not None:
        asyncio.run(_confirm(consumer, settings, confirm_leavers))
        return
    request = resync_requested(
        id=f"resync-{uuid.uuid4().hex}",
        app=settings.consumer_app,
        corp_id=None,
        now_ms=now_ms,
        since_ms=0,
        part="all",
        reason="dingbridge resync",
    )
    asyncio.run(write_to_inbox(settings, name, request))
    say(
        f"asked: when {name} runs, it compares everybody with DingTalk, behind what events ask for; "
        "dingbridge_mirror_due says how many are left"
    )


async def _confirm(consumer: type[Mirror], settings: ConsumerSettings, count: int) -> None:
    database = open_database(settings.database_url_for(consumer.name))
    try:
        limit = LeaverLimit(consumer.look_again, None, app=settings.consumer_app)
        waiting = await limit.confirm(database, None, count)
    finally:
        await database.close()
    if waiting > count:
        raise BridgeError(
            f"{waiting:,} people wait, and {count:,} were confirmed: nothing was changed. If all of them did "
            f"leave: dingbridge resync {consumer.name} --confirm-leavers {waiting}"
        )
    say(f"confirmed: when {consumer.name} runs, it asks DingTalk for {waiting:,} people and marks who left")

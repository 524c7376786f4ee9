"""``dingbridge resync NAME`` for a ``Mirror`` other than address-sync: asks the consumer to compare
everybody."""

import asyncio
import time
import uuid

from dingbridge.cli.terminal import say
from dingbridge.errors import SettingsError
from dingbridge.events.control import resync_requested
from dingbridge.kafka.inbox import write_to_inbox
from dingbridge.mirror.mirror import Mirror
from dingbridge.settings import ConsumerSettings
from dingbridge.worker.registry import load_consumer


def request_comparison(name: str) -> None:
    """Write the request into the inbox of consumer ``name``. Raises ``UnknownConsumer``, ``SettingsError``
    for a consumer that compares nothing, and ``KafkaUnavailable``."""
    consumer = load_consumer(name)
    if not issubclass(consumer, Mirror):
        raise SettingsError([f"consumer {name} is no Mirror, so it has nothing to compare with DingTalk"])
    settings, now_ms = ConsumerSettings.load(), int(time.time() * 1000)
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

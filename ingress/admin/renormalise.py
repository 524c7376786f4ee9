"""Publishes unclassified callbacks again that a newer release can normalise, or that name the app's company
since DINGTALK_CORP_ID or corp_id was mended: from Kafka to Kafka, without a journal.

Callbacks keep their first times of receipt, and so their ids. What would be unclassified again stays. An
interrupted run begins again: the topic still holds all of it.
"""

from collections.abc import Mapping
from typing import Any

from aiokafka import ConsumerRecord

from dingbridge.events import Event, NotAnEvent, Received, Record, decode, to_dingtalk, to_records
from dingbridge.events.strict_json import dumps
from dingbridge.ingress.relay.topics import TopicRouter
from dingbridge.kafka.reader import TopicReader
from dingbridge.kafka.topic_policy import unclassified_topic
from dingbridge.kafka.topics import existing_topics
from dingbridge.replay.copying import Copier
from dingbridge.settings import IngressSettings
from dingbridge.settings.apps import companies


async def renormalise(settings: IngressSettings) -> dict[str, Any]:
    """Go through the unclassified topic once, from its beginning to its present end. Returns how many records
    were ``read``, how many callbacks are ``published`` again, and how many are ``left``.

    Raises ``KafkaUnavailable``, also when Kafka refuses a record, and ``TopicError``."""
    result = {"read": 0, "published": 0, "left": 0}
    of_app, topic = companies(settings).of_app, unclassified_topic(settings)
    router = TopicRouter(settings, settings.unknown_topics_max)
    await router.load()
    counts = await existing_topics(settings, [topic])
    async with TopicReader(settings) as reader, Copier(settings, topic, 1) as copier:
        async for record in reader.read(await reader.spans({topic: counts.get(topic, 0)})):
            result["read"] += 1
            records = [(router.topic(one), one) for one in _records(record, of_app)]
            if all(name == topic for name, _ in records):
                result["left"] += 1
                continue
            for name, one in records:
                await router.ensure(name)
                await copier.send(name, one.key, one.value, [*one.headers])
            result["published"] += 1
            if copier.full:
                await copier.flush()
        await copier.flush()
    return result


def _records(record: ConsumerRecord, of_app: Mapping[str, str | None]) -> list[Record]:
    """Return the records that this release makes of an unclassified one; none if another program wrote it."""
    try:
        event = decode(record.value or b"")
    except NotAnEvent:
        return []
    received_ms = round(event.received_time.timestamp() * 1000)
    own = of_app.get(event.app)
    return to_records(
        Received(int(event.sequence), event.journal, received_ms, event.app, event.via, _body(event), own)
    )


def _body(event: Event) -> bytes:
    return event.data_bytes if event.data_bytes is not None else dumps(to_dingtalk(event))

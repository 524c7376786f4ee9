"""``python -m dingbridge.testing PATH``: publishes recorded events to topics of your own, so that a consumer
that you are writing has something to do.

PATH is a file or folder as for ``recorded``. The events are invented and go to no topic that others
read, so TOPIC_PREFIX must be set to another than the default.
"""

import asyncio
import sys
from collections import Counter
from pathlib import Path

from dingbridge.errors import BridgeError, SettingsError
from dingbridge.events.envelope import Record
from dingbridge.kafka.sending import send_records
from dingbridge.kafka.topic_policy import event_topic
from dingbridge.kafka.topics import ensure_topics
from dingbridge.logging import configure_logging
from dingbridge.settings import KafkaSettings
from dingbridge.testing.recordings import recorded


async def publish(settings: KafkaSettings, records: list[Record]) -> Counter[str]:
    """Publish ``records`` in order; returns how many by topic. Raises ``SettingsError`` for the default
    prefix, ``KafkaUnavailable``, ``TopicError``."""
    if settings.topic_prefix == KafkaSettings.model_fields["topic_prefix"].default:
        raise SettingsError(
            ["TOPIC_PREFIX is not set: recorded events are invented, and others read the default; as try."]
        )
    topics = [event_topic(settings, str(record.event_type)) for record in records]
    await ensure_topics(settings, set(topics))
    await send_records(settings, zip(topics, records, strict=True))
    return Counter(topics)


def main() -> int:
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print("usage: python -m dingbridge.testing PATH    (recorded events: a JSON file, or a folder)")
        return 2
    try:
        records = recorded(Path(sys.argv[1]))
        settings = KafkaSettings.load()
        configure_logging(settings)  # to standard error
        for topic, count in sorted(asyncio.run(publish(settings, records)).items()):
            print(f"published  {count}\t{topic}")
    except (BridgeError, ValueError, OSError) as error:
        print(f"dingbridge.testing: {error}", file=sys.stderr)
        return error.exit_code if isinstance(error, BridgeError) else 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

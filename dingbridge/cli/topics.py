"""``dingbridge topics``: list, create and read topics, for people without other Kafka tools."""

import asyncio
from collections import Counter
from typing import Annotated, Any

import orjson
import typer

from dingbridge.cli.terminal import AsJson, Reveal, print_list, say
from dingbridge.errors import TopicError
from dingbridge.kafka.reader import TopicReader
from dingbridge.kafka.topic_policy import topics_read, unclassified_topic
from dingbridge.kafka.topics import ensure_topics, existing_topics, listed_topics, unled_words
from dingbridge.logging import configure_logging
from dingbridge.masking import mask, mask_event, reveal_bytes, shown_header
from dingbridge.settings import KafkaSettings
from dingbridge.worker.registry import known_consumers

app = typer.Typer(no_args_is_help=True)


@app.command("list")
def list_topics(as_json: AsJson = False) -> None:
    """Our topics with their partitions and the number of records they hold."""
    asyncio.run(_list(as_json))


@app.command()
def ensure(
    event_types: Annotated[
        list[str] | None,
        typer.Argument(
            help="EventTypes; without any, those and the control topics of the installed consumers."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create the topics of EventTypes that are missing, with our policy; existing ones stay as they are.

    Partitions are never raised in place: that would move keys to other partitions, and break the order of
    their events.
    """
    asyncio.run(_ensure(event_types, as_json))


@app.command()
def read(
    event_type: Annotated[
        str,
        typer.Argument(
            help="An EventType, `unclassified`, a control topic (`changes`), or a whole topic name."
        ),
    ],
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=0, help="Stop after so many records; 0: no limit.")
    ] = 0,
    with_key: Annotated[
        bool, typer.Option("--with-key", help="Also partition, offset, key and headers, as one JSON object.")
    ] = False,
    reveal: Reveal = False,
) -> None:
    """Print the records of a topic, one JSON a line, from the beginning. Commits nothing, joins no group.

    Private values are masked unless --reveal; suite tickets and authorisation codes always are."""
    asyncio.run(_read(event_type, limit, with_key, reveal))


def _settings() -> KafkaSettings:
    settings = KafkaSettings.load()
    configure_logging(settings)  # to standard error: standard output is for the answer
    return settings


async def _list(as_json: bool) -> None:
    settings = _settings()
    counts, unled = await listed_topics(settings)
    records: Counter[str] = Counter()
    if counts:  # aiokafka (0.14) ends in an error of its own when it is stopped before it has done anything
        async with TopicReader(settings) as reader:
            for place, span in (await reader.spans(counts)).items():
                records[place.topic] += span.end - span.begin
    if unled:
        topics = ", ".join(sorted({topic for topic, _ in unled}))
        say(f"there are also {topics}, which cannot be read: {unled_words(sorted(unled))}")
    elif not counts:
        say(f"no topic begins with {settings.topic_prefix} or {settings.control_prefix}")
    rows = [
        {"topic": topic, "partitions": counts[topic], "records": records[topic]} for topic in sorted(counts)
    ]
    print_list(("topic", "partitions", "records"), rows, as_json=as_json)


async def _ensure(event_types: list[str] | None, as_json: bool) -> None:
    settings = _settings()
    control_topics: list[str] = []
    if not event_types:
        consumers = known_consumers().values()
        event_types = sorted({t for consumer in consumers for t in consumer.topics})
        control_topics = sorted(
            {t for one in consumers for t in (*one.control_topics, *one.control_topics_written)}
        )
    names = topics_read(settings, event_types, control_topics)
    counts = await ensure_topics(settings, [*names, unclassified_topic(settings)])
    rows = [{"topic": topic, "partitions": partitions} for topic, partitions in sorted(counts.items())]
    print_list(("topic", "partitions"), rows, as_json=as_json)
    if other := [topic for topic, partitions in counts.items() if partitions != settings.topic_partitions]:
        say(
            f"TOPIC_PARTITIONS is {settings.topic_partitions}, but of {', '.join(sorted(other))} it was not "
            "changed: that would move keys to other partitions, and break the order of their events"
        )


async def _read(event_type: str, limit: int, with_key: bool, reveal: bool) -> None:
    settings = _settings()
    names = [event_type, settings.topic_prefix + event_type, settings.control_prefix + event_type]
    counts = await existing_topics(settings, names)
    topic = next((name for name in names if name in counts), None)
    if topic is None:
        raise TopicError(f"there is no topic {names[1]}; `dingbridge topics list` shows those that exist")
    shown = 0
    async with TopicReader(settings) as reader:
        async for record in reader.read(await reader.spans({topic: counts[topic]})):
            _print(record, with_key, reveal)
            shown += 1
            if shown == limit:
                return


def _print(record: Any, with_key: bool, reveal: bool) -> None:
    value = "null" if record.value is None else _shown(record.value, reveal)
    if not with_key:
        print(value)
        return
    head = {
        "partition": record.partition,
        "offset": record.offset,
        "key": record.key.decode("utf-8", "replace") if record.key is not None else None,
        "headers": {name: shown_header(name, data or b"", revealed=reveal) for name, data in record.headers},
    }
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError:  # whatever it is, the line is JSON
        value = orjson.dumps(value).decode()
    # the value is put in as it stands: reading and writing it again could change a number
    print(f'{orjson.dumps(head).decode()[:-1]},"value":{value}}}')


def _shown(value: bytes, reveal: bool) -> str:
    if reveal:
        return reveal_bytes(value).decode("utf-8", "replace")
    try:
        envelope = orjson.loads(value)
    except orjson.JSONDecodeError:
        return f"*** ({len(value)} bytes, no JSON)"
    return orjson.dumps(mask_event(envelope) if isinstance(envelope, dict) else mask(envelope)).decode()

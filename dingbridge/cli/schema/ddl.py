"""``dingbridge schema ddl``: a table for the records of a topic, in somebody else's SQL."""

from typing import Annotated, Literal

import typer


def command(
    event_type: Annotated[str, typer.Argument(help="Whose records the table holds.")],
    dialect: Annotated[
        Literal["flink", "clickhouse", "postgres"], typer.Option("--for", help="The engine that reads it.")
    ],
) -> None:
    """Print CREATE TABLE for the records of an EventType.

    Flink and ClickHouse read Kafka themselves: the topic and KAFKA_BOOTSTRAP_SERVERS are those of the
    settings, credentials are yours to add. A table in PostgreSQL is filled by Kafka Connect
    (examples/scale/connect).
    """
    from dingbridge.events.catalogue import catalogue
    from dingbridge.schema.ddl import ddl
    from dingbridge.settings import KafkaSettings

    spec = catalogue.get(event_type)
    if spec is None:
        raise typer.BadParameter(
            f"the catalogue has no {event_type}; `dingbridge schema list` shows what it has",
            param_hint="EVENT_TYPE",
        )
    settings = KafkaSettings.load()
    topic = settings.topic_prefix + event_type
    print(ddl(spec, dialect, topic, settings.kafka_bootstrap_servers), end="")

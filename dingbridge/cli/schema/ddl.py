"""``dingbridge schema ddl``: a table for the records of a topic, in somebody else's SQL."""

from typing import Annotated, Literal

import typer

from dingbridge.cli.schema.arguments import known_specs
from dingbridge.schema.ddl import ddl
from dingbridge.settings import KafkaSettings


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
    [spec] = known_specs([event_type])
    settings = KafkaSettings.load()
    topic = settings.topic_prefix + event_type
    print(ddl(spec, dialect, topic, settings.kafka_bootstrap_servers), end="")

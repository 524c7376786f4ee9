"""``dingbridge schema connect``: the schema with which Kafka Connect reads a topic."""

import json
from typing import Annotated

import typer

from dingbridge.cli.schema.arguments import known_specs
from dingbridge.cli.terminal import say
from dingbridge.schema.connect import connect_schema


def command(
    event_types: Annotated[list[str], typer.Argument(help="EventTypes whose records go into one table.")],
) -> None:
    """Print what Kafka Connect's JsonConverter needs as `schema.content` to read these topics.

    To standard error: the fields that are not in it, having no one type, or none that a table has.
    """
    schema = connect_schema(known_specs(event_types))
    for path in schema.left_out:
        say(f"left out: {path}")
    print(json.dumps(schema.content, indent=1))

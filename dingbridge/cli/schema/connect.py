"""``dingbridge schema connect``: the schema with which Kafka Connect reads a topic."""

from typing import Annotated

import typer


def command(
    event_types: Annotated[list[str], typer.Argument(help="EventTypes whose records go into one table.")],
) -> None:
    """Print what Kafka Connect's JsonConverter needs as `schema.content` to read these topics.

    To standard error: the fields that are not in it, having no one type, or none that a table has.
    """
    import json

    from dingbridge.cli.terminal import say
    from dingbridge.events.catalogue import catalogue
    from dingbridge.schema.connect import connect_schema

    specs = []
    for event_type in event_types:
        if (spec := catalogue.get(event_type)) is None:
            raise typer.BadParameter(f"the catalogue has no {event_type}")
        specs.append(spec)
    schema = connect_schema(specs)
    for path in schema.left_out:
        say(f"left out: {path}")
    print(json.dumps(schema.content, indent=1))

"""``python -m dev.schemas propose``: catalogue entries for the EventTypes in Kafka that it does not know."""

import asyncio
import json

import typer
from aiokafka import ConsumerRecord

from dev.schemas.proposal import Observed
from dingbridge.cli.schema.command import EventTypes, Last, read_last
from dingbridge.cli.terminal import say
from dingbridge.errors import BridgeError
from dingbridge.events import NotAnEvent, catalogue, decode


def command(event_types: EventTypes = None, last: Last = 1_000) -> None:
    """Print an entry for each EventType that has a topic and no entry yet, as `{"events": {...}}`.

    An entry fits every record that was seen. Commits nothing, joins no group.
    """
    unknown: dict[str, Observed] = {}

    def add(record: "ConsumerRecord[bytes, bytes]") -> None:
        try:
            event = decode(record.value or b"")
        except NotAnEvent:
            return
        if event.event_type not in catalogue and event.data_bytes is None and "rebuilt" not in event.envelope:
            unknown.setdefault(event.event_type, Observed()).add(event.data)

    try:
        asyncio.run(read_last(event_types or [], last, add))
    except BridgeError as error:
        say(f"python -m dev.schemas propose: {error}")
        raise typer.Exit(error.exit_code) from None
    entries = {name: observed.entry() for name, observed in sorted(unknown.items())}
    print(json.dumps({"events": entries}, ensure_ascii=False, indent=2))
    say("fill in what is blank, add `subject` and `values`, and put it into schemas/catalogue.json")

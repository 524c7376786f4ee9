"""``dingbridge consumers``: which consumers are installed, and what they read."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dingbridge.worker.consumer import Consumer

COLUMNS = ("name", "events", "from")


def command(as_json: Annotated[bool, typer.Option("--json", help="JSON, for machines.")] = False) -> None:
    """The installed consumers with the EventTypes and control topics that they read, and the package that
    they come from.

    One that cannot be loaded is named with the reason; the others work all the same. forward is listed once
    for each system that FORWARD_FILE declares, as forward-crm.
    """
    from dingbridge.cli.terminal import print_list, say
    from dingbridge.worker.registry import installed_consumers

    found = installed_consumers()
    rows = [
        {
            "name": one.name,
            "events": _events(one.consumer, as_json) if one.consumer else None,
            "from": one.package,
            "problem": one.problem,
        }
        for one in found
    ]
    print_list(COLUMNS, rows, as_json=as_json)
    for one in found:
        if one.problem is not None:
            say(one.problem)


def _events(consumer: "type[Consumer]", as_json: bool) -> list[str] | str:
    topics = [*consumer.topics, *consumer.control_topics]
    return topics if as_json else ", ".join(topics)

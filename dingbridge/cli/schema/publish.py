"""``dingbridge schema publish``: the schemas of records, into a registry with Confluent's API.

Exit codes: 0 all are there; 1 the registry refuses one, or is not reached; 2 settings or usage.
"""

import asyncio
from dataclasses import asdict
from typing import Annotated

import typer

from dingbridge.cli.schema.arguments import AsJson, known_specs
from dingbridge.cli.terminal import print_list, progress, say
from dingbridge.events import EventSpec
from dingbridge.events.catalogue import catalogue
from dingbridge.schema.registry import Published, Registry, schema_text, subject_of
from dingbridge.settings import SchemaRegistrySettings


def command(
    event_types: Annotated[
        list[str] | None, typer.Argument(help="EventTypes; without any, all of the catalogue.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Publish the schemas of records to SCHEMA_REGISTRY_URL, in draft-07.

    The subject is the topic's name with `-value`. What is there already stays; a new subject gets the
    compatibility FORWARD. Running it again changes nothing.
    """
    specs = known_specs(event_types or catalogue)
    published = asyncio.run(_publish(SchemaRegistrySettings.load(), specs))
    print_list(("subject", "outcome", "words"), [asdict(one) for one in published], as_json=as_json)
    refused = [one for one in published if one.outcome == "refused"]
    say(f"{len(published) - len(refused)} schemas are in the registry, {len(refused)} were refused")
    if refused:
        raise typer.Exit(1)


async def _publish(settings: SchemaRegistrySettings, specs: list[EventSpec]) -> list[Published]:
    secret = settings.schema_registry_password
    password = secret.get_secret_value() if secret is not None else ""
    published = []
    async with Registry(settings.schema_registry_url, settings.schema_registry_user, password) as registry:
        with progress(len(specs), "published") as bar:
            for spec in specs:
                subject = subject_of(settings.topic_prefix + spec.event_type)
                published.append(await registry.publish(subject, schema_text(spec)))
                bar.advance(1)
    return published

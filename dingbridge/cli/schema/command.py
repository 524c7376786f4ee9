"""``dingbridge schema``: the contract of the topics, in the forms that other programs read."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated

import typer

from dingbridge.cli.schema import drift
from dingbridge.cli.terminal import AsJson, print_list, progress, say
from dingbridge.events import EventSpec, catalogue
from dingbridge.events.envelope import urn
from dingbridge.schema.connect import connect_schema
from dingbridge.schema.ddl import Dialect as Engine
from dingbridge.schema.ddl import ddl as statements
from dingbridge.schema.json_schema import Dialect, data_schema, document, envelope_schema, record_schema
from dingbridge.schema.model import forms_of
from dingbridge.schema.registry import Published, Registry, schema_text, subject_of
from dingbridge.settings import KafkaSettings, SchemaRegistrySettings

app = typer.Typer(no_args_is_help=True)


@app.command("list")
def list_types(as_json: AsJson = False) -> None:
    """The EventTypes that the catalogue knows."""
    rows = [
        {
            "event_type": spec.event_type,
            "family": spec.family,
            "zh": spec.title.zh,
            "en": spec.title.en,
            "subject": None if spec.subject is None else spec.subject.kind,
            "forms": ",".join(forms_of(spec)),
            "version": spec.version,
        }
        for _, spec in sorted(catalogue.items())
    ]
    print_list(("event_type", "family", "zh", "en", "subject", "forms", "version"), rows, as_json=as_json)


@app.command()
def show(
    event_type: Annotated[str, typer.Argument(help="An EventType, or `envelope`.")],
    record: Annotated[bool, typer.Option("--record", help="Of whole records, not of `data` alone.")] = False,
    dialect: Annotated[Dialect, typer.Option(help="draft-07 or 2020-12.")] = "draft-07",
) -> None:
    """Print the JSON Schema of a type's data."""
    if event_type == "envelope":
        schema, name = envelope_schema(), None
    else:
        [spec] = _known([event_type])
        schema = record_schema(spec) if record else data_schema(spec)
        name = None if record else urn(event_type, spec.version)
    print(json.dumps(document(schema, dialect, name), ensure_ascii=False, indent=2))


app.command("drift")(drift.command)


@app.command()
def connect(
    event_types: Annotated[list[str], typer.Argument(help="EventTypes whose records go into one table.")],
) -> None:
    """Print what Kafka Connect's JsonConverter needs as `schema.content` to read these topics.

    Standard error lists the fields that are left out: those of several types, or of a type that no table has.
    """
    schema = connect_schema(_known(event_types))
    for path in schema.left_out:
        say(f"left out: {path}")
    print(json.dumps(schema.content, indent=1))


@app.command()
def ddl(
    event_type: Annotated[str, typer.Argument(help="Whose records the table holds.")],
    engine: Annotated[Engine, typer.Option("--for", help="The engine that reads it.")],
) -> None:
    """Print CREATE TABLE for the records of an EventType.

    Flink and ClickHouse read Kafka themselves: the topic and KAFKA_BOOTSTRAP_SERVERS are those of the
    settings, credentials are yours to add. A table in PostgreSQL is filled by Kafka Connect
    (examples/scale/connect).
    """
    [spec] = _known([event_type])
    settings = KafkaSettings.load()
    topic = settings.topic_prefix + event_type
    print(statements(spec, engine, topic, settings.kafka_bootstrap_servers), end="")


@app.command()
def publish(
    event_types: Annotated[
        list[str] | None, typer.Argument(help="EventTypes; without any, all of the catalogue.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Publish the schemas of records to SCHEMA_REGISTRY_URL, in draft-07.

    The subject is the topic's name with `-value`. What is there already stays; a new subject gets the
    compatibility FORWARD. Running it again changes nothing. Exit code 1: the registry refuses one, or is not
    reached; 2: settings or usage.
    """
    specs = _known(event_types or catalogue)
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


def _known(event_types: Iterable[str]) -> list[EventSpec]:
    """The catalogue's entries, each once. Raises ``typer.BadParameter`` that names all it has none of."""
    names = list(dict.fromkeys(event_types))
    if unknown := [name for name in names if name not in catalogue]:
        raise typer.BadParameter(
            f"the catalogue has no {', '.join(unknown)}; `dingbridge schema list` shows what it has",
            param_hint="EVENT_TYPE",
        )
    return [catalogue[name] for name in names]

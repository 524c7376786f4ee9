"""``dingbridge schema list|show``: which EventTypes there are, and the schema of each."""

import json
from typing import Annotated

import typer

from dingbridge.cli.schema.arguments import AsJson, known_specs
from dingbridge.cli.terminal import print_list
from dingbridge.events import catalogue
from dingbridge.events.envelope import urn
from dingbridge.schema.json_schema import DIALECTS, data_schema, document, envelope_schema, record_schema
from dingbridge.schema.model import forms_of


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


def show(
    event_type: Annotated[str, typer.Argument(help="An EventType, or `envelope`.")],
    record: Annotated[bool, typer.Option("--record", help="Of whole records, not of `data` alone.")] = False,
    dialect: Annotated[str, typer.Option(help="draft-07 or 2020-12.")] = "draft-07",
) -> None:
    """Print the JSON Schema of a type's data."""
    wanted = next((name for name in DIALECTS if name == dialect), None)
    if wanted is None:
        raise typer.BadParameter(f"{dialect!r} is none of {', '.join(DIALECTS)}", param_hint="--dialect")
    if event_type == "envelope":
        schema, name = envelope_schema(), None
    else:
        [spec] = known_specs([event_type])
        schema = record_schema(spec) if record else data_schema(spec)
        name = None if record else urn(event_type, spec.version)
    print(json.dumps(document(schema, wanted, name), ensure_ascii=False, indent=2))

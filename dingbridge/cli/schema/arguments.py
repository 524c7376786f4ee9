"""What the commands of ``dingbridge schema`` take alike."""

from collections.abc import Iterable
from typing import Annotated

import typer

from dingbridge.events import EventSpec, catalogue

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


def known_specs(event_types: Iterable[str]) -> list[EventSpec]:
    """The catalogue's entries, each once. Raises ``typer.BadParameter`` that names all it has none of."""
    names = list(dict.fromkeys(event_types))
    if unknown := [name for name in names if name not in catalogue]:
        raise typer.BadParameter(
            f"the catalogue has no {', '.join(unknown)}; `dingbridge schema list` shows what it has",
            param_hint="EVENT_TYPE",
        )
    return [catalogue[name] for name in names]

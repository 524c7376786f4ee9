"""The chart ``deploy/helm`` as helm renders it."""

import subprocess
from pathlib import Path
from typing import Final

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
CHART: Final = DEPLOY / "helm"
SCHEMA: Final = CHART / "values.schema.json"


def template(helm: str, *values: Path, release: str = "dingbridge") -> dict[str, list[str]]:
    """The documents that ``helm`` renders, as text, by the name of their template.

    Raises ``subprocess.CalledProcessError``, with helm's words in ``stderr``."""
    files = [argument for path in values for argument in ("--values", str(path))]
    command = [helm, "template", release, str(CHART), "--namespace", "dingbridge", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, list[str]] = {}
    for document in done.stdout.split("---\n# Source: dingbridge/templates/")[1:]:
        source, text = document.split("\n", 1)
        found.setdefault(source.removesuffix(".yaml"), []).append(text)
    return found

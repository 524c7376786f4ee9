"""Writes ``deploy/kubernetes`` from the chart ``deploy/helm``, and settings' names into the chart's schema.

Run ``make manifests`` after a change of the chart or of a setting's name. By hand stay only the files that
the chart has no say in: the kustomization, the namespace, and examples of secrets.
"""

import json
import os
import re
import subprocess
from pathlib import Path
from textwrap import dedent, indent
from typing import Any, Final

from pydantic import SecretStr

from dev.settings_doc import SECTIONS
from dingbridge.settings import ConsumerLimits
from dingbridge.simulator.settings import SimulatorSettings

DEPLOY: Final = Path(__file__).parents[1] / "deploy"
CHART: Final = DEPLOY / "helm"
SCHEMA: Final = CHART / "values.schema.json"

_MADE: Final = "Made from deploy/helm by `make manifests`: edit it there."
_FILES: Final = {
    "settings.yaml": ((), "settings", ""),
    "ingress.yaml": ((), "ingress", ""),
    "consumers.yaml": ((), "consumers", ""),
    "network-policies.yaml": ((), "network-policies", ""),
    "keda.yaml": (
        ("keda",),
        "keda",
        """
        By KEDA (2.10 or newer; its operator must reach Kafka): kubectl -n dingbridge apply -f this file,
        after kubectl apply -k deploy/kubernetes. Take `replicas` out of consumers.yaml then, else each apply
        of it begins with one pod again.""",
    ),
    "stream.example.yaml": (
        ("stream",),
        "ingress",
        """
        The ingress in Stream mode: name this file in kustomization.yaml in place of ingress.yaml. It takes
        the Secret dingbridge-app, and none of the callback's. docs/guide/real-app.md says what Stream is, and
        that no other environment may use the same app.""",
    ),
    "forward.example.yaml": (
        ("forward",),
        "forward",
        """
        forward, for one system: fill in forward.toml, add this file to the resources of kustomization.yaml,
        and make its Secret:
          kubectl -n dingbridge create secret generic dingbridge-forward-a --from-file=secret=…
        docs/guide/forward.md explains the settings.""",
    ),
    "console.example.yaml": (
        ("console",),
        "console",
        """
        The console: add it to the resources of kustomization.yaml, and its users first:
          dingbridge console set-password NAME --role operator   # here: data/console-users.toml
          kubectl -n dingbridge create secret generic dingbridge-console \\
            --from-file=users.toml=data/console-users.toml""",
    ),
}
"""Each file's value files beside ``manifests``, the template, and what its reader does with it."""

_BY_THE_CHART: Final = re.compile(
    r"KAFKA_(BOOTSTRAP|SECURITY|SASL|SSL).*|DINGTALK_(APP_KEY|APPS_FILE|OWNER_KEY|CORP_ID|MODE)|API_MONTHLY_BUDGET"
    r"|ADMIN_.*|INGRESS_(HOST|PORT|REUSE_PORT)|DATA_DIR|JOURNAL_DIR|CONSOLE_(HOST|JOURNALS|LISTENERS|PORT|SOCKET)|SHUTDOWN_TIMEOUT_S"
)
"""Settings that other values stand for, or that probes, volumes and Services count on."""
_OF_THE_PROCESS: Final = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY")
"""Variables that a value file may set beside settings."""


def template(helm: str, *values: Path, release: str = "dingbridge") -> dict[str, list[str]]:
    """What ``helm`` renders: the documents as text, by the name of their template. Raises
    ``subprocess.CalledProcessError``, with helm's words in ``stderr``."""
    files = [argument for path in values for argument in ("--values", str(path))]
    command = [helm, "template", release, str(CHART), "--namespace", "dingbridge", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, list[str]] = {}
    for document in done.stdout.split("---\n# Source: dingbridge/templates/")[1:]:
        source, text = document.split("\n", 1)
        found.setdefault(source.removesuffix(".yaml"), []).append(text)
    return found


def manifests(helm: str) -> dict[str, str]:
    """The files of ``deploy/kubernetes`` that come out of the chart, by name."""
    made = {}
    for name, (values, source, use) in _FILES.items():
        paths = (CHART / "examples" / f"{value}.yaml" for value in ("manifests", *values))
        documents = template(helm, *paths)[source]
        text = "---\n".join(re.sub(r"^ *\n", "", document, flags=re.MULTILINE) for document in documents)
        comment = indent(_MADE + dedent(use).rstrip(), "# ")
        made[name] = f"{comment}\n---\n{text}"
    return made


def settings() -> dict[str, Any]:
    """The part of the schema that says which settings a value file may name."""
    names = {
        field.upper(): None
        for _, _, cls in SECTIONS
        if cls not in (ConsumerLimits, SimulatorSettings)
        for field, info in cls.model_fields.items()
        if SecretStr not in (info.annotation, *getattr(info.annotation, "__args__", ()))
    }
    names |= dict.fromkeys(_OF_THE_PROCESS)
    value = {"$ref": "#/$defs/value"}
    limits = "|".join(field.upper() for field in ConsumerLimits.model_fields)
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: value for name in sorted(names) if not _BY_THE_CHART.fullmatch(name)},
        "patternProperties": {f"^[A-Z][A-Z0-9_]*_({limits})$": value},
    }


def schema() -> str:
    """``values.schema.json`` with those names."""
    found = json.loads(SCHEMA.read_text(encoding="utf-8"))
    found["$defs"]["settings"] = settings()
    return json.dumps(found, indent=2) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(schema(), encoding="utf-8")
    for file, content in manifests(os.environ.get("HELM", "helm")).items():
        (DEPLOY / "kubernetes" / file).write_text(content, encoding="utf-8")

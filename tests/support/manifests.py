"""``deploy/kubernetes`` as values: what kustomize would apply, without kustomize."""

from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"

Manifest = dict[str, Any]


def kustomization() -> Manifest:
    return yaml.safe_load((FOLDER / "kustomization.yaml").read_text(encoding="utf-8"))


def documents(*files: str) -> list[Manifest]:
    """The documents of ``files``, or of all that are applied."""
    return [
        document
        for file in files or kustomization()["resources"]
        for document in yaml.safe_load_all((FOLDER / file).read_text(encoding="utf-8"))
    ]


def of_kind(*kinds: str) -> list[Manifest]:
    return [document for document in documents() if document["kind"] in kinds]


def workloads() -> dict[str, Manifest]:
    """Each StatefulSet and Deployment by its component: ``ingress``, and the consumers' names."""
    found = of_kind("StatefulSet", "Deployment")
    return {w["metadata"]["labels"]["app.kubernetes.io/component"]: w for w in found}


def pod(workload: Manifest) -> Manifest:
    return workload["spec"]["template"]["spec"]


def container(workload: Manifest) -> Manifest:
    [only] = pod(workload)["containers"]
    return only

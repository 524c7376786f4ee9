"""``deploy/kubernetes`` as values: what kustomize would apply, without kustomize."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"

Manifest = dict[str, Any]


def kustomization() -> Manifest:
    return yaml.safe_load((FOLDER / "kustomization.yaml").read_text(encoding="utf-8"))


def documents(*files: str) -> list[Manifest]:
    """The documents of ``files``, or of all that are applied."""
    return [document for file in files or kustomization()["resources"] for document in _in_file(file)]


@cache
def _in_file(file: str) -> tuple[Manifest, ...]:
    return tuple(yaml.safe_load_all((FOLDER / file).read_text(encoding="utf-8")))


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


def patched(below: Any, patch: Any) -> Any:
    """A strategic merge as kustomize makes it: maps are joined, lists of things with a name by that name."""
    if isinstance(below, dict) and isinstance(patch, dict):
        return below | {name: patched(below.get(name), value) for name, value in patch.items()}
    if isinstance(below, list) and all(
        isinstance(item, dict) and "name" in item for item in [*below, *patch]
    ):
        merged = {item["name"]: item for item in below}
        for item in patch:
            merged[item["name"]] = patched(merged.get(item["name"]), item)
        return [item for item in merged.values() if item.get("$patch") != "delete"]
    return patch


def ingress_by_stream() -> Manifest:
    """The ingress with the example's patch."""
    [patch] = documents("stream.patch.example.yaml")
    [below] = [w for w in of_kind(patch["kind"]) if w["metadata"]["name"] == patch["metadata"]["name"]]
    return patched(below, patch)

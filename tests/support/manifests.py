"""``deploy/kubernetes`` as values: what kustomize would apply, without kustomize."""

from collections.abc import Mapping
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


def environment_of(
    workload: Manifest, configuration: Manifest, secrets: Mapping[str, str], folder: Path
) -> dict[str, str]:
    """The environment of its container. A file of a secret stands below ``folder``, with the text that
    ``secrets`` has for ``<secret>/<key>`` or one of its own; the variable names it there."""
    spec = container(workload)
    [source] = spec["envFrom"]
    assert source["configMapRef"]["name"] == configuration["metadata"]["name"]
    names = [item["name"] for item in spec["env"]]
    assert len(names) == len(set(names)), "a variable is set twice"
    found = dict(configuration["data"])
    for item in spec["env"]:
        found[item["name"]] = item["value"] if "value" in item else f"the {item['name']}"
    place = {mount["name"]: mount["mountPath"] for mount in spec["volumeMounts"]}.get("secrets")
    mounted: dict[str, str] = {}
    for volume in pod(workload)["volumes"]:
        for part in volume.get("projected", {}).get("sources", ()):
            [item] = part["secret"]["items"]
            mounted[f"{place}/{item['path']}"] = f"{part['secret']['name']}/{item['key']}"
    for variable, path in found.items():
        if path in mounted:
            file = folder / Path(path).name
            file.write_text(secrets.get(mounted[path], "x" * 43), encoding="utf-8")
            found[variable] = str(file)
        else:
            assert not path.startswith(f"{place}/"), f"{variable}: there is no {path}"
    return found
